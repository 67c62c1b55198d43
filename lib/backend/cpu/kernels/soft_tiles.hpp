/// Tiles in software with the bits of AMX tiles (amx_tiles.hpp). With them the tile kernels are
/// tested on CPUs without AMX. They are too slow for real use.
///
/// What one multiply() does to each sum in C, as the hardware does:
///   even = odd = +0
///   for each of 16 pairs p:  even = fma(x[2 p], w[2 p], even)
///                            odd  = fma(x[2 p + 1], w[2 p + 1], odd)
///   sum = sum + (even + odd)
/// Each step rounds to nearest even. Denormal operands and results count as zeros of the same sign.
/// The bits of a NaN may differ from the hardware's; the kernels replace every NaN by one fixed
/// NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {

/// c += a b: c [16][16] f32; a [16][16 pairs] of bf16; b [16 pairs][16] of bf16.
void multiply_in_software(std::uint32_t* c, const std::uint32_t* a, const std::uint32_t* b);

/// A tile policy; see amx_tiles.hpp. `Width` is the register width of simd.hpp.
template <int Width>
class SoftTiles {
 public:
  static constexpr int width = Width;

  template <int T>
  TETRARCH_INLINE void zero() {
    std::memset(tile_[T], 0, sizeof tile_[T]);
  }
  template <int T>
  TETRARCH_INLINE void load(const void* from, std::int64_t stride) {
    for (int r = 0; r < rows; ++r)
      std::memcpy(tile_[T] + r * lanes, static_cast<const char*>(from) + r * stride, row_bytes);
  }
  template <int T>
  TETRARCH_INLINE void load_once(const void* from, std::int64_t stride) {
    load<T>(from, stride);
  }
  template <int T>
  TETRARCH_INLINE void store(void* to, std::int64_t stride) {
    for (int r = 0; r < rows; ++r)
      std::memcpy(static_cast<char*>(to) + r * stride, tile_[T] + r * lanes, row_bytes);
  }
  template <int C, int A, int B>
  TETRARCH_INLINE void multiply() {
    multiply_in_software(tile_[C], tile_[A], tile_[B]);
  }

  static TETRARCH_INLINE void pair(simd::F32<Width> even, simd::F32<Width> odd, std::uint32_t* to) {
    base::bf16 half[2][lanes];
    simd::store(without_denormals(even), half[0]);
    simd::store(without_denormals(odd), half[1]);
    for (int i = 0; i < lanes; ++i)
      to[i] = half[0][i].bits | static_cast<std::uint32_t>(half[1][i].bits) << 16;
  }

  static TETRARCH_INLINE void turn(const std::uint32_t* from, std::int64_t from_stride,
                                   std::uint32_t* to, std::int64_t to_stride) {
    for (int r = 0; r < lanes; ++r)
      for (int c = 0; c < lanes; ++c)
        to[c * to_stride + r] = from[r * from_stride + c];
  }

 private:
  static constexpr int rows = 16, lanes = simd::lanes, row_bytes = 64;

  static TETRARCH_INLINE simd::F32<Width> without_denormals(simd::F32<Width> value) {
    using Int = typename simd::I32<Width>::Part;
    for (auto& part : value.part) {
      const Int bits = reinterpret_cast<Int>(part);
      const Int is_normal = (bits & 0x7f800000) != 0;
      const Int sign = bits & static_cast<std::int32_t>(0x80000000u);
      part = reinterpret_cast<typename simd::F32<Width>::Part>(is_normal ? bits : sign);
    }
    return value;
  }

  alignas(64) std::uint32_t tile_[8][rows * lanes];
};

}  // namespace tetrarch::backend::cpu
