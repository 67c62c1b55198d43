// Reads blocks of weights.h5 directly from the file and compares their checksums.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "storage/files/checksum.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using base::Refusal;
using plan::TensorSpec;

using base::Clock;
using base::seconds_since;

constexpr std::int64_t piece_bytes = 512 << 10;  // read and summed at a time; fits the cache

void in_this_thread(std::int64_t count, const std::function<void(std::int64_t)>& work) {
  for (std::int64_t i = 0; i < count; ++i)
    work(i);
}

/// Fills `to` from byte `offset` of the file on. Throws Refusal(weights) if that fails.
void read_exactly(int file, std::int64_t offset, std::span<std::byte> to, const std::string& path) {
  while (!to.empty()) {
    const ssize_t got = ::pread(file, to.data(), to.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      throw Refusal(ExitCode::weights,
                    fmt::format("{}: {} bytes at byte {} cannot be read ({}). Check the disk, or "
                                "copy the file again.",
                                path, to.size(), offset,
                                got == 0 ? "the file ends there" : std::strerror(errno)));
    to = to.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

}  // namespace

std::vector<WeightBlock> WeightsFile::blocks(const TensorSpec& tensor, std::int64_t first,
                                             std::int64_t count) const {
  std::vector<WeightBlock> found;
  for (std::int64_t unit = first; unit < first + count; ++unit) {
    const std::int64_t begin = entry_of(tensor).file_offset + tensor.unit_offset(unit);
    const std::int64_t bytes = tensor.unit_bytes(unit);
    for (std::int64_t at = 0; at < bytes; at += checksum_block_bytes)
      found.push_back({unit, at / checksum_block_bytes, begin + at,
                       std::min(checksum_block_bytes, bytes - at)});
  }
  return found;
}

void WeightsFile::check_sum(const TensorSpec& tensor, const WeightBlock& block,
                            std::uint64_t found) const {
  const std::vector<std::uint64_t>& sums = entry_of(tensor).sums;
  const std::int64_t most = std::ssize(sums) / tensor.num_units();
  const std::uint64_t expected = sums[static_cast<std::size_t>(block.unit * most + block.number)];
  if (found == expected) return;
  const std::string expert =
      tensor.shape.size() == 3 ? fmt::format("expert {}, ", block.unit / tensor.num_slices) : "";
  throw Refusal(
      ExitCode::weights,
      fmt::format("{}:{}: {}slice {} of {}, block {}: checksum is {}, expected {}. The file is "
                  "damaged; copy or import it again.",
                  path_, tensor.path, expert, block.unit % tensor.num_slices, tensor.num_slices,
                  block.number, hex_text(found), hex_text(expected)));
}

/// Reads one block. `sum` gets its checksum; null: no checksum is computed.
ReadSeconds WeightsFile::read_block(int file, const WeightBlock& block, std::byte* to,
                                    std::uint64_t* sum) const {
  ReadSeconds seconds;
  Clock::time_point at = Clock::now();
  Xxh3 hash;
  for (std::int64_t done = 0; done < block.bytes; done += piece_bytes) {
    const std::span piece(to + done,
                          static_cast<std::size_t>(std::min(piece_bytes, block.bytes - done)));
    read_exactly(file, block.file_offset + done, piece, path_);
    seconds.reading += seconds_since(at);
    if (sum == nullptr) continue;
    hash.update(piece);
    seconds.verifying += seconds_since(at);
  }
  if (sum != nullptr) *sum = hash.digest();
  return seconds;
}

ReadSeconds WeightsFile::read(const TensorSpec& tensor, std::span<const WeightBlock> blocks,
                              std::byte* to, bool verify, const ForEach& for_each) const {
  std::vector<std::int64_t> place(blocks.size(), 0);
  for (std::size_t i = 1; i < blocks.size(); ++i)
    place[i] = place[i - 1] + blocks[i - 1].bytes;
  // asked for here, because threads must not call HDF5 at the same time
  const int file = file_.descriptor();
  std::vector<ReadSeconds> seconds(blocks.size());
  std::vector<std::exception_ptr> failed(blocks.size());
  for_each(std::ssize(blocks), [&](std::int64_t i) {
    const WeightBlock& block = blocks[static_cast<std::size_t>(i)];
    try {
      std::uint64_t sum = 0;
      seconds[i] = read_block(file, block, to + place[i], verify ? &sum : nullptr);
      if (verify) check_sum(tensor, block, sum);
    } catch (...) {
      failed[i] = std::current_exception();
    }
  });
  ReadSeconds total;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (failed[i]) std::rethrow_exception(failed[i]);
    total.reading += seconds[i].reading;
    total.verifying += seconds[i].verifying;
  }
  return total;
}

void WeightsFile::announce(std::span<const WeightBlock> blocks) const {
  for (const WeightBlock& block : blocks)
    ::posix_fadvise(file_.descriptor(), block.file_offset, block.bytes, POSIX_FADV_WILLNEED);
}

void WeightsFile::read_unit(const TensorSpec& tensor, std::int64_t unit, std::byte* to,
                            bool verify) const {
  read(tensor, blocks(tensor, unit, 1), to, verify, in_this_thread);
}

/// Verifies a unit of a tensor that is not contiguous. HDF5 reads its chunks, in windows of whole
/// rows.
void WeightsFile::verify_through_hdf5(const TensorSpec& tensor, std::int64_t unit) const {
  const h5::Dataset dataset = file_.dataset(tensor.path);
  const std::int64_t rows = tensor.slice_rows(unit % tensor.num_slices).size();
  const std::int64_t row_bytes = tensor.unit_bytes(unit) / rows;
  const std::int64_t step = std::max<std::int64_t>(1, checksum_block_bytes / row_bytes);
  std::vector<std::byte> window(static_cast<std::size_t>(std::min(step, rows) * row_bytes));
  BlockSums sums;
  for (std::int64_t first = 0; first < rows; first += step) {
    const std::int64_t count = std::min(step, rows - first);
    dataset.read(rows_of_unit(tensor, unit, first, count), tensor.dtype, window.data());
    sums.update({window.data(), static_cast<std::size_t>(count * row_bytes)});
  }
  const std::vector<std::uint64_t> found = sums.finish();
  for (std::size_t number = 0; number < found.size(); ++number)
    check_sum(tensor, {unit, static_cast<std::int64_t>(number), 0, 0}, found[number]);
}

void WeightsFile::verify_all(const Progress& progress) const {
  std::int64_t done = 0;
  std::vector<std::byte> buffer(checksum_block_bytes);
  for (const TensorSpec& tensor : tensors_)
    for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit) {
      if (entry_of(tensor).file_offset < 0) {
        verify_through_hdf5(tensor, unit);
      } else {
        for (const WeightBlock& block : blocks(tensor, unit, 1))
          read(tensor, {&block, 1}, buffer.data(), true, in_this_thread);
      }
      done += tensor.unit_bytes(unit);
      if (progress) progress(done);
    }
}

}  // namespace tetrarch::storage
