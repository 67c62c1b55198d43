// weights.h5, proved before it is read.
// SPDX-License-Identifier: Apache-2.0
#include "storage/weights_file.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "plan/problems.hpp"
#include "storage/checksum.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using base::UsageError;
using plan::Problems;
using plan::TensorSpec;

using Clock = std::chrono::steady_clock;

constexpr std::int64_t piece_bytes = 512 << 10;  // read and summed at a time: the cache holds it

void in_this_thread(std::int64_t count, const std::function<void(std::int64_t)>& work) {
  for (std::int64_t i = 0; i < count; ++i)
    work(i);
}

/// All bytes, or an error that names the path.
void read_exactly(int file, std::int64_t offset, std::span<std::byte> to, const std::string& path) {
  while (!to.empty()) {
    const ssize_t got = ::pread(file, to.data(), to.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      throw UsageError(
          ExitCode::weights,
          fmt::format("{}: {} bytes at byte {} cannot be read ({}). Check the disk, or "
                      "copy the file again.",
                      path, to.size(), offset,
                      got == 0 ? "the file ends there" : std::strerror(errno)));
    to = to.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

double seconds_since(Clock::time_point& at) {
  const Clock::time_point now = Clock::now();
  return std::chrono::duration<double>(now - std::exchange(at, now)).count();
}

bool is_transposed(const base::Shape& found, const base::Shape& expected) {
  const std::size_t rank = expected.size();
  if (found.size() != rank || rank < 2) return false;
  return found[rank - 1] == expected[rank - 2] && found[rank - 2] == expected[rank - 1];
}

/// What the file itself must show of a dataset before its bytes are believed.
void check_dataset(Problems& problems, const std::string& path, const h5::Info& info,
                   const base::Shape& shape, base::DType dtype, std::int64_t file_bytes) {
  const std::int64_t bytes = base::checked_elements(shape) * base::size_of(dtype);
  const auto found_dtype = info.dtype ? base::name_of(*info.dtype) : "of another kind";
  if (info.dtype != dtype)
    problems.add("{}: elements are {}, expected {}. Import the model again.", path, found_dtype,
                 base::name_of(dtype));
  if (info.shape != shape) {
    problems.add("{}: shape is {}, expected {} from config_json{}. Import the model again.", path,
                 base::to_string(info.shape), base::to_string(shape),
                 is_transposed(info.shape, shape) ? " (transposed?)" : "");
  } else if (!info.is_contiguous) {
    problems.add(
        "{}: is stored in chunks, expected a contiguous layout (slices are read directly). "
        "Import the model again.",
        path);
  } else if (info.stored_bytes != bytes || info.file_offset < 0) {
    problems.add("{}: {} bytes are stored, expected {}. Copy or import the file again.", path,
                 info.stored_bytes, bytes);
  } else if (info.file_offset > file_bytes - bytes) {
    problems.add("{}: ends at byte {}, but the file has {}. Copy or import the file again.", path,
                 info.file_offset + bytes, file_bytes);
  }
}

std::string required_text(const h5::File& file, const std::string& key) {
  auto value = file.text_attribute(key);
  if (!value)
    throw UsageError(ExitCode::weights,
                     fmt::format("{}: root attribute \"{}\" is missing. Import the model again.",
                                 file.path(), key));
  return *std::move(value);
}

void check_format(const h5::File& file) {
  const std::string format = required_text(file, "format");
  if (format != "tetrarch-weights")
    throw UsageError(ExitCode::weights,
                     fmt::format("{}: format is \"{}\", expected \"tetrarch-weights\". Give a file "
                                 "that `import` or `synth` wrote.",
                                 file.path(), format));
  const auto version = file.integer_attribute("format_version");
  if (!version || version->size() != 2 || version->front() != 1)
    throw UsageError(
        ExitCode::weights,
        fmt::format("{}: format_version is {}, expected [1, 0]. Import the model again "
                    "with this version.",
                    file.path(), version ? base::to_string(*version) : "missing"));
}

}  // namespace

bool is_weights_file(const std::string& path) {
  try {
    const h5::File file = h5::File::open_to_read(path, ExitCode::weights);
    return file.text_attribute("format") == "tetrarch-weights";
  } catch (const std::exception&) {
    return false;
  }
}

base::Shape sums_shape(const TensorSpec& tensor) {
  std::int64_t largest = 0;
  for (std::int64_t slice = 0; slice < tensor.num_slices; ++slice)
    largest = std::max(largest, tensor.unit_bytes(slice));
  return {tensor.num_units(), base::ceil_div(largest, checksum_block_bytes)};
}

h5::Hyperslab rows_of_unit(const TensorSpec& tensor, std::int64_t unit, std::int64_t first_row,
                           std::int64_t rows) {
  if (tensor.shape.size() == 1) return {{0}, {tensor.columns()}};
  const std::int64_t begin = tensor.slice_rows(unit % tensor.num_slices).begin + first_row;
  if (tensor.shape.size() == 2) return {{begin, 0}, {rows, tensor.columns()}};
  return {{unit / tensor.num_slices, begin, 0}, {1, rows, tensor.columns()}};
}

WeightsFile::WeightsFile(h5::File file, std::string path)
    : path_(std::move(path)), file_(std::move(file)) {
  read_head();
  check_datasets();
  read_sums();
}

WeightsFile WeightsFile::open(const std::string& path) {
  return WeightsFile(h5::File::open_to_read(path, ExitCode::weights), path);
}

void WeightsFile::read_head() {
  check_format(file_);
  config_json_ = required_text(file_, "config_json");
  const std::string config_sum = hex_text(xxh3(std::as_bytes(std::span(config_json_))));
  const auto noted_sum = file_.text_attribute("config_xxh3");
  if (noted_sum && *noted_sum != config_sum)
    throw UsageError(
        ExitCode::weights,
        fmt::format("{}: config_json has checksum {}, expected {}. The file is damaged; "
                    "copy or import it again.",
                    path_, config_sum, *noted_sum));
  spec_ = plan::parse_model_spec(config_json_, path_);
  const std::string dtype = required_text(file_, "dtype");
  if (dtype != base::name_of(spec_.dtype))
    throw UsageError(ExitCode::weights,
                     fmt::format("{}: root attribute \"dtype\" is \"{}\", but config_json says "
                                 "\"{}\". Import the model again.",
                                 path_, dtype, base::name_of(spec_.dtype)));
  const auto shards = file_.integer_attribute("reduction_shards");
  if (!shards || shards->size() != 1)
    throw UsageError(ExitCode::weights,
                     fmt::format("{}: root attribute \"reduction_shards\" is missing. Import the "
                                 "model again.",
                                 path_));
  reduction_shards_ = shards->front();
  plan::check_reduction_shards(spec_, reduction_shards_, ExitCode::weights);
  tensors_ = plan::tensors_of(spec_, reduction_shards_);
}

void WeightsFile::check_datasets() {
  Problems problems;
  const auto file_bytes = static_cast<std::int64_t>(std::filesystem::file_size(path_));
  const std::vector<std::string> present = file_.list();
  std::vector<std::string> expected;
  const auto check = [&](const std::string& path, const base::Shape& shape, base::DType dtype) {
    expected.push_back(path);
    if (!std::binary_search(present.begin(), present.end(), path)) {
      problems.add("{}: is missing. Copy or import the file again.", path);
      return;
    }
    const h5::Info info = file_.dataset(path).info();
    check_dataset(problems, path, info, shape, dtype, file_bytes);
    entries_.emplace(path, Entry{info.file_offset, {}});
  };
  for (const TensorSpec& tensor : tensors_) {
    check(tensor.path, tensor.shape, tensor.dtype);
    check(tensor.path + ".xxh3", sums_shape(tensor), base::DType::u64);
  }
  std::sort(expected.begin(), expected.end());
  for (const std::string& path : present)
    if (!std::binary_search(expected.begin(), expected.end(), path))
      problems.add(
          "{}: does not belong to this model (config_json has no such tensor). Import the "
          "model again.",
          path);
  problems.refuse(ExitCode::weights, path_);
}

void WeightsFile::read_sums() {
  std::vector<const TensorSpec*> sorted;
  for (const TensorSpec& tensor : tensors_)
    sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(),
            [](const TensorSpec* a, const TensorSpec* b) { return a->path < b->path; });
  Xxh3 identity;
  identity.update(config_json_);
  for (const TensorSpec* tensor : sorted) {
    std::vector<std::uint64_t>& sums = entries_.at(tensor->path).sums;
    sums.resize(static_cast<std::size_t>(base::checked_elements(sums_shape(*tensor))));
    file_.dataset(tensor->path + ".xxh3").read_all(base::DType::u64, sums.data());
    identity.update(std::as_bytes(std::span(sums)));
  }
  identity_ = hex_text(identity.digest());
}

std::int64_t WeightsFile::total_bytes() const {
  std::int64_t total = 0;
  for (const TensorSpec& tensor : tensors_)
    total += tensor.bytes();
  return total;
}

const WeightsFile::Entry& WeightsFile::entry_of(const TensorSpec& tensor) const {
  const auto found = entries_.find(tensor.path);
  base::expects(found != entries_.end(), "a tensor of this file");
  return found->second;
}

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
  throw UsageError(
      ExitCode::weights,
      fmt::format("{}:{}: {}slice {} of {}, block {}: checksum is {}, expected {}. The file is "
                  "damaged; copy or import it again.",
                  path_, tensor.path, expert, block.unit % tensor.num_slices, tensor.num_slices,
                  block.number, hex_text(found), hex_text(expected)));
}

