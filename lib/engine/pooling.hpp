/// Pools the hidden states of each sequence to one row. The rows may come in any number of pieces.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "backend/tensor.hpp"
#include "model/pass_rows.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::engine {

/// mean: the mean of all rows. Rows are summed in f32 over blocks of 128 positions, counted from
/// position 0; the block sums are added in order and divided once. So the bits do not depend on the
/// pieces in which rows come. last: the last row.
class Pooler {
 public:
  static constexpr std::int64_t block_positions = 128;

  explicit Pooler(plan::Pooling pooling) : pooling_(pooling) {}

  /// Adds rows of one sequence in host memory, beginning at position span.first. The rows of a
  /// sequence must come in order. After the last row, returns the pooled row, valid until the next
  /// call; before that, returns nothing.
  std::span<const float> add(const plan::SequenceSpan& span, const backend::Tensor& rows);

 private:
  struct Sums {
    std::vector<float> block, total;
  };
  void add_row(Sums& sums, std::int64_t position, std::int64_t length);

  plan::Pooling pooling_;
  std::map<std::int64_t, Sums> open_;  // by sequence
  std::vector<float> row_;
};

}  // namespace tetrarch::engine
