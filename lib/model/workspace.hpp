/// The buffers that the forward pass works on, allocated once from the memory plan.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "backend/backend.hpp"
#include "model/pass_rows.hpp"
#include "model/routing.hpp"
#include "plan/memory.hpp"

namespace tetrarch::model {

/// Each microbatch in flight has one Workspace. Buffers do not move. tensor() returns views of the
/// size that the present pass needs, and checks them against the planned size.
class Workspace {
 public:
  Workspace(const plan::MemoryPlan& plan, backend::Backend& backend);

  /// Returns a view of the first bytes of a buffer. Throws InternalError if it is larger than
  /// planned.
  backend::Tensor tensor(plan::BufferName name, base::DType dtype, std::int64_t slices,
                         std::int64_t rows, std::int64_t columns) const;
  std::int64_t round_rows() const { return round_rows_; }
  std::int64_t head_chunk() const { return head_chunk_; }

  /// Starts the next pass. The contents of its residual stream are undefined.
  /// cache_tokens: number of rows of each layer in the KV cache.
  void begin(PassRows pass_rows, std::int64_t hidden_size, base::DType dtype, int tp_rank,
             std::int64_t cache_tokens = 0);
  /// Replaces the rows of the pass by some of them. The contents of the residual stream do not
  /// change.
  void narrow(PassRows pass_rows);
  const PassRows& pass_rows() const { return pass_rows_; }
  std::int64_t cache_tokens() const { return cache_tokens_; }
  /// The number of rows of each tp rank, and the range of this rank's rows.
  const std::vector<std::int64_t>& home_count() const { return home_count_; }
  plan::Range home() const { return home_; }

  /// The residual stream [home, D], the input of the next step.
  backend::Tensor residual() const;
  /// The buffer to which a step writes the next residual stream. advance() makes it the current
  /// one.
  backend::Tensor residual_next() const;
  void advance() { is_odd_ = !is_odd_; }

  // Values that the steps of a layer share.
  Routing routing;
  Exchange exchange;

 private:
  backend::Buffer memory_;
  std::array<std::int64_t, static_cast<int>(plan::BufferName::num_buffers)> offset_{}, bytes_{};
  std::int64_t round_rows_ = 0;
  std::int64_t head_chunk_ = 0;
  PassRows pass_rows_;
  std::int64_t cache_tokens_ = 0;
  int tp_rank_ = 0;
  std::vector<std::int64_t> home_count_;
  plan::Range home_;
  std::int64_t hidden_size_ = 0;
  base::DType dtype_ = base::DType::f32;
  bool is_odd_ = false;
};

}  // namespace tetrarch::model
