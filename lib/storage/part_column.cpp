// One dataset of a part while its rows come in.
// SPDX-License-Identifier: Apache-2.0
#include "storage/part_column.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::storage {
namespace {

using Per = DatasetPlan::Per;

constexpr std::int64_t buffer_bytes = 256 << 10;  // of each dataset; also its HDF5 chunk

}  // namespace

PartColumn::PartColumn(const DatasetPlan& plan) : plan_(&plan) {
  if (plan.per != Per::run) return;
  base::expects(plan.dtype == base::DType::u64, "u64 counts in a dataset per run");
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
  microbatch_ = {microbatch_.end, microbatch_.end + num_rows};
  written_.clear();
  const std::int64_t bytes = microbatch_.end * plan_->row_bytes();
  if (!dataset_ && bytes <= buffer_bytes) {
    buffer_.resize(static_cast<std::size_t>(bytes));
    return;
  }
  if (!dataset_) move_to_file(file);
  if (num_rows > 0) dataset_->extend(num_rows);
}

void PartColumn::move_to_file(h5::File& file) {
  h5::Create create;
  create.shape = plan_->shape(0);
  create.dtype = plan_->dtype;
  create.extendible = true;
  create.chunk_bytes = buffer_bytes;
  dataset_ = file.create_dataset(plan_->path, create);
  if (!buffer_.empty()) dataset_->extend(microbatch_.begin);
  pending_row_ = 0;
  flush();
}

void PartColumn::write(std::int64_t first_row, std::int64_t num_rows, const std::byte* data) {
  const Range range{microbatch_.begin + first_row, microbatch_.begin + first_row + num_rows};
  base::expects(
      plan_->per != Per::run && first_row >= 0 && num_rows > 0 && range.end <= microbatch_.end,
      "rows of the microbatch");
  append(written_, range);
  const std::int64_t row_bytes = plan_->row_bytes();
  const auto bytes = static_cast<std::size_t>(num_rows * row_bytes);
  if (!dataset_) {
    std::memcpy(buffer_.data() + range.begin * row_bytes, data, bytes);
    return;
  }
  const std::int64_t next = pending_row_ + static_cast<std::int64_t>(buffer_.size()) / row_bytes;
  if (range.begin != next || buffer_.size() + bytes > static_cast<std::size_t>(buffer_bytes)) {
    flush();
    pending_row_ = range.begin;
  }
  if (bytes > static_cast<std::size_t>(buffer_bytes)) {
    store(range, data);
    pending_row_ = range.end;
  } else {
    buffer_.insert(buffer_.end(), data, data + bytes);
  }
}

void PartColumn::flush() {
  const std::int64_t num_rows = static_cast<std::int64_t>(buffer_.size()) / plan_->row_bytes();
  if (num_rows > 0) store({pending_row_, pending_row_ + num_rows}, buffer_.data());
  buffer_.clear();
}

void PartColumn::store(Range range, const std::byte* data) {
  const std::int64_t num_rows = range.end - range.begin;
  dataset_->write({plan_->offset(range.begin), plan_->shape(num_rows)}, plan_->dtype, data);
  hash_.update({data, static_cast<std::size_t>(num_rows * plan_->row_bytes())});
  append(stored_, range);
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
        "internal defect: {} got {} rows in the microbatch, expected {}, each once; the first that "
        "lacks or came twice is {}. Please report it with the command line.",
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
    pending_row_ = 0;
    flush();
  }
  dataset_.reset();
}

void PartColumn::check(const h5::File& file, std::vector<std::byte>& scratch) const {
  const h5::Dataset dataset = file.dataset(plan_->path);
  const std::int64_t row_bytes = plan_->row_bytes();
  scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(row_bytes)));
  const std::int64_t step = static_cast<std::int64_t>(scratch.size()) / row_bytes;
  Xxh3 found;
  for (const Range& range : stored_)
    for (std::int64_t row = range.begin; row < range.end; row += step) {
      const std::int64_t num_rows = std::min(step, range.end - row);
      dataset.read({plan_->offset(row), plan_->shape(num_rows)}, plan_->dtype, scratch.data());
      found.update({scratch.data(), static_cast<std::size_t>(num_rows * row_bytes)});
    }
  if (found.digest() != hash_.digest())
    throw base::SystemError(
        base::ExitCode::resources,
        fmt::format(
            "{}: what was read back differs from what was written (a full or failing disk). "
            "Check the disk and run the same command again.",
            dataset.name()));
}

}  // namespace tetrarch::storage
