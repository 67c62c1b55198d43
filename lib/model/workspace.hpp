/// What a microbatch in flight scribbles on: buffers laid out once from the plan's memory table.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "backend/backend.hpp"
#include "model/microbatch.hpp"
#include "model/routing.hpp"
#include "plan/memory.hpp"

namespace tetrarch::model {

/// One per microbatch in flight. Buffers never move; tensors are views of the size that the
/// microbatch at hand needs, checked against what was planned.
class Workspace {
 public:
  Workspace(const plan::MemoryPlan& plan, backend::Backend& backend);

  /// A view of a buffer's first bytes. Throws InternalError beyond its planned size.
  backend::Tensor tensor(plan::BufferName name, base::DType dtype, std::int64_t slices,
                         std::int64_t rows, std::int64_t columns) const;
  std::int64_t round_rows() const { return round_rows_; }
  std::int64_t head_chunk() const { return head_chunk_; }

  /// Takes in the next pass. Its residual stream is then empty.
  /// cache_tokens: rows of each layer in the KV cache.
  void begin(MicroBatch batch, std::int64_t hidden_size, base::DType dtype, int tp_rank,
             std::int64_t cache_tokens = 0);
  /// Goes on with some of the rows; the residual stream is still that of before.
  void narrow(MicroBatch batch);
  const MicroBatch& batch() const { return batch_; }
  std::int64_t cache_tokens() const { return cache_tokens_; }
  /// Rows of each tp rank, and this rank's first row and number of rows.
  const std::vector<std::int64_t>& home_count() const { return home_count_; }
  plan::Range home() const { return home_; }

  /// The residual stream, [home, D]: input of the next step.
  backend::Tensor residual() const;
  /// Where a step writes the next residual stream; advance() makes it the current one.
  backend::Tensor residual_next() const;
  void advance() { is_odd_ = !is_odd_; }

  // Values that pass between the steps of a layer.
  Routing routing;
  Exchange exchange;

 private:
  backend::Buffer memory_;
  std::array<std::int64_t, static_cast<int>(plan::BufferName::num_buffers)> offset_{}, bytes_{};
  std::int64_t round_rows_ = 0;
  std::int64_t head_chunk_ = 0;
  MicroBatch batch_;
  std::int64_t cache_tokens_ = 0;
  int tp_rank_ = 0;
  std::vector<std::int64_t> home_count_;
  plan::Range home_;
  std::int64_t hidden_size_ = 0;
  base::DType dtype_ = base::DType::f32;
  bool is_odd_ = false;
};

}  // namespace tetrarch::model
