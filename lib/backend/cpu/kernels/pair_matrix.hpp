/// A weight of bf16, packed for instructions that add two products at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/cpu/kernels/memory.hpp"
#include "backend/cpu/kernels/row_builder.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "base/dtype.hpp"
#include "base/shape.hpp"

namespace tetrarch::backend::cpu {

/// The weight as [outputs / 64][inputs / 2][up to 4 panels][16][2]. Values beyond the last output
/// or input are 0.
class PairMatrix final : public Matrix {
 public:
  static constexpr int block_panels = 4;  // of 16 outputs

  PairMatrix(std::int64_t outputs, std::int64_t inputs)
      : Matrix(outputs, inputs), memory_(bytes_of(outputs, inputs)) {}
  static std::int64_t bytes_of(std::int64_t outputs, std::int64_t inputs) {
    const std::int64_t pairs = base::ceil_div(inputs, 2);
    const std::int64_t panels = base::ceil_div(outputs, simd::lanes);
    return base::checked_mul(base::checked_mul(panels, pairs),
                             simd::lanes * 2 * sizeof(base::bf16));
  }
  std::int64_t bytes() const override { return memory_.bytes(); }
  std::int64_t panels() const { return base::ceil_div(outputs(), simd::lanes); }
  std::int64_t pairs() const { return base::ceil_div(inputs(), 2); }
  std::int64_t blocks() const { return base::ceil_div(panels(), block_panels); }
  int panels_of(std::int64_t block) const {
    return static_cast<int>(std::min<std::int64_t>(block_panels, panels() - block * block_panels));
  }
  /// The pairs of inputs of a block, from `pair` on.
  std::uint32_t* at(std::int64_t block, std::int64_t pair) const {
    return static_cast<std::uint32_t*>(memory_.data()) +
           (block * block_panels * pairs() + pair * panels_of(block)) * simd::lanes;
  }

 private:
  HostMemory memory_;
};

class PairBuilder final : public RowBuilder<PairMatrix> {
 public:
  PairBuilder(std::int64_t outputs, std::int64_t inputs, WeightOrder order)
      : RowBuilder(std::make_unique<PairMatrix>(outputs, inputs), order) {}

 private:
  void pack_outputs(const void* rows, std::int64_t first, std::int64_t last,
                    const PairMatrix& to) override;
  void pack_inputs(const void* rows, std::int64_t first, std::int64_t last,
                   const PairMatrix& to) override;
};

}  // namespace tetrarch::backend::cpu
