// Copies one dataset from all parts into results.h5.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/merge_copy.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "storage/files/checksum.hpp"

namespace tetrarch::storage {
namespace {

constexpr std::size_t max_open_files = 32;

h5::Hyperslab rows_of(const DatasetPlan& plan, std::int64_t begin, std::int64_t count) {
  return {plan.offset(begin), plan.shape(count)};
}

}  // namespace

void DatasetCopier::copy(const DatasetPlan& plan, h5::File& results) {
  const std::int64_t total = plan.total_rows(inputs_->count(), inputs_->total_tokens());
  h5::Create create;
  create.shape = plan.shape(total);
  create.dtype = plan.dtype;
  create.description = plan.description;
  create.units = plan.units;
  h5::Dataset target = results.create_dataset(plan.path, create);

  if (plan.per == DatasetPlan::Per::run) {
    add_up(plan);
    target.write_all(plan.dtype, window_.data());
    target.set_attribute("xxh3", hex_text(xxh3(window_)));
    open_datasets_.clear();
    return;
  }
  const std::int64_t step = std::max<std::int64_t>(1, window_bytes / plan.row_bytes());
  window_.resize(static_cast<std::size_t>(std::min(step, total) * plan.row_bytes()));
  Xxh3 hash;
  sequence_ = 0;
  for (std::int64_t begin = 0; begin < total; begin += step) {
    const std::int64_t end = std::min(begin + step, total);
    gather(plan, begin, end);
    fetch(plan);
    target.write(rows_of(plan, begin, end - begin), plan.dtype, window_.data());
    hash.update({window_.data(), static_cast<std::size_t>((end - begin) * plan.row_bytes())});
  }
  target.set_attribute("xxh3", hex_text(hash.digest()));
  open_datasets_.clear();
}

void DatasetCopier::add_up(const DatasetPlan& plan) {
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(plan.rows * plan.columns)), of_part;
  for (std::size_t part = 0; part < committed_->parts.size(); ++part) {
    if (!committed_->is_whole[part]) continue;
    of_part.resize(sums.size());
    part_dataset(static_cast<int>(part), plan.path)
        .read(rows_of(plan, 0, plan.rows), plan.dtype, of_part.data());
    for (std::size_t i = 0; i < sums.size(); ++i)
      sums[i] += of_part[i];
  }
  const auto bytes = std::as_bytes(std::span(sums));
  window_.assign(bytes.begin(), bytes.end());
}

/// Lists the segments of parts that belong in rows [begin, end) of the results, and puts fill
/// values in the other rows of the window.
void DatasetCopier::gather(const DatasetPlan& plan, std::int64_t begin, std::int64_t end) {
  const bool is_per_token = plan.per == DatasetPlan::Per::token;
  const auto row_of = [&](std::int64_t sequence) {
    return is_per_token
               ? static_cast<std::int64_t>(inputs_->offsets()[static_cast<std::size_t>(sequence)])
               : sequence;
  };
  segments_.clear();
  while (sequence_ < inputs_->count() && row_of(sequence_ + 1) <= begin)
    ++sequence_;
  for (std::int64_t i = sequence_; i < inputs_->count() && row_of(i) < end; ++i) {
    const std::int64_t first = std::max(row_of(i), begin);
    const std::int64_t rows = std::min(row_of(i + 1), end) - first;
    if (rows <= 0) continue;
    if (const CommittedSequence* source = (*sources_)[static_cast<std::size_t>(i)]) {
      const std::int64_t part_row =
          is_per_token ? source->entry.token_row + first - row_of(i) : source->entry.row;
      segments_.push_back({source->part, part_row, first - begin, rows});
    } else {
      fill_rows(plan, rows, window_.data() + (first - begin) * plan.row_bytes());
    }
  }
}

/// Reads the segments into the window. Segments that are adjacent in a part are read together.
void DatasetCopier::fetch(const DatasetPlan& plan) {
  std::ranges::sort(segments_, {}, [](const Segment& segment) {
    return std::tuple(segment.part, segment.part_row);
  });
  const std::int64_t row_bytes = plan.row_bytes();
  for (std::size_t i = 0, next = 0; i < segments_.size(); i = next) {
    std::int64_t rows = segments_[i].rows;
    for (next = i + 1; next < segments_.size() && segments_[next].part == segments_[i].part &&
                       segments_[next].part_row == segments_[i].part_row + rows;
         ++next)
      rows += segments_[next].rows;
    const h5::Hyperslab slab = rows_of(plan, segments_[i].part_row, rows);
    const h5::Dataset& from = part_dataset(segments_[i].part, plan.path);
    if (next == i + 1) {
      from.read(slab, plan.dtype, window_.data() + segments_[i].window_row * row_bytes);
      continue;
    }
    scratch_.resize(std::max(scratch_.size(), static_cast<std::size_t>(rows * row_bytes)));
    from.read(slab, plan.dtype, scratch_.data());
    const std::byte* at = scratch_.data();
    for (std::size_t j = i; j < next; ++j) {
      const std::int64_t bytes = segments_[j].rows * row_bytes;
      std::memcpy(window_.data() + segments_[j].window_row * row_bytes, at,
                  static_cast<std::size_t>(bytes));
      at += bytes;
    }
  }
}

const h5::Dataset& DatasetCopier::part_dataset(int part, const std::string& path) {
  if (const auto found = open_datasets_.find(part); found != open_datasets_.end())
    return found->second;
  if (!open_files_.contains(part) && open_files_.size() >= max_open_files) {
    open_datasets_.clear();
    open_files_.clear();
  }
  auto file = open_files_.find(part);
  if (file == open_files_.end()) {
    const std::string& name = committed_->parts[static_cast<std::size_t>(part)];
    file =
        open_files_
            .emplace(part, h5::File::open_to_read(name, base::ExitCode::input, h5::Chunks::direct))
            .first;
  }
  return open_datasets_.emplace(part, file->second.dataset(path)).first->second;
}

}  // namespace tetrarch::storage
