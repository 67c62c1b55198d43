// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/soft_tiles.hpp"

#include <bit>
#include <cmath>

#include <xmmintrin.h>

namespace tetrarch::backend::cpu {
namespace {

constexpr int lanes = simd::lanes;

struct TileArgs {
  std::uint32_t* c;
  const std::uint32_t *a, *b;
};

/// The lower and the upper bf16 of a pair, as f32.
TETRARCH_INLINE float lower(std::uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
TETRARCH_INLINE float upper(std::uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000u);
}

/// Multiplies for rows [begin, end) of c.
template <int Width>
TETRARCH_INLINE void multiply_rows_body(const TileArgs& args, std::int64_t begin,
                                        std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    float even[lanes] = {}, odd[lanes] = {}, sum[lanes];
    for (int p = 0; p < 16; ++p) {
      const std::uint32_t x = args.a[r * lanes + p], *w = args.b + p * lanes;
      for (int i = 0; i < lanes; ++i) {
        even[i] = std::fma(lower(x), lower(w[i]), even[i]);
        odd[i] = std::fma(upper(x), upper(w[i]), odd[i]);
      }
    }
    std::memcpy(sum, args.c + r * lanes, sizeof sum);
    for (int i = 0; i < lanes; ++i)
      sum[i] = sum[i] + (even[i] + odd[i]);
    std::memcpy(args.c + r * lanes, sum, sizeof sum);
  }
}
TETRARCH_KERNEL(multiply_rows, TileArgs)

}  // namespace

void multiply_in_software(std::uint32_t* c, const std::uint32_t* a, const std::uint32_t* b) {
  const unsigned int mode = _mm_getcsr();
  // flush-to-zero and denormals-are-zero on; all exceptions masked; rounding bits 0: to nearest
  // even
  constexpr unsigned int no_denormals = 0x8040, no_exceptions = 0x1f80;
  _mm_setcsr(no_denormals | no_exceptions);
  asm volatile("" ::: "memory");  // the compiler must not move computation across this line
  multiply_rows({c, a, b}, 0, 16);
  asm volatile("" ::: "memory");
  _mm_setcsr(mode);
}

}  // namespace tetrarch::backend::cpu
