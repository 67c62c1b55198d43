// SPDX-License-Identifier: Apache-2.0
#include "engine/pooling.hpp"

#include <algorithm>
#include <span>

namespace tetrarch::engine {

void Pooler::begin(plan::Pooling pooling, std::vector<std::int64_t> lengths, std::int64_t columns) {
  pooling_ = pooling;
  lengths_ = std::move(lengths);
  sequence_ = 0;
  position_ = 0;
  row_.assign(columns, 0);
  block_.assign(columns, 0);
  sum_.assign(columns, 0);
}

void Pooler::close_block() {
  for (std::size_t i = 0; i < sum_.size(); ++i)
    sum_[i] += block_[i];
  std::fill(block_.begin(), block_.end(), 0.0f);
}

void Pooler::add(const backend::Tensor& rows, std::vector<float>& finished) {
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    const backend::Tensor row = rows.row_range(r, 1);
    if (rows.dtype == base::DType::bf16) {
      base::to_float(std::span<const base::bf16>(row.as<base::bf16>(), row_.size()), row_);
    } else {
      std::copy_n(row.as<float>(), row_.size(), row_.begin());
    }
    if (pooling_ == plan::Pooling::mean) {
      for (std::size_t i = 0; i < row_.size(); ++i)
        block_[i] += row_[i];
      if ((position_ + 1) % block_positions == 0) close_block();
    }
    if (++position_ < lengths_.at(sequence_)) continue;
    if (pooling_ == plan::Pooling::mean) {
      if (position_ % block_positions != 0) close_block();
      const auto count = static_cast<float>(position_);
      for (const float value : sum_)
        finished.push_back(value / count);
      std::fill(sum_.begin(), sum_.end(), 0.0f);
    } else {
      finished.insert(finished.end(), row_.begin(), row_.end());
    }
    position_ = 0;
    ++sequence_;
  }
}

}  // namespace tetrarch::engine
