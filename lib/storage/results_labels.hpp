/// What a results.h5 says of itself: attributes, sequences, datasets and timing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "plan/model_spec.hpp"
#include "storage/h5.hpp"
#include "storage/results_layout.hpp"
#include "storage/verify_results.hpp"

namespace tetrarch::storage {

class ResultsLabels {
 public:
  /// Reads and proves attributes and /sequences. Throws UsageError (input) where something is
  /// missing, damaged or contradicts itself; so do all members that read.
  explicit ResultsLabels(const std::string& path);

  const std::string& path() const { return path_; }
  const h5::File& file() const { return file_; }
  const plan::ModelSpec& spec() const { return spec_; }
  const ResultsSummary& summary() const { return summary_; }

  std::int64_t count() const { return count_; }
  /// Tokens before sequence i; of all where i is count().
  std::int64_t offset(std::int64_t i) const {
    return static_cast<std::int64_t>(offsets_[static_cast<std::size_t>(i)]);
  }
  SequenceStatus status(std::int64_t i) const {
    return static_cast<SequenceStatus>(status_[static_cast<std::size_t>(i)]);
  }
  bool is_ok(std::int64_t i) const { return status(i) == SequenceStatus::ok; }

  /// The datasets that this file should have, from those that it has.
  std::vector<DatasetPlan> layout() const;
  /// /timing and its attributes.
  void check_timing() const;

  /// Against the dataset's own, which must be there with a description.
  void check_hash(const h5::Dataset& dataset, const std::string& path, std::uint64_t found) const;
  /// A list of `count` elements as T, which is as wide as `dtype`; checked.
  template <class T>
  std::vector<T> read(const std::string& path, base::DType dtype, std::int64_t count) const {
    const std::vector<std::uint8_t> bytes = read_bytes(path, dtype, count);
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  [[noreturn]] void refuse(const std::string& object, const std::string& problem) const;

 private:
  void check_attributes();
  void check_sequences();
  std::vector<std::uint8_t> read_bytes(const std::string& path, base::DType dtype,
                                       std::int64_t count) const;
  using VisitText = std::function<void(std::int64_t, const std::string&)>;
  void check_texts(const std::string& path, std::int64_t count, const VisitText& visit = {}) const;

  std::string path_;
  h5::File file_;
  plan::ModelSpec spec_;
  ResultsSummary summary_;
  std::int64_t count_ = 0;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::uint8_t> status_;
};

}  // namespace tetrarch::storage
