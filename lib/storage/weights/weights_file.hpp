/// Reads weights.h5: checks it against its own config_json before any tensor is read, then reads
/// units and verifies their checksums.
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
#include "storage/h5/h5.hpp"

namespace tetrarch::storage {

/// Shape of the dataset NAME.xxh3: [units, blocks of the largest unit].
base::Shape sums_shape(const plan::TensorSpec& tensor);
/// The hyperslab of rows [first_row, first_row + rows) of a unit in the tensor's dataset. A vector
/// has one row.
h5::Hyperslab rows_of_unit(const plan::TensorSpec& tensor, std::int64_t unit,
                           std::int64_t first_row, std::int64_t rows);

/// The bytes that one checksum covers: at most 4 MiB of one unit.
struct WeightBlock {
  std::int64_t unit = 0, number = 0;  // index of the unit in its tensor, of the block in its unit
  std::int64_t file_offset = 0, bytes = 0;
};

/// Seconds spent on reading and on verifying, summed over threads.
struct ReadSeconds {
  double reading = 0, verifying = 0;
};

/// The layout of tensors that open() accepts. A run needs contiguous tensors, because it reads
/// slices directly from the file. Any layout, such as chunks that h5repack makes, can be verified.
enum class WeightsLayout { contiguous, any };

/// An open weights.h5.
class WeightsFile {
 public:
  /// Calls work(i) for each i of [0, count), in any order and from any thread; work does not throw.
  using ForEach =
      std::function<void(std::int64_t count, const std::function<void(std::int64_t)>& work)>;

  /// Opens the file and checks format, version, config_json and reduction shards, then presence,
  /// type, shape, layout and stored bytes of every dataset. Throws Refusal(weights); all
  /// problems with datasets, also those that do not belong there, are in one message.
  static WeightsFile open(const std::string& path,
                          WeightsLayout layout = WeightsLayout::contiguous);

  const std::string& path() const { return path_; }
  const plan::ModelSpec& spec() const { return spec_; }
  const std::string& config_json() const { return config_json_; }
  std::int64_t reduction_shards() const { return reduction_shards_; }
  /// The tensors, as plan::tensors_of() returns them for this model.
  const std::vector<plan::TensorSpec>& tensors() const { return tensors_; }
  std::int64_t total_bytes() const;
  /// Whether all tensors are contiguous, so that a run can read the file.
  bool is_contiguous() const { return is_contiguous_; }
  /// XXH3-64 over config_json and all checksum datasets in the order of their paths, as 16
  /// hexadecimal digits. Equal models have equal identities.
  const std::string& identity() const { return identity_; }

  /// The blocks of units [first, first + count), in order.
  std::vector<WeightBlock> blocks(const plan::TensorSpec& tensor, std::int64_t first,
                                  std::int64_t count) const;
  /// Reads blocks one after another into `to`, directly from the file. One thread reads a block
  /// and, with `verify`, compares its checksum while the block is in its cache. Throws
  /// Refusal(weights) that names the block if the checksum differs or reading fails.
  ReadSeconds read(const plan::TensorSpec& tensor, std::span<const WeightBlock> blocks,
                   std::byte* to, bool verify, const ForEach& for_each) const;
  /// Asks the operating system to read blocks into memory that are needed soon.
  void announce(std::span<const WeightBlock> blocks) const;
  /// Reads all tensor.unit_bytes(unit) bytes of one unit in the calling thread. Throws as read().
  void read_unit(const plan::TensorSpec& tensor, std::int64_t unit, std::byte* to,
                 bool verify) const;

  using Progress = std::function<void(std::int64_t bytes_done)>;
  /// Compares the checksum of every block of the file, in bounded memory. Calls `progress`, which
  /// may be empty, after each unit. Throws Refusal(weights).
  void verify_all(const Progress& progress) const;

 private:
  struct Entry {
    std::int64_t file_offset = 0;     // of its first byte; -1: not contiguous
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
