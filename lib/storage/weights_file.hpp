/// weights.h5 to read: proved against its own config_json before any tensor is read, then read unit
/// by unit with checksums.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "plan/model_spec.hpp"
#include "plan/shard.hpp"
#include "storage/h5.hpp"

namespace tetrarch::storage {

/// Whether the file opens as HDF5 and says that it holds weights; never throws.
bool is_weights_file(const std::string& path);

/// Of NAME.xxh3: [units, blocks of the largest unit].
base::Shape sums_shape(const plan::TensorSpec& tensor);
/// Rows [first_row, first_row + rows) of a unit, within its dataset; a vector is one row.
h5::Hyperslab rows_of_unit(const plan::TensorSpec& tensor, std::int64_t unit,
                           std::int64_t first_row, std::int64_t rows);

class WeightsFile {
 public:
  /// Checks format, version, config_json, reduction shards, and of every dataset presence, type,
  /// shape, contiguity and stored bytes; datasets that do not belong there are refused. Throws
  /// UsageError(weights) with everything that is wrong.
  static WeightsFile open(const std::string& path);

  const std::string& path() const { return path_; }
  const plan::ModelSpec& spec() const { return spec_; }
  const std::string& config_json() const { return config_json_; }
  std::int64_t reduction_shards() const { return reduction_shards_; }
  /// As plan::tensors_of gives them.
  const std::vector<plan::TensorSpec>& tensors() const { return tensors_; }
  std::int64_t total_bytes() const;
  /// 16 hex digits over config_json and all checksum datasets in path order: equal exactly for
  /// equal models.
  const std::string& identity() const { return identity_; }

  /// Reads the unit's bytes, tensor.unit_bytes(unit) of them. With `verify`, each 4 MiB block is
  /// held against its checksum; a difference is UsageError(weights) that names the place.
  void read_unit(const plan::TensorSpec& tensor, std::int64_t unit, std::byte* to,
                 bool verify) const;

  using Progress = std::function<void(std::int64_t bytes_done)>;
  /// Holds every block of the file against its checksum, in bounded memory; `progress` is called
  /// after each unit and may be empty.
  void verify_all(const Progress& progress) const;

 private:
  struct Entry {
    h5::Dataset dataset;
    std::vector<std::uint64_t> sums;  // [units][blocks of the largest unit]
  };

  WeightsFile(h5::File file, std::string path);
  void read_head();
  void check_datasets();
  void read_sums();
  const Entry& entry_of(const plan::TensorSpec& tensor) const;
  void check_sums(const plan::TensorSpec& tensor, std::int64_t unit,
                  const std::vector<std::uint64_t>& found) const;

  std::string path_;
  h5::File file_;
  std::string config_json_;
  plan::ModelSpec spec_;
  std::int64_t reduction_shards_ = 1;
  std::vector<plan::TensorSpec> tensors_;
  std::unordered_map<std::string, Entry> entries_;  // by dataset path
  std::string identity_;
};

}  // namespace tetrarch::storage
