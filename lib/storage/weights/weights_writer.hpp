/// Writes weights.h5: units in any order, then the checksums; then gives the file its final name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/model_spec.hpp"
#include "plan/shard.hpp"
#include "storage/files/temporary_file.hpp"
#include "storage/h5/h5.hpp"

namespace tetrarch::storage {

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
