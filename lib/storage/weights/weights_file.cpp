// Opens weights.h5 and checks it before any tensor is read.
// SPDX-License-Identifier: Apache-2.0
#include "storage/weights/weights_file.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "plan/problems.hpp"
#include "storage/files/checksum.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using base::Refusal;
using plan::Problems;
using plan::TensorSpec;

bool is_transposed(const base::Shape& found, const base::Shape& expected) {
  const std::size_t rank = expected.size();
  if (found.size() != rank || rank < 2) return false;
  return found[rank - 1] == expected[rank - 2] && found[rank - 2] == expected[rank - 1];
}

/// Checks type, shape and stored bytes of a dataset before its data is read.
void check_dataset(Problems& problems, const std::string& path, const h5::Info& info,
                   const base::Shape& shape, base::DType dtype) {
  const std::int64_t bytes = base::checked_elements(shape) * base::size_of(dtype);
  const std::string found_dtype{info.dtype ? base::name_of(*info.dtype) : info.kind};
  if (info.dtype != dtype)
    problems.add("{}: elements are {}, expected {}. Import the model again.", path, found_dtype,
                 base::name_of(dtype));
  if (info.shape != shape) {
    problems.add("{}: shape is {}, expected {} from config_json{}. Import the model again.", path,
                 base::to_string(info.shape), base::to_string(shape),
                 is_transposed(info.shape, shape) ? " (transposed?)" : "");
  } else if (info.stored_bytes == 0) {
    problems.add(
        "{}: its data were never written (0 bytes are stored, expected {}; the program "
        "that made the file did not finish). Copy or import the file again.",
        path, bytes);
  } else if (info.is_contiguous ? info.stored_bytes != bytes || info.file_offset < 0
                                : !info.can_hold(bytes)) {
    problems.add("{}: {} bytes are stored, expected {}. Copy or import the file again.", path,
                 info.stored_bytes, bytes);
  }
}

/// Checks the unused checksums: a unit shorter than the largest one has fewer blocks, and the
/// checksums of the blocks that it does not have must be 0.
void check_unused_sums(const TensorSpec& tensor, std::span<const std::uint64_t> sums,
                       const std::string& path) {
  const std::int64_t most = std::ssize(sums) / tensor.num_units();
  for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit)
    for (std::int64_t block = base::ceil_div(tensor.unit_bytes(unit), checksum_block_bytes);
         block < most; ++block)
      if (const std::uint64_t sum = sums[static_cast<std::size_t>(unit * most + block)]; sum != 0)
        throw Refusal(
            ExitCode::weights,
            fmt::format("{}:{}.xxh3: unit {} has no block {}, but its checksum is {}, expected 0. "
                        "The file is damaged; copy or import it again.",
                        path, tensor.path, unit, block, hex_text(sum)));
}

std::string required_text(const h5::File& file, const std::string& key) {
  auto value = file.text_attribute(key);
  if (!value)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: root attribute \"{}\" is missing. Import the model again.",
                              file.path(), key));
  return *std::move(value);
}

void check_format(const h5::File& file) {
  const std::string format = required_text(file, "format");
  if (format != "tetrarch-weights")
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: format is \"{}\", expected \"tetrarch-weights\". Give a file "
                              "that `import` or `synth` wrote.",
                              file.path(), format));
  const auto version = file.integer_attribute("format_version");
  if (!version || version->size() != 2 || version->front() != 1)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: format_version is {}, expected [1, 0]. Import the model again "
                              "with this version.",
                              file.path(), version ? base::to_string(*version) : "missing"));
}

}  // namespace

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

WeightsFile::WeightsFile(h5::File file, std::string path, WeightsLayout layout)
    : path_(std::move(path)), file_(std::move(file)) {
  read_head();
  check_datasets(layout);
  read_sums();
}

WeightsFile WeightsFile::open(const std::string& path, WeightsLayout layout) {
  return WeightsFile(h5::File::open_to_read(path, ExitCode::weights), path, layout);
}

void WeightsFile::read_head() {
  check_format(file_);
  config_json_ = required_text(file_, "config_json");
  const std::string config_sum = hex_text(xxh3(std::as_bytes(std::span(config_json_))));
  const auto noted_sum = file_.text_attribute("config_xxh3");
  if (noted_sum && *noted_sum != config_sum)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: config_json has checksum {}, expected {}. The file is damaged; "
                              "copy or import it again.",
                              path_, config_sum, *noted_sum));
  spec_ = plan::parse_model_spec(config_json_, path_);
  const std::string dtype = required_text(file_, "dtype");
  if (dtype != base::name_of(spec_.dtype))
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: root attribute \"dtype\" is \"{}\", but config_json says "
                              "\"{}\". Import the model again.",
                              path_, dtype, base::name_of(spec_.dtype)));
  const auto shards = file_.integer_attribute("reduction_shards");
  if (!shards || shards->size() != 1)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: root attribute \"reduction_shards\" is missing. Import the "
                              "model again.",
                              path_));
  reduction_shards_ = shards->front();
  plan::check_reduction_shards(spec_, reduction_shards_, ExitCode::weights);
  tensors_ = plan::tensors_of(spec_, reduction_shards_);
}

void WeightsFile::check_datasets(WeightsLayout layout) {
  Problems problems;
  const std::vector<std::string> present = file_.list();
  std::vector<std::string> expected;
  const auto check = [&](const std::string& path, const base::Shape& shape, base::DType dtype) {
    expected.push_back(path);
    if (!std::binary_search(present.begin(), present.end(), path)) {
      problems.add("{}: is missing. Copy or import the file again.", path);
      return;
    }
    const h5::Dataset dataset = file_.dataset(path);
    const h5::Info info = dataset.info();
    check_dataset(problems, path, info, shape, dtype);
    if (info.stored_bytes > 0) dataset.check_written();
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
  const auto other = std::ranges::find_if_not(
      tensors_, [&](const TensorSpec& tensor) { return entry_of(tensor).file_offset >= 0; });
  is_contiguous_ = other == tensors_.end();
  if (layout == WeightsLayout::contiguous && !is_contiguous_)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: {} is stored in chunks or compressed, as h5repack does on "
                              "request (a run reads slices directly from the file, so they must be "
                              "contiguous). Rewrite the file: h5repack -l CONTI -f NONE {} NEW.h5",
                              path_, other->path, path_));
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
    check_unused_sums(*tensor, sums, path_);
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

}  // namespace tetrarch::storage
