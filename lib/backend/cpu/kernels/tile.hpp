/// The innermost loop of all portable products: c[r][16 lanes] += a(r, k) * b[k][16 lanes], with
/// accumulators in registers. Each element is one chain of multiply-adds in the order of k,
/// whatever the height of the tile.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {

/// Number of rows of a tile, and of panels of 16 columns: 12 accumulators of 16 registers, or 24 of
/// 32.
template <int Width>
constexpr int tile_rows = Width == 16 ? 12 : 6;
template <int Width>
constexpr int tile_panels = Width == 16 ? 2 : 1;

/// The loop over k is unrolled by this number.
constexpr std::int64_t k_step = 8;

/// Three layouts of `a`. This one is packed: [k / 8][Rows][8], written by pack_rows().
template <int Rows>
struct PackedRows {
  const float* data;
  TETRARCH_INLINE const float* at(std::int64_t k) const { return data + k * Rows; }
  TETRARCH_INLINE std::ptrdiff_t offset(int r, int k) const { return r * k_step + k; }
  TETRARCH_INLINE PackedRows below(std::int64_t r) const { return {data + r * k_step}; }
};
/// Row-major: [r][k], rows `stride` elements apart.
struct StridedRows {
  const float* data;
  std::ptrdiff_t stride;
  TETRARCH_INLINE const float* at(std::int64_t k) const { return data + k; }
  TETRARCH_INLINE std::ptrdiff_t offset(int r, int k) const { return r * stride + k; }
  TETRARCH_INLINE StridedRows below(std::int64_t r) const { return {data + r * stride, stride}; }
};
/// Column-major: [k][r], columns `stride` elements apart.
struct StridedColumns {
  const float* data;
  std::ptrdiff_t stride;
  TETRARCH_INLINE const float* at(std::int64_t k) const { return data + k * stride; }
  TETRARCH_INLINE std::ptrdiff_t offset(int r, int k) const { return k * stride + r; }
  TETRARCH_INLINE StridedColumns below(std::int64_t r) const { return {data + r, stride}; }
};

/// The operands of multiply_tile(). b and c have `Panels` panels, b_panel and c_panel floats apart;
/// in a panel, b is [depth][16] and c [rows][16].
struct TileOperands {
  std::int64_t depth;
  const float* b;
  std::ptrdiff_t b_panel;
  float* c;
  std::ptrdiff_t c_panel;
  bool is_first;  // c starts from 0
};

template <int Width, int Rows, int Panels, class A>
TETRARCH_INLINE void multiply_tile(const A& a, const TileOperands& t) {
  using Part = typename simd::F32<Width>::Part;
  constexpr int parts = simd::lanes / Width;
  Part c[Rows][Panels * parts];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int p = 0; p < Panels * parts; ++p) {
      float* from = t.c + (p / parts) * t.c_panel + r * simd::lanes + (p % parts) * Width;
      if (t.is_first)
        c[r][p] = Part{};
      else
        std::memcpy(&c[r][p], from, sizeof(Part));
    }

  const float* b = t.b;
  std::int64_t k = 0;
  for (; k + k_step <= t.depth; k += k_step, b += k_step * simd::lanes) {
    const float* row = a.at(k);
#pragma GCC unroll 8
    for (int i = 0; i < k_step; ++i) {
      Part column[Panels * parts];
#pragma GCC unroll 8
      for (int p = 0; p < Panels * parts; ++p)
        std::memcpy(&column[p], b + (p / parts) * t.b_panel + i * simd::lanes + (p % parts) * Width,
                    sizeof(Part));
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Part value = row[a.offset(r, i)] - Part{};
#pragma GCC unroll 8
        for (int p = 0; p < Panels * parts; ++p)
          c[r][p] = value * column[p] + c[r][p];
      }
    }
  }
  for (int i = 0; k < t.depth; ++k, ++i, b += simd::lanes) {
    const float* row = a.at(k - i);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Part value = row[a.offset(r, i)] - Part{};
#pragma GCC unroll 8
      for (int p = 0; p < Panels * parts; ++p) {
        Part column;
        std::memcpy(&column, b + (p / parts) * t.b_panel + (p % parts) * Width, sizeof(Part));
        c[r][p] = value * column + c[r][p];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int p = 0; p < Panels * parts; ++p)
      std::memcpy(t.c + (p / parts) * t.c_panel + r * simd::lanes + (p % parts) * Width, &c[r][p],
                  sizeof(Part));
}

/// Multiplies any number of rows below a whole tile, in tiles of 8, 4, 2 and 1 rows.
template <int Width, int Panels, class A>
TETRARCH_INLINE void multiply_rest(std::int64_t rows, A a, TileOperands t) {
  float* const c = t.c;
  std::int64_t r = 0;
  if constexpr (tile_rows < Width >> 8)
    if (rows - r >= 8) {
      multiply_tile<Width, 8, Panels>(a, t);
      r += 8;
    }
  if (rows - r >= 4) {
    t.c = c + r * simd::lanes;
    multiply_tile<Width, 4, Panels>(a.below(r), t);
    r += 4;
  }
  if (rows - r >= 2) {
    t.c = c + r * simd::lanes;
    multiply_tile<Width, 2, Panels>(a.below(r), t);
    r += 2;
  }
  if (rows - r >= 1) {
    t.c = c + r * simd::lanes;
    multiply_tile<Width, 1, Panels>(a.below(r), t);
  }
}

}  // namespace tetrarch::backend::cpu