/// `sum`: null where it is not wanted.
ReadSeconds WeightsFile::read_block(const WeightBlock& block, std::byte* to,
                                    std::uint64_t* sum) const {
  ReadSeconds seconds;
  Clock::time_point at = Clock::now();
  Xxh3 hash;
  const int file = file_.descriptor();
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
  std::vector<ReadSeconds> seconds(blocks.size());
  std::vector<std::exception_ptr> failed(blocks.size());
  for_each(std::ssize(blocks), [&](std::int64_t i) {
    const WeightBlock& block = blocks[static_cast<std::size_t>(i)];
    try {
      std::uint64_t sum = 0;
      std::byte* at = to + (block.file_offset - blocks.front().file_offset);
      seconds[i] = read_block(block, at, verify ? &sum : nullptr);
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
  if (blocks.empty()) return;
  const std::int64_t begin = blocks.front().file_offset;
  ::posix_fadvise(file_.descriptor(), begin,
                  blocks.back().file_offset + blocks.back().bytes - begin, POSIX_FADV_WILLNEED);
}

void WeightsFile::read_unit(const TensorSpec& tensor, std::int64_t unit, std::byte* to,
                            bool verify) const {
  read(tensor, blocks(tensor, unit, 1), to, verify, in_this_thread);
}

void WeightsFile::verify_all(const Progress& progress) const {
  std::int64_t done = 0;
  std::vector<std::byte> buffer(checksum_block_bytes);
  for (const TensorSpec& tensor : tensors_)
    for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit) {
      for (const WeightBlock& block : blocks(tensor, unit, 1))
        read(tensor, {&block, 1}, buffer.data(), true, in_this_thread);
      done += tensor.unit_bytes(unit);
      if (progress) progress(done);
    }
}

}  // namespace tetrarch::storage
