/// Writes weights.h5: units in any order, then the checksums; then gives the file its final name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/stop_signal.hpp"
#include "plan/model_spec.hpp"
#include "plan/shard.hpp"
#include "storage/h5.hpp"

namespace tetrarch::storage {

/// A temporary name in the folder of `path`, for a file that is being written. The destructor, or a
/// signal that ends the process, removes the file unless it was published.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& path);
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();

  const std::string& path() const { return temporary_; }
  /// Gives the closed file its final name, as storage::publish() does.
  void publish();

 private:
  std::string final_, temporary_;
  base::RemovedOnSignal removed_on_signal_;
};

/// Writes one weights.h5. It has a temporary name in the same folder until finish(). The destructor
/// removes a file that was not finished. All functions throw SystemError(resources).
class WeightsWriter {
 public:
  /// Creates the file. `source`: a text that says where the weights come from. Also throws if the
  /// file system has too little free space.
  WeightsWriter(const std::string& path, const plan::ModelSpec& spec, std::int64_t reduction_shards,
                const std::string& source);

  const std::vector<plan::TensorSpec>& tensors() const { return tensors_; }
  std::int64_t total_bytes() const;

  /// Writes all bytes of one unit of tensors()[tensor].
  void write_unit(std::size_t tensor, std::int64_t unit, std::span<const std::byte> bytes);
  /// Writes the checksums, closes, syncs and renames. Every unit must have been written.
  void finish();

 private:
  struct Entry {
    h5::Dataset dataset;
    std::vector<std::uint64_t> sums;  // [units][blocks of the largest unit]
    std::vector<bool> is_written;     // per unit
  };

  void write_attributes(const plan::ModelSpec& spec, std::int64_t reduction_shards,
                        const std::string& source);

  TemporaryFile temporary_;
  std::vector<plan::TensorSpec> tensors_;
  std::optional<h5::File> file_;
  std::vector<Entry> entries_;
};

}  // namespace tetrarch::storage
