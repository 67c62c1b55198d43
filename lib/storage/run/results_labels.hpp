/// Reads and checks what describes a results.h5: attributes, sequences, list of datasets, timing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "plan/model_spec.hpp"
#include "storage/h5/h5.hpp"
#include "storage/inputs/sequence_status.hpp"
#include "storage/run/results_layout.hpp"
#include "storage/run/verify_results.hpp"

namespace tetrarch::storage {

/// Attributes and /sequences of a results.h5 that is being verified.
class ResultsLabels {
 public:
  /// Reads and checks attributes and /sequences. Throws Refusal(input) if something is missing,
  /// damaged or contradictory, like all members that read.
  explicit ResultsLabels(const std::string& path);

  const std::string& path() const { return path_; }
  const h5::File& file() const { return file_; }
  const plan::ModelSpec& spec() const { return spec_; }
  const ResultsSummary& summary() const { return summary_; }

  std::int64_t count() const { return count_; }
  /// Number of tokens before sequence i; of all sequences if i = count().
  std::int64_t offset(std::int64_t i) const {
    return static_cast<std::int64_t>(offsets_[static_cast<std::size_t>(i)]);
  }
  SequenceStatus status(std::int64_t i) const {
    return static_cast<SequenceStatus>(status_[static_cast<std::size_t>(i)]);
  }
  bool is_ok(std::int64_t i) const { return status(i) == SequenceStatus::ok; }

  /// The datasets that the file should have. The outputs of its run follow from the datasets that
  /// it has; a dataset that no output explains is refused.
  std::vector<DatasetPlan> layout() const;
  /// Checks /timing/phases and the attributes of /timing.
  void check_timing() const;

  /// Compares the checksum `found` with the dataset's attribute xxh3. The dataset must have that
  /// attribute and a description.
  void check_hash(const h5::Dataset& dataset, const std::string& path, std::uint64_t found) const;
  /// Reads a one-dimensional dataset of `count` elements as T, which has the size of `dtype`, and
  /// checks its shape and checksum.
  template <class T>
  std::vector<T> read(const std::string& path, base::DType dtype, std::int64_t count) const {
    const std::vector<std::uint8_t> bytes = read_bytes(path, dtype, count);
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  /// Throws Refusal(input): "FILE:OBJECT: PROBLEM. ...".
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
