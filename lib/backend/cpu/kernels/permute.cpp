// Copies of tokens: sorting by expert, permuting rows, and combining the experts' results.
// SPDX-License-Identifier: Apache-2.0
#include <utility>
#include <vector>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::lanes;

struct CombineArgs {
  Tensor rows, position, gate_weight, residual, out;
};

template <int Width, class T>
TETRARCH_INLINE void combine_rows(const CombineArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = args.out.columns, k = args.position.columns;
  const T* rows = static_cast<const T*>(args.rows.data);
  for (std::int64_t t = begin; t < end; ++t) {
    const auto* position = static_cast<const std::int32_t*>(args.position.data) + t * k;
    const float* weight = static_cast<const float*>(args.gate_weight.data) + t * k;
    const T* residual =
        args.residual.is_absent() ? nullptr : static_cast<const T*>(args.residual.data) + t * width;
    T* out = static_cast<T*>(args.out.data) + t * width;
    for (std::int64_t c = 0; c < width; c += lanes) {
      auto sum = simd::splat<Width>(0);
      for (std::int64_t slot = 0; slot < k; ++slot)
        if (position[slot] >= 0)
          sum =
              simd::fma(simd::splat<Width>(weight[slot]),
                        simd::load_some<Width>(rows + position[slot] * width + c, width - c), sum);
      if (residual != nullptr) sum = simd::load_some<Width>(residual + c, width - c) + sum;
      simd::store_some(sum, out + c, width - c);
    }
  }
}

template <int Width>
TETRARCH_INLINE void combine_range_body(const CombineArgs& args, std::int64_t begin,
                                        std::int64_t end) {
  if (args.out.dtype == base::DType::f32)
    combine_rows<Width, float>(args, begin, end);
  else
    combine_rows<Width, base::bf16>(args, begin, end);
}
TETRARCH_KERNEL(combine_range, CombineArgs)

}  // namespace

void group_by_expert(const Tensor& expert_id, const Tensor& order, const Tensor& position,
                     const Tensor& count) {
  const std::int64_t rows = expert_id.rows, k = expert_id.columns;
  const std::int32_t* expert = expert_id.as<std::int32_t>();
  std::int32_t* const row_of = order.as<std::int32_t>();
  std::int32_t* const place_of = position.as<std::int32_t>();
  std::int32_t* const count_of = count.as<std::int32_t>();
  // of each (expert, slot): first its number of copies, then the next free index
  static thread_local std::vector<std::int32_t> next;
  next.assign(static_cast<std::size_t>(count.columns * k), 0);
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t slot = 0; slot < k; ++slot) {
      const std::int32_t id = expert[row * k + slot];
      if (id == -1) continue;
      base::expects_in_debug(id >= 0 && id < count.columns, "an expert id of the model");
      ++next[static_cast<std::size_t>(id * k + slot)];
    }
  std::int32_t total = 0;
  for (std::int64_t id = 0; id < count.columns; ++id) {
    const std::int32_t before = total;
    for (std::int64_t slot = 0; slot < k; ++slot)
      total += std::exchange(next[static_cast<std::size_t>(id * k + slot)], total);
    count_of[id] = total - before;
  }
  base::expects(order.rows == total, "a place per copy");
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t slot = 0; slot < k; ++slot) {
      place_of[row * k + slot] = -1;
      if (expert[row * k + slot] == -1) continue;
      const std::int64_t bucket = expert[row * k + slot] * k + slot;
      const std::int32_t at = next[static_cast<std::size_t>(bucket)]++;
      row_of[at] = static_cast<std::int32_t>(row);
      place_of[row * k + slot] = at;
    }
}

void permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) {
  const std::int32_t* source = index.as<std::int32_t>();
  for (std::int64_t row = 0; row < to.rows; ++row)
    base::expects_in_debug(source[row] >= 0 && source[row] < from.rows, "an index of a row");
  const std::int64_t bytes = to.row_bytes();
  for_ranges(to.rows, bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      std::memcpy(static_cast<std::byte*>(to.data) + row * bytes,
                  static_cast<const std::byte*>(from.data) + source[row] * bytes,
                  static_cast<std::size_t>(bytes));
  });
}

void combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
             const Tensor& residual, const Tensor& out) {
  const std::int32_t* at = position.as<std::int32_t>();
  for (std::int64_t i = 0; i < position.elements(); ++i)
    base::expects_in_debug(at[i] < rows.rows, "a position of a row");
  const CombineArgs args{rows, position, gate_weight, residual, out};
  for_ranges(out.rows, out.columns * (position.columns + 1),
             [&](std::int64_t begin, std::int64_t end) { combine_range(args, begin, end); });
}

}  // namespace tetrarch::backend::cpu
