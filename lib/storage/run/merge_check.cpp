// Reads a results file back before it is published.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/merge_check.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"
#include "storage/files/checksum.hpp"
#include "storage/h5/h5.hpp"
#include "storage/run/part_file.hpp"

namespace tetrarch::storage {
namespace {

constexpr std::int64_t window_bytes = 4 << 20;

/// Reads all rows in windows of whole rows and adds them to the hash.
template <class Read>
void read_windows(std::int64_t num_rows, std::int64_t row_bytes, Xxh3& hash, const Read& read) {
  const std::int64_t step =
      std::max<std::int64_t>(1, window_bytes / std::max<std::int64_t>(1, row_bytes));
  std::vector<std::byte> window;
  for (std::int64_t begin = 0; begin < num_rows; begin += step) {
    const std::int64_t rows = std::min(step, num_rows - begin);
    window.resize(static_cast<std::size_t>(rows * row_bytes));
    read(begin, rows, window.data());
    hash.update(window);
  }
}

std::uint64_t stored_xxh3(const h5::Dataset& dataset) {
  const h5::Info info = dataset.info();
  const std::int64_t num_rows = info.shape.at(0);
  Xxh3 hash;
  if (info.text_bytes > 0) {
    dataset.visit_texts([&](std::int64_t, std::string& text) {
      text.resize(static_cast<std::size_t>(info.text_bytes), '\0');
      hash.update(text);
    });
  } else if (info.dtype) {
    base::Shape offset(info.shape.size()), count = info.shape;
    std::int64_t row_bytes = base::size_of(*info.dtype);
    for (std::size_t axis = 1; axis < info.shape.size(); ++axis)
      row_bytes *= info.shape[axis];
    read_windows(num_rows, row_bytes, hash,
                 [&](std::int64_t begin, std::int64_t rows, std::byte* to) {
                   offset[0] = begin;
                   count[0] = rows;
                   dataset.read({offset, count}, *info.dtype, to);
                 });
  } else {
    read_windows(num_rows, sizeof(TimingRow), hash,
                 [&](std::int64_t begin, std::int64_t rows, std::byte* to) {
                   dataset.read_records(begin, rows, timing_fields(), sizeof(TimingRow), to);
                 });
  }
  return hash.digest();
}

[[noreturn]] void refuse(const std::string& object, const std::string& problem) {
  throw base::SystemError(
      base::ExitCode::resources,
      fmt::format("{}: {} (a full or failing disk). Check the disk and run the same command again.",
                  object, problem));
}

}  // namespace

void check_written(const std::string& path) {
  try {
    const h5::File file = h5::File::open_to_read(path, base::ExitCode::resources);
    for (const std::string& name : file.list()) {
      const h5::Dataset dataset = file.dataset(name);
      if (dataset.text_attribute("xxh3") != hex_text(stored_xxh3(dataset)))
        refuse(dataset.name(), "what was read back differs from what was written");
    }
  } catch (const base::Refusal& error) {
    refuse(path, fmt::format("cannot be read back: {}", error.what()));
  }
}

}  // namespace tetrarch::storage
