/// Hidden states of a sequence, pooled to one row, from rows that come in order and in any pieces.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "backend/tensor.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::engine {

/// mean: f32 sums of the absolute blocks of 128 positions, added in order, divided once; so that
/// the pieces in which rows come do not change the bits. last: the last row.
class Pooler {
 public:
  static constexpr std::int64_t block_positions = 128;

  /// `lengths`: tokens of the sequences whose rows come, in order.
  void begin(plan::Pooling pooling, std::vector<std::int64_t> lengths, std::int64_t columns);
  /// The next rows, host memory. Appends each sequence that is now whole to `finished` [..,
  /// columns].
  void add(const backend::Tensor& rows, std::vector<float>& finished);

 private:
  void close_block();

  plan::Pooling pooling_ = plan::Pooling::mean;
  std::vector<std::int64_t> lengths_;
  std::size_t sequence_ = 0;
  std::int64_t position_ = 0;
  std::vector<float> row_, block_, sum_;
};

}  // namespace tetrarch::engine
