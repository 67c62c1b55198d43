/// weights.h5 to read: proved against its own config_json before any tensor is read, then read unit
/// by unit with checksums.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "plan/model_spec.hpp"
#include "plan/shard.hpp"
#include "storage/h5.hpp"

namespace tetrarch::storage {

/// Of NAME.xxh3: [units, blocks of the largest unit].
base::Shape sums_shape(const plan::TensorSpec& tensor);
/// Rows [first_row, first_row + rows) of a unit, within its dataset; a vector is one row.
h5::Hyperslab rows_of_unit(const plan::TensorSpec& tensor, std::int64_t unit,
                           std::int64_t first_row, std::int64_t rows);

/// What one checksum covers: at most 4 MiB of one unit.
struct WeightBlock {
  std::int64_t unit = 0, number = 0;  // of the tensor, of the unit
  std::int64_t file_offset = 0, bytes = 0;
};

/// Where the time of reading goes, summed over threads.
struct ReadSeconds {
  double reading = 0, verifying = 0;
};

/// What the data of a weights file must look like. Slices are read straight from a contiguous
/// file; any other layout, such as h5repack makes on request, can be verified.
enum class WeightsLayout { contiguous, any };

class WeightsFile {
 public:
  /// Calls work(i) for each i of [0, count), in any order; work does not throw.
  using ForEach =
      std::function<void(std::int64_t count, const std::function<void(std::int64_t)>& work)>;

  /// Checks format, version, config_json, reduction shards, and of every dataset presence, type,
  /// shape, layout and stored bytes; datasets that do not belong there are refused. Throws
  /// UsageError(weights) with everything that is wrong.
  static WeightsFile open(const std::string& path,
                          WeightsLayout layout = WeightsLayout::contiguous);

  const std::string& path() const { return path_; }
  const plan::ModelSpec& spec() const { return spec_; }
  const std::string& config_json() const { return config_json_; }
  std::int64_t reduction_shards() const { return reduction_shards_; }
  /// As plan::tensors_of gives them.
  const std::vector<plan::TensorSpec>& tensors() const { return tensors_; }
  std::int64_t total_bytes() const;
  /// Whether a run can read it.
  bool is_contiguous() const { return is_contiguous_; }
  /// 16 hex digits over config_json and all checksum datasets in path order: equal exactly for
  /// equal models.
  const std::string& identity() const { return identity_; }

  /// The blocks of units [first, first + count), in order.
  std::vector<WeightBlock> blocks(const plan::TensorSpec& tensor, std::int64_t first,
                                  std::int64_t count) const;
  /// Reads blocks to where they follow each other, straight from the file, each by one thread that
  /// holds it against its checksum (with `verify`) while its cache has it. A difference is
  /// UsageError(weights) that names the place.
  ReadSeconds read(const plan::TensorSpec& tensor, std::span<const WeightBlock> blocks,
                   std::byte* to, bool verify, const ForEach& for_each) const;
  /// Asks the system to bring blocks into memory that will be read soon.
  void announce(std::span<const WeightBlock> blocks) const;
  /// All bytes of one unit, tensor.unit_bytes(unit) of them, by this thread.
  void read_unit(const plan::TensorSpec& tensor, std::int64_t unit, std::byte* to,
                 bool verify) const;

  using Progress = std::function<void(std::int64_t bytes_done)>;
  /// Holds every block of the file against its checksum, in bounded memory; `progress` is called
  /// after each unit and may be empty.
  void verify_all(const Progress& progress) const;

 private:
  struct Entry {
    std::int64_t file_offset = 0;     // of the first byte; -1: not contiguous
    std::vector<std::uint64_t> sums;  // [units][blocks of the largest unit]
  };

  WeightsFile(h5::File file, std::string path, WeightsLayout layout);
  void read_head();
  void check_datasets(WeightsLayout layout);
  void read_sums();
  const Entry& entry_of(const plan::TensorSpec& tensor) const;
  ReadSeconds read_block(int file, const WeightBlock& block, std::byte* to,
                         std::uint64_t* sum) const;
  void verify_through_hdf5(const plan::TensorSpec& tensor, std::int64_t unit) const;
  void check_sum(const plan::TensorSpec& tensor, const WeightBlock& block,
                 std::uint64_t found) const;

  std::string path_;
  h5::File file_;
  std::string config_json_;
  plan::ModelSpec spec_;
  std::int64_t reduction_shards_ = 1;
  std::vector<plan::TensorSpec> tensors_;
  std::unordered_map<std::string, Entry> entries_;  // by dataset path
  std::string identity_;
  bool is_contiguous_ = true;
};

}  // namespace tetrarch::storage
