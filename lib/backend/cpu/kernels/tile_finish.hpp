/// Turns the finished sums of the tile kernels into values of a tensor.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/cpu/kernels/activation_lanes.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "backend/cpu/kernels/tile_block.hpp"

namespace tetrarch::backend::cpu {

/// The output: sums = the sums themselves, f32 or rounded to bf16; activated = act(sum); gated =
/// act(sum of gate) * sum of up.
enum class TileOutput { sums, activated, gated };

/// Replaces every NaN by one fixed NaN. The bits of a NaN that an operation gives differ between
/// CPUs, and even between compiled copies of one line.
template <int Width>
TETRARCH_INLINE simd::F32<Width> with_one_nan(simd::F32<Width> value) {
  return select(value == value, value, simd::splat<Width>(std::numeric_limits<float>::quiet_NaN()));
}

template <int Width>
TETRARCH_INLINE simd::F32<Width> act(ActivationKind kind, simd::F32<Width> x) {
  switch (kind) {
    case ActivationKind::silu:
      return act<ActivationKind::silu>(x);
    case ActivationKind::gelu_tanh:
      return act<ActivationKind::gelu_tanh>(x);
    case ActivationKind::gelu:
      return act<ActivationKind::gelu>(x);
  }
  return x;
}

/// The place in y of one panel of 16 columns.
struct PanelPlace {
  std::int64_t column;  // counted over all slices of y
  std::int64_t count;   // columns that y has, up to 16
};

/// Writes the sums of a TileBlock to y, a few rows at a time, between other work.
template <TileOutput Output, int Width>
class TileFinish {
 public:
  /// Takes the sums of a block. `sums` has the layout of TileBlock. Its `rows` rows are rows y_row,
  /// y_row + 1, ... of y, and its first column is column `column` of y. Call it only when
  /// rows_left() is 0: rows of the previous block that are not yet written would be lost.
  void begin(const float* sums, std::int64_t rows, const Tensor& y, std::int64_t y_row,
             std::int64_t column, ActivationKind kind) {
    sums_ = sums;
    y_ = &y;
    y_row_ = y_row;
    rows_ = rows;
    row_ = 0;
    kind_ = kind;
    for (int panel = 0; panel < 2; ++panel) {
      const std::int64_t first = column + panel * simd::lanes;
      place_[panel] = {first, std::clamp<std::int64_t>(y.slices * y.columns - first, 0, 16)};
      slice_[panel] = first / y.columns;
      is_in_one_slice_[panel] = first % y.columns + place_[panel].count <= y.columns;
    }
  }
  std::int64_t rows_left() const { return rows_ - row_; }

  TETRARCH_INLINE void advance(std::int64_t count) {
    for (const std::int64_t end = std::min(rows_, row_ + count); row_ < end; ++row_) {
      const float* from = sums_ + row_ / 16 * 512 + row_ % 16 * simd::lanes;
      const auto first = simd::load<Width>(from), second = simd::load<Width>(from + 256);
      if constexpr (Output == TileOutput::sums) {
        put_as_dtype(0, first);
        put_as_dtype(1, second);
      } else if constexpr (Output == TileOutput::activated) {
        put<base::bf16>(0, activated(first));
        put<base::bf16>(1, activated(second));
      } else {
        const auto gate = simd::rounded_to<Width, base::bf16>(activated(first));
        put<base::bf16>(0, gate * simd::rounded_to<Width, base::bf16>(second));
      }
    }
  }

 private:
  TETRARCH_INLINE simd::F32<Width> activated(simd::F32<Width> sum) const {
    return act(kind_, simd::rounded_to<Width, base::bf16>(sum));
  }

  TETRARCH_INLINE void put_as_dtype(int panel, simd::F32<Width> value) const {
    if (y_->dtype == base::DType::f32)
      put<float>(panel, value);
    else
      put<base::bf16>(panel, value);
  }

  template <class T>
  TETRARCH_INLINE void put(int panel, simd::F32<Width> value) const {
    const auto& [column, count] = place_[panel];
    if (count == 0) return;
    value = with_one_nan(value);
    auto* const y = static_cast<T*>(y_->data);
    const std::int64_t row = y_row_ + row_, columns = y_->columns;
    if (is_in_one_slice_[panel])
      return simd::store_some(value, y + (slice_[panel] * (y_->rows - 1) + row) * columns + column,
                              count);
    T all[simd::lanes];
    simd::store(value, all);
    for (std::int64_t i = 0; i < count; ++i)
      y[((column + i) / columns * y_->rows + row) * columns + (column + i) % columns] = all[i];
  }

  const float* sums_ = nullptr;
  const Tensor* y_ = nullptr;
  std::int64_t y_row_ = 0, row_ = 0, rows_ = 0;
  ActivationKind kind_ = ActivationKind::silu;
  PanelPlace place_[2] = {};
  std::int64_t slice_[2] = {};
  bool is_in_one_slice_[2] = {};
};

}  // namespace tetrarch::backend::cpu
