// SPDX-License-Identifier: Apache-2.0
#include "engine/pooling.hpp"

#include <algorithm>

namespace tetrarch::engine {
namespace {

void to_float(const backend::Tensor& row, std::vector<float>& to) {
  to.resize(static_cast<std::size_t>(row.columns));
  if (row.dtype == base::DType::bf16) {
    base::to_float(std::span<const base::bf16>(row.as<base::bf16>(), to.size()), to);
  } else {
    std::copy_n(row.as<float>(), to.size(), to.begin());
  }
}

}  // namespace

void Pooler::add_row(Sums& sums, std::int64_t position, std::int64_t length) {
  sums.block.resize(row_.size(), 0.0f);
  sums.total.resize(row_.size(), 0.0f);
  for (std::size_t i = 0; i < row_.size(); ++i)
    sums.block[i] += row_[i];
  if ((position + 1) % block_positions != 0 && position + 1 != length) return;
  for (std::size_t i = 0; i < row_.size(); ++i)
    sums.total[i] += sums.block[i];
  std::fill(sums.block.begin(), sums.block.end(), 0.0f);
}

std::span<const float> Pooler::add(const plan::SequenceSpan& span, const backend::Tensor& rows) {
  if (pooling_ == plan::Pooling::last) {
    if (span.is_last()) to_float(rows.row_range(rows.rows - 1, 1), row_);
    return span.is_last() ? std::span<const float>(row_) : std::span<const float>();
  }
  Sums& sums = open_[span.sequence];
  for (std::int64_t i = 0; i < rows.rows; ++i) {
    to_float(rows.row_range(i, 1), row_);
    add_row(sums, span.first + i, span.length);
  }
  if (!span.is_last()) return {};
  const auto count = static_cast<float>(span.length);
  for (std::size_t i = 0; i < row_.size(); ++i)
    row_[i] = sums.total[i] / count;
  open_.erase(span.sequence);
  return row_;
}

}  // namespace tetrarch::engine
