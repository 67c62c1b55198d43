// Sums the reduction shards of each row in f32, by one fixed binary tree, and rounds once.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::F32;
using simd::lanes;

struct SumArgs {
  Tensor slices, index, residual, out;
  std::int64_t local;  // plain sums only: slices of one rank
};

/// Columns c .. c + 15 of one row, in all slices.
template <int Width, class T>
struct Columns {
  const T* first;
  std::int64_t slice_elements, count;
  TETRARCH_INLINE F32<Width> of(std::int64_t slice) const {
    return simd::load_some<Width>(first + slice * slice_elements, count);
  }
};

template <int Width, class T>
TETRARCH_INLINE F32<Width> tree_of(const Columns<Width, T>& s, std::int64_t slices) {
  if (slices == 1) return s.of(0);
  if (slices == 2) return s.of(0) + s.of(1);
  const auto low = (s.of(0) + s.of(1)) + (s.of(2) + s.of(3));
  if (slices == 4) return low;
  return low + ((s.of(4) + s.of(5)) + (s.of(6) + s.of(7)));
}

template <int Width, class T>
TETRARCH_INLINE F32<Width> run_of(const Columns<Width, T>& s, std::int64_t slices,
                                  std::int64_t local) {
  auto sum = simd::splat<Width>(0);
  for (std::int64_t end = slices; end > 0; end -= local) {
    auto part = simd::splat<Width>(0);
    for (std::int64_t slice = end - local; slice < end; ++slice)
      part = simd::rounded_to<Width, T>(part + s.of(slice));
    sum = simd::rounded_to<Width, T>(sum + part);
  }
  return sum;
}

template <int Width, class T>
TETRARCH_INLINE void sum_rows(const SumArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = args.out.columns;
  const auto* index = static_cast<const std::int32_t*>(args.index.data);
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t from = index == nullptr ? row : index[row];
    const T* residual = args.residual.is_absent()
                            ? nullptr
                            : static_cast<const T*>(args.residual.data) + row * width;
    T* out = static_cast<T*>(args.out.data) + row * width;
    for (std::int64_t c = 0; c < width; c += lanes) {
      const Columns<Width, T> s{static_cast<const T*>(args.slices.data) + from * width + c,
                                args.slices.rows * width, width - c};
      auto sum = args.local == 0 ? tree_of(s, args.slices.slices)
                                 : run_of(s, args.slices.slices, args.local);
      if (residual != nullptr) sum = simd::load_some<Width>(residual + c, width - c) + sum;
      simd::store_some(sum, out + c, width - c);
    }
  }
}

template <int Width>
TETRARCH_INLINE void sum_range_body(const SumArgs& args, std::int64_t begin, std::int64_t end) {
  if (args.out.dtype == base::DType::f32)
    sum_rows<Width, float>(args, begin, end);
  else
    sum_rows<Width, base::bf16>(args, begin, end);
}
TETRARCH_KERNEL(sum_range, SumArgs)

void sum_all(const SumArgs& args) {
  if (!args.index.is_absent()) {
    const std::int32_t* index = args.index.as<std::int32_t>();
    for (std::int64_t row = 0; row < args.out.rows; ++row)
      base::expects_in_debug(index[row] >= 0 && index[row] < args.slices.rows, "an index of a row");
  }
  for_ranges(args.out.rows, args.out.columns * args.slices.slices,
             [&](std::int64_t begin, std::int64_t end) { sum_range(args, begin, end); });
}

}  // namespace

void tree_sum(const Tensor& slices, const Tensor& index, const Tensor& residual,
              const Tensor& out) {
  const std::int64_t count = slices.slices;
  base::expects(count == 1 || count == 2 || count == 4 || count == 8, "1, 2, 4 or 8 slices");
  sum_all({slices, index, residual, out, 0});
}

void plain_sum(const Tensor& slices, std::int64_t local, const Tensor& index,
               const Tensor& residual, const Tensor& out) {
  base::expects(local > 0 && slices.slices % local == 0, "equally many slices per rank");
  sum_all({slices, index, residual, out, local});
}

}  // namespace tetrarch::backend::cpu
