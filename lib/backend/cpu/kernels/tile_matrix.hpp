/// A weight of bf16, packed for instructions that multiply tiles of 16 rows by 32 inputs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/cpu/kernels/memory.hpp"
#include "backend/cpu/kernels/row_builder.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "base/dtype.hpp"
#include "base/shape.hpp"

namespace tetrarch::backend::cpu {

/// Number of inputs that one multiplication of tiles sums up.
constexpr std::int64_t step_inputs = 32;
constexpr std::int64_t tile_bytes = 1024;

/// The weight as [panels of 16 outputs][steps of 32 inputs][16 pairs of inputs][16 outputs][2].
/// Values beyond the last output or input are 0.
class TileMatrix final : public Matrix {
 public:
  TileMatrix(std::int64_t outputs, std::int64_t inputs)
      : Matrix(outputs, inputs), memory_(bytes_of(outputs, inputs)) {}
  static std::int64_t bytes_of(std::int64_t outputs, std::int64_t inputs) {
    return base::checked_mul(base::checked_mul(base::ceil_div(outputs, simd::lanes),
                                               base::ceil_div(inputs, step_inputs)),
                             tile_bytes);
  }
  std::int64_t bytes() const override { return memory_.bytes(); }
  std::int64_t panels() const { return base::ceil_div(outputs(), simd::lanes); }
  std::int64_t steps() const { return base::ceil_div(inputs(), step_inputs); }
  /// One tile, 1 KiB. The tile of the next step follows it.
  base::bf16* at(std::int64_t panel, std::int64_t step) const {
    return static_cast<base::bf16*>(memory_.data()) +
           (panel * steps() + step) * tile_bytes / static_cast<std::int64_t>(sizeof(base::bf16));
  }

 private:
  HostMemory memory_;
};

class TileBuilder final : public RowBuilder<TileMatrix> {
 public:
  TileBuilder(std::int64_t outputs, std::int64_t inputs, WeightOrder order)
      : RowBuilder(std::make_unique<TileMatrix>(outputs, inputs), order) {}

 private:
  void pack_outputs(const void* rows, std::int64_t first, std::int64_t last,
                    const TileMatrix& to) override;
  void pack_inputs(const void* rows, std::int64_t first, std::int64_t last,
                   const TileMatrix& to) override;
};

}  // namespace tetrarch::backend::cpu
