// One dataset of a part file while its rows are being written.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/part_column.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::storage {
namespace {

using Per = DatasetPlan::Per;

}  // namespace

std::int64_t column_bytes(std::int64_t num_datasets) {
  constexpr std::int64_t all = 8 << 20, least = 32 << 10, most = 256 << 10;
  return std::clamp(all / std::max<std::int64_t>(1, num_datasets), least, most);
}

PartColumn::PartColumn(const DatasetPlan& plan, std::int64_t buffer_bytes)
    : plan_(&plan),
      buffer_bytes_(buffer_bytes),
      window_rows_(std::max<std::int64_t>(1, buffer_bytes / plan.row_bytes())) {
  if (plan.per != Per::run) return;
  base::expects(plan.dtype == base::DType::u64, "u64 counts in a dataset per run");
  window_rows_ = std::max<std::int64_t>(1, plan.rows);
  microbatch_ = {0, plan.rows};
  buffer_.resize(static_cast<std::size_t>(plan.rows * plan.row_bytes()));
}

void PartColumn::append(std::vector<Range>& ranges, Range range) {
  if (!ranges.empty() && ranges.back().end == range.begin) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

void PartColumn::begin(h5::File& file, std::int64_t num_rows) {
  if (plan_->per == Per::run) return;
  const std::int64_t rows_before = microbatch_.end;
  microbatch_ = {rows_before, rows_before + num_rows};
  written_.clear();
  if (!dataset_ && microbatch_.end <= window_rows_ &&
      microbatch_.end * plan_->row_bytes() <= buffer_bytes_) {
    buffer_.resize(static_cast<std::size_t>(microbatch_.end * plan_->row_bytes()));
    return;
  }
  flush();
  if (!dataset_) move_to_file(file);
  if (num_rows > 0) dataset_->extend(num_rows);
}

/// Creates the dataset and writes the rows so far to it. They all belong to the first window.
void PartColumn::move_to_file(h5::File& file) {
  h5::Create create;
  create.shape = plan_->shape(0);
  create.dtype = plan_->dtype;
  create.extendible = true;
  create.chunk_bytes = window_rows_ * plan_->row_bytes();
  create.chunks = h5::Chunks::direct;
  dataset_ = file.create_dataset(plan_->path, create);
  if (microbatch_.begin > 0) dataset_->extend(microbatch_.begin);
  if (microbatch_.begin > 0) store({0, microbatch_.begin}, buffer_.data());
}

/// Makes the buffer hold this window, with the rows of it that the file has.
void PartColumn::hold(std::int64_t window) {
  if (window_ == window) return;
  flush();
  window_ = window;
  const std::int64_t first = window * window_rows_;
  const std::int64_t num_rows = std::min(window_rows_, microbatch_.end - first);
  buffer_.assign(static_cast<std::size_t>(num_rows * plan_->row_bytes()), std::byte{0});
  const Stored before = stored(window);
  if (before.num_rows == 0) return;
  dataset_->read({plan_->offset(first), plan_->shape(before.num_rows)}, plan_->dtype,
                 buffer_.data());
  compare(*dataset_, before.sum,
          std::span(buffer_).first(static_cast<std::size_t>(before.num_rows * plan_->row_bytes())));
}

void PartColumn::write(std::int64_t first_row, std::int64_t num_rows, const std::byte* data) {
  const Range range{microbatch_.begin + first_row, microbatch_.begin + first_row + num_rows};
  base::expects(
      plan_->per != Per::run && first_row >= 0 && num_rows > 0 && range.end <= microbatch_.end,
      "rows of the microbatch");
  append(written_, range);
  const std::int64_t row_bytes = plan_->row_bytes();
  if (!dataset_) {
    std::memcpy(buffer_.data() + range.begin * row_bytes, data,
                static_cast<std::size_t>(num_rows * row_bytes));
    return;
  }
  for (std::int64_t row = range.begin; row < range.end;) {
    const std::int64_t window = row / window_rows_;
    const std::int64_t whole = (range.end - row) / window_rows_ * window_rows_;
    std::int64_t count = whole;
    if (whole > 0 && row % window_rows_ == 0) {
      store({row, row + whole}, data);
    } else {
      hold(window);
      count = std::min(range.end, (window + 1) * window_rows_) - row;
      std::memcpy(buffer_.data() + row % window_rows_ * row_bytes, data,
                  static_cast<std::size_t>(count * row_bytes));
    }
    row += count;
    data += count * row_bytes;
  }
}

/// Writes the window in the buffer to the file.
void PartColumn::flush() {
  if (window_ < 0) return;
  const std::int64_t first = window_ * window_rows_;
  const std::int64_t num_rows = static_cast<std::int64_t>(buffer_.size()) / plan_->row_bytes();
  store({first, first + num_rows}, buffer_.data());
  window_ = -1;
}

PartColumn::Stored& PartColumn::stored(std::int64_t window) {
  if (window >= std::ssize(stored_)) stored_.resize(static_cast<std::size_t>(window) + 1);
  return stored_[static_cast<std::size_t>(window)];
}

/// Writes rows to the file, and notes the checksum of each window. `range` begins at the first row
/// of a window and may cover several.
void PartColumn::store(Range range, const std::byte* data) {
  dataset_->write({plan_->offset(range.begin), plan_->shape(range.end - range.begin)}, plan_->dtype,
                  data);
  for (std::int64_t row = range.begin; row < range.end; row += window_rows_) {
    const std::int64_t num_rows = std::min(window_rows_, range.end - row);
    const auto bytes = static_cast<std::size_t>(num_rows * plan_->row_bytes());
    stored(row / window_rows_) = {num_rows, xxh3({data, bytes})};
    data += bytes;
  }
}

void PartColumn::add(std::int64_t first_row, std::int64_t num_rows, const std::uint64_t* counts) {
  base::expects(plan_->per == Per::run && first_row >= 0 && num_rows >= 0 &&
                    first_row + num_rows <= plan_->rows,
                "rows of a dataset per run");
  std::byte* to = buffer_.data() + first_row * plan_->row_bytes();
  for (std::int64_t i = 0; i < num_rows * plan_->columns; ++i, to += sizeof(std::uint64_t)) {
    std::uint64_t sum = 0;
    std::memcpy(&sum, to, sizeof sum);
    sum += counts[i];
    std::memcpy(to, &sum, sizeof sum);
  }
}

void PartColumn::end() {
  if (plan_->per == Per::run) return;
  std::ranges::sort(written_, {}, &Range::begin);
  std::int64_t next = microbatch_.begin;
  for (const Range& range : written_) {
    if (range.begin != next) break;
    next = range.end;
  }
  std::int64_t num_written = 0;
  for (const Range& range : written_)
    num_written += range.end - range.begin;
  const std::int64_t expected = microbatch_.end - microbatch_.begin;
  if (num_written != expected || next != microbatch_.end)
    throw base::InternalError(fmt::format(
        "internal defect: {} got {} rows in the microbatch, expected {}, each once; the first row "
        "that is missing or came twice is {}. Please report it with the command line.",
        plan_->path, num_written, expected, next - microbatch_.begin));
}

void PartColumn::finish(h5::File& file) {
  if (dataset_) {
    flush();
  } else {
    h5::Create create;
    create.shape = plan_->shape(microbatch_.end);
    create.dtype = plan_->dtype;
    dataset_ = file.create_dataset(plan_->path, create);
    if (microbatch_.end > 0) store({0, microbatch_.end}, buffer_.data());
  }
  dataset_.reset();
  buffer_ = {};
}

void PartColumn::compare(const h5::Dataset& dataset, std::uint64_t sum,
                         std::span<const std::byte> rows) const {
  if (xxh3(rows) == sum) return;
  throw base::SystemError(
      base::ExitCode::resources,
      fmt::format("{}: what was read back differs from what was written (a full or failing disk). "
                  "Check the disk and run the same command again.",
                  dataset.name()));
}

void PartColumn::check(const h5::File& file, std::vector<std::byte>& scratch) const {
  const h5::Dataset dataset = file.dataset(plan_->path);
  const std::int64_t row_bytes = plan_->row_bytes(), window_bytes = window_rows_ * row_bytes;
  scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(window_bytes)));
  const std::int64_t step = static_cast<std::int64_t>(scratch.size()) / window_bytes * window_rows_;
  for (std::int64_t row = 0; row < microbatch_.end; row += step) {
    const std::int64_t end = std::min(row + step, microbatch_.end);
    dataset.read({plan_->offset(row), plan_->shape(end - row)}, plan_->dtype, scratch.data());
    const std::byte* at = scratch.data();
    for (std::int64_t first = row; first < end; first += window_rows_) {
      const Stored& expected = stored_[static_cast<std::size_t>(first / window_rows_)];
      const auto bytes = static_cast<std::size_t>(expected.num_rows * row_bytes);
      compare(dataset, expected.sum, {at, bytes});
      at += bytes;
    }
  }
}

}  // namespace tetrarch::storage
