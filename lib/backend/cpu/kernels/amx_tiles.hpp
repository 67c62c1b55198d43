/// Matrix tiles of the CPU (Intel AMX). The tile kernels are templates over a tile policy; AmxTiles
/// is one policy, SoftTiles (soft_tiles.hpp) the other.
///
/// A policy has eight tiles, each of 16 rows of 64 bytes. T, C, A and B are tile numbers. A thread
/// has at most one object of a policy at a time.
///   zero<T>()                       tile T = 0
///   load<T>(from, stride)           row r of T = the 64 bytes at from + r * stride
///   load_once<T>(from, stride)      as load; for data that is used once and should not displace
///                                   other data in the cache
///   store<T>(to, stride)            the 64 bytes at to + r * stride = row r of T
///   multiply<C, A, B>()             C += A B: A is 16 rows of 32 bf16; B is 16 pairs of inputs x
///                                   16 columns x 2; C is 16 x 16 f32
///   pair(even, odd, to)             to[i] = even[i] and odd[i] as bf16, side by side; a denormal
///                                   becomes a zero of the same sign
///   turn(from, stride, to, stride)  transpose: to[c][r] = from[r][c], 16 x 16 u32
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {

/// Inline assembly, for two reasons: tile numbers are template arguments, and GCC 12 may move
/// stores across the intrinsic that loads a tile configuration. The compiler itself never uses tile
/// registers.
class AmxTiles {
 public:
  static constexpr int width = 16;  // f32 lanes of the vector registers used besides the tiles

  AmxTiles() {
    struct alignas(64) Configuration {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    static_assert(sizeof(Configuration) == 64);
    static constexpr Configuration configuration;
    asm volatile("ldtilecfg %0" ::"m"(configuration) : "memory");
  }
  ~AmxTiles() { asm volatile("tilerelease" ::: "memory"); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  template <int T>
  TETRARCH_INLINE void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  template <int T>
  TETRARCH_INLINE void load(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
  }
  template <int T>
  TETRARCH_INLINE void load_once(const void* from, std::int64_t stride) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
  }
  template <int T>
  TETRARCH_INLINE void store(void* to, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
  }
  template <int C, int A, int B>
  TETRARCH_INLINE void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }

  /// Arguments pass through memory, because a compiler may refuse AVX-512 registers in a function
  /// that is not compiled for AVX-512 alone.
  static TETRARCH_INLINE void pair(simd::F32<16> even, simd::F32<16> odd, std::uint32_t* to) {
    alignas(64) static constexpr std::uint16_t order[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    alignas(64) float both[32];
    simd::store(even, both);
    simd::store(odd, both + 16);
    asm volatile(
        "vmovaps 64(%0), %%zmm16\n\t"
        "vmovdqa64 (%1), %%zmm17\n\t"
        "vcvtne2ps2bf16 (%0), %%zmm16, %%zmm16\n\t"
        "vpermw %%zmm16, %%zmm17, %%zmm16\n\t"
        "vmovdqu64 %%zmm16, (%2)" ::"r"(both),
        "r"(order), "r"(to)
        : "memory", "xmm16", "xmm17");
  }

  /// Four steps exchange parts of pairs of rows: single elements, two elements, quarters and halves
  /// of a register.
  static TETRARCH_INLINE void turn(const std::uint32_t* from, std::int64_t from_stride,
                                   std::uint32_t* to, std::int64_t to_stride) {
    U32x16 r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      std::memcpy(&r[i], from + i * from_stride, sizeof r[i]);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12,
                                     28, 13, 29);
      t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27,
                                         14, 30, 15, 31);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        r[i + 2 * j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 16, 17, 4, 5, 20, 21,
                                               8, 9, 24, 25, 12, 13, 28, 29);
        r[i + 2 * j + 1] = __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 18, 19, 6, 7, 22,
                                                   23, 10, 11, 26, 27, 14, 15, 30, 31);
      }
      // r[4 g + i] has columns i, i + 4, i + 8 and i + 12 of rows 4 g to 4 g + 3
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const U32x16 a = even_quarters(r[i], r[4 + i]), b = even_quarters(r[8 + i], r[12 + i]);
      const U32x16 c = odd_quarters(r[i], r[4 + i]), d = odd_quarters(r[8 + i], r[12 + i]);
      const U32x16 column[4] = {even_quarters(a, b), even_quarters(c, d), odd_quarters(a, b),
                                odd_quarters(c, d)};
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
        std::memcpy(to + (4 * j + i) * to_stride, &column[j], sizeof column[j]);
    }
  }

 private:
  typedef std::uint32_t U32x16 __attribute__((vector_size(64)));

  static TETRARCH_INLINE U32x16 even_quarters(U32x16 a, U32x16 b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
  }
  static TETRARCH_INLINE U32x16 odd_quarters(U32x16 a, U32x16 b) {
    return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30,
                                   31);
  }
};

}  // namespace tetrarch::backend::cpu
