// Rotary position embedding, half style: dimension j is rotated with dimension j + half.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::lanes;

struct RopeArgs {
  Tensor x, position, cosine, sine;
  std::int64_t head_size;
};

template <int Width, class T>
TETRARCH_INLINE void rotate_rows(const RopeArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t half = args.cosine.columns;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t position = static_cast<const std::int32_t*>(args.position.data)[row];
    const float* cosine = static_cast<const float*>(args.cosine.data) + position * half;
    const float* sine = static_cast<const float*>(args.sine.data) + position * half;
    T* x = static_cast<T*>(args.x.data) + row * args.x.columns;
    for (std::int64_t head = 0; head < args.x.columns; head += args.head_size)
      for (std::int64_t j = 0; j < half; j += lanes) {
        const std::int64_t count = half - j;
        const auto c = simd::load_some<Width>(cosine + j, count);
        const auto s = simd::load_some<Width>(sine + j, count);
        const auto first = simd::load_some<Width>(x + head + j, count);
        const auto second = simd::load_some<Width>(x + head + half + j, count);
        simd::store_some(first * c - second * s, x + head + j, count);
        simd::store_some(second * c + first * s, x + head + half + j, count);
      }
  }
}

template <int Width>
TETRARCH_INLINE void rotate_range_body(const RopeArgs& args, std::int64_t begin, std::int64_t end) {
  if (args.x.dtype == base::DType::f32)
    rotate_rows<Width, float>(args, begin, end);
  else
    rotate_rows<Width, base::bf16>(args, begin, end);
}
TETRARCH_KERNEL(rotate_range, RopeArgs)

}  // namespace

void rope(const Tensor& x, std::int64_t head_size, const Tensor& position, const Tensor& cosine,
          const Tensor& sine) {
  const std::int32_t* at = position.as<std::int32_t>();
  for (std::int64_t row = 0; row < x.rows; ++row)
    base::expects_in_debug(at[row] >= 0 && at[row] < cosine.rows, "a position with a cosine");
  const RopeArgs args{x, position, cosine, sine, head_size};
  for_ranges(x.rows, x.columns,
             [&](std::int64_t begin, std::int64_t end) { rotate_range(args, begin, end); });
}

}  // namespace tetrarch::backend::cpu
