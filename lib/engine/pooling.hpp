/// Hidden states of sequences, pooled to one row each, from rows that come in any pieces.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "backend/tensor.hpp"
#include "model/microbatch.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::engine {

/// mean: f32 sums of the absolute blocks of 128 positions, added in order, divided once; so that
/// the pieces in which rows come do not change the bits. last: the last row.
class Pooler {
 public:
  static constexpr std::int64_t block_positions = 128;

  explicit Pooler(plan::Pooling pooling) : pooling_(pooling) {}

  /// Rows of the positions span.first .. of one sequence, host memory; a sequence's rows come in
  /// order. Returns the pooled row once it is known, else nothing: valid until the next call.
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
