// Statistics of logits over vocabulary slices. The order of each sum depends only on the size of
// the slice.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <vector>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::lanes;

constexpr float infinity = std::numeric_limits<float>::infinity();

struct StatsArgs {
  Tensor logits, target, stats;
  std::span<const std::int64_t> slice_size;
  std::int64_t first_id;
};
struct FiniteArgs {
  Tensor x, flag;
};

struct Largest {
  float value;
  std::int32_t index;  // of equal values the first; 0 if no value is above -infinity
};

template <int Width>
TETRARCH_INLINE Largest largest_of(const float* logits, std::int64_t size) {
  constexpr std::int32_t first_lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  auto best = simd::splat<Width>(-infinity);
  auto index = simd::load<Width>(first_lanes);
  auto best_index = simd::splat_int<Width>(0);
  const auto step = simd::splat_int<Width>(lanes);
  for (std::int64_t c = 0; c < size; c += lanes) {
    const auto value = simd::load_some<Width>(logits + c, size - c, -infinity);
    const auto is_larger = value > best;
    best = select(is_larger, value, best);
    best_index = select(is_larger, index, best_index);
    index = index + step;
  }
  float value[lanes];
  std::int32_t at[lanes];
  simd::store(best, value);
  simd::store(best_index, at);
  Largest largest{-infinity, 0};
  for (int i = 0; i < lanes; ++i)
    if (value[i] > largest.value || (value[i] == largest.value && at[i] < largest.index))
      largest = {value[i], at[i]};
  return largest;
}

template <int Width>
TETRARCH_INLINE float sum_of_exp(const float* logits, std::int64_t size, float max) {
  auto sum = simd::splat<Width>(0);
  for (std::int64_t c = 0; c < size; c += lanes)
    sum = sum + simd::exp(simd::load_some<Width>(logits + c, size - c, -infinity) -
                          simd::splat<Width>(max));
  return simd::sum_of_lanes(sum);
}

template <int Width>
TETRARCH_INLINE void stats_range_body(const StatsArgs& args, std::int64_t begin, std::int64_t end) {
  const auto slices = static_cast<std::int64_t>(args.slice_size.size());
  for (std::int64_t row = begin; row < end; ++row) {
    const float* logits = static_cast<const float*>(args.logits.data) + row * args.logits.columns;
    auto* stats = static_cast<std::int32_t*>(args.stats.data) + row * 4 * slices;
    const std::int64_t target = static_cast<const std::int32_t*>(args.target.data)[row];
    std::int64_t id = args.first_id;
    for (const std::int64_t size : args.slice_size) {
      const Largest largest = largest_of<Width>(logits, size);
      const float sum = size == 0 ? 0 : sum_of_exp<Width>(logits, size, largest.value);
      const bool is_here = target >= id && target < id + size;
      stats[0] = std::bit_cast<std::int32_t>(largest.value);
      stats[1] = std::bit_cast<std::int32_t>(sum);
      stats[2] = static_cast<std::int32_t>(id + largest.index);
      stats[3] = is_here ? std::bit_cast<std::int32_t>(logits[target - id]) : 0;
      stats += 4;
      logits += size;
      id += size;
    }
  }
}
TETRARCH_KERNEL(stats_range, StatsArgs)

/// Sets the flag of each row. x - x is 0 for a finite x, else NaN.
template <int Width, class T>
TETRARCH_INLINE void check_rows(const FiniteArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t columns = args.x.columns;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(args.x.data) + row * columns;
    auto sum = simd::splat<Width>(0);
    for (std::int64_t c = 0; c < columns; c += lanes) {
      const auto value = simd::load_some<Width>(x + c, columns - c);
      sum = sum + (value - value);
    }
    static_cast<std::int32_t*>(args.flag.data)[row] = simd::sum_of_lanes(sum) == 0 ? 1 : 0;
  }
}

template <int Width>
TETRARCH_INLINE void check_range_body(const FiniteArgs& args, std::int64_t begin,
                                      std::int64_t end) {
  if (args.x.dtype == base::DType::f32)
    check_rows<Width, float>(args, begin, end);
  else
    check_rows<Width, base::bf16>(args, begin, end);
}
TETRARCH_KERNEL(check_range, FiniteArgs)

struct Candidate {
  float value;
  std::int32_t index;
};
/// True if `a` comes first: the larger value; of equal ones the lower index. NaN comes last.
bool comes_before(const Candidate& a, const Candidate& b) {
  const bool is_a = a.value == a.value, is_b = b.value == b.value;
  if (is_a != is_b) return is_a;
  if (is_a && a.value != b.value) return a.value > b.value;
  return a.index < b.index;
}

/// Sorts the first k entries of a row, in that order, into `heap`. During the scan, the top of the
/// heap is the entry that comes last.
void take_largest(const float* values, std::int64_t count, std::int64_t k,
                  std::vector<Candidate>& heap) {
  heap.clear();
  for (std::int64_t i = 0; i < count; ++i) {
    const Candidate candidate{values[i], static_cast<std::int32_t>(i)};
    if (std::ssize(heap) < k) {
      heap.push_back(candidate);
      std::push_heap(heap.begin(), heap.end(), comes_before);
    } else if (comes_before(candidate, heap.front())) {
      std::pop_heap(heap.begin(), heap.end(), comes_before);
      heap.back() = candidate;
      std::push_heap(heap.begin(), heap.end(), comes_before);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), comes_before);
}

}  // namespace

void vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                      std::int64_t first_id, const Tensor& target, const Tensor& stats) {
  const StatsArgs args{logits, target, stats, slice_size, first_id};
  for_ranges(logits.rows, 4 * logits.columns,
             [&](std::int64_t begin, std::int64_t end) { stats_range(args, begin, end); });
}

void largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top) {
  const std::int64_t k = top.columns / 2, columns = logits.columns;
  for_ranges(logits.rows, columns, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Candidate> heap;
    for (std::int64_t row = begin; row < end; ++row) {
      const float* from = static_cast<const float*>(logits.data) + row * columns;
      auto* to = static_cast<std::int32_t*>(top.data) + row * 2 * k;
      take_largest(from, columns, k, heap);
      for (std::int64_t i = 0; i < k; ++i) {
        const bool is_there = i < std::ssize(heap);
        to[i] = is_there ? static_cast<std::int32_t>(first_id) + heap[i].index : -1;
        to[k + i] = std::bit_cast<std::int32_t>(is_there ? heap[i].value : -infinity);
      }
    }
  });
}

void row_is_finite(const Tensor& x, const Tensor& flag) {
  const FiniteArgs args{x, flag};
  for_ranges(x.rows, x.columns,
             [&](std::int64_t begin, std::int64_t end) { check_range(args, begin, end); });
}

}  // namespace tetrarch::backend::cpu
