// Root-mean-square norm. It rounds twice, as the models do, and sums in a fixed order.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::lanes;

struct NormArgs {
  Tensor x, weight, y;
  float eps;
};

template <int Width, class T>
TETRARCH_INLINE void norm_rows(const NormArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t columns = args.x.columns;
  const T* weight = static_cast<const T*>(args.weight.data);
  for (std::int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(args.x.data) + row * columns;
    T* y = static_cast<T*>(args.y.data) + row * columns;
    // four accumulators, because additions to a single one would each wait for the one before
    simd::F32<Width> sum[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      sum[i] = simd::splat<Width>(0);
    std::int64_t c = 0;
    for (; c + 4 * lanes <= columns; c += 4 * lanes)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const auto value = simd::load<Width>(x + c + i * lanes);
        sum[i] = simd::fma(value, value, sum[i]);
      }
    for (; c < columns; c += lanes) {
      const auto value = simd::load_some<Width>(x + c, columns - c);
      sum[0] = simd::fma(value, value, sum[0]);
    }
    const float total = simd::sum_of_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
    const auto inverse =
        simd::splat<Width>(1.0f / std::sqrt(total / static_cast<float>(columns) + args.eps));
    for (c = 0; c < columns; c += lanes) {
      const auto value = simd::load_some<Width>(x + c, columns - c);
      const auto scaled = simd::rounded_to<Width, T>(value * inverse);
      simd::store_some(simd::load_some<Width>(weight + c, columns - c) * scaled, y + c,
                       columns - c);
    }
  }
}

template <int Width>
TETRARCH_INLINE void norm_range_body(const NormArgs& args, std::int64_t begin, std::int64_t end) {
  if (args.x.dtype == base::DType::f32)
    norm_rows<Width, float>(args, begin, end);
  else
    norm_rows<Width, base::bf16>(args, begin, end);
}
TETRARCH_KERNEL(norm_range, NormArgs)

}  // namespace

void rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) {
  const NormArgs args{x, weight, y, eps};
  for_ranges(x.rows, x.columns,
             [&](std::int64_t begin, std::int64_t end) { norm_range(args, begin, end); });
}

}  // namespace tetrarch::backend::cpu
