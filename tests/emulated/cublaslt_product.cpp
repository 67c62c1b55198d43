// SPDX-License-Identifier: Apache-2.0
#include "emulated/cublaslt_product.hpp"

#include <algorithm>
#include <bit>

#include "emulated/order.hpp"

namespace tetrarch::emulated {
namespace {

float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// The nearest one, of two the even one.
std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return 0x7fff;
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float load(const void* matrix, const Layout& layout, std::size_t at) {
  return layout.type == CUDA_R_16BF ? from_bf16(static_cast<const std::uint16_t*>(matrix)[at])
                                    : static_cast<const float*>(matrix)[at];
}

void store(void* matrix, const Layout& layout, std::size_t at, float value) {
  if (layout.type == CUDA_R_16BF) {
    static_cast<std::uint16_t*>(matrix)[at] = to_bf16(value);
  } else {
    static_cast<float*>(matrix)[at] = value;
  }
}

/// `count` vectors of length k that stand one after the other: the rows of op(A), or the columns of
/// op(B). `is_contiguous`: they are the columns of the matrix.
std::vector<float> unpack(const void* matrix, const Layout& layout, bool is_contiguous,
                          std::size_t count, std::size_t k) {
  const auto stride = static_cast<std::size_t>(layout.leading_dimension);
  std::vector<float> vectors(count * k);
  for (std::size_t v = 0; v < count; ++v)
    for (std::size_t i = 0; i < k; ++i)
      vectors[v * k + i] = load(matrix, layout, is_contiguous ? v * stride + i : i * stride + v);
  return vectors;
}

/// So many sums side by side.
template <int num_lanes>
using Lanes [[gnu::vector_size(num_lanes * sizeof(float))]] = float;

template <int num_lanes>
Lanes<num_lanes> load_lanes(const float* from) {
  Lanes<num_lanes> lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <int num_lanes>
float sum_of_lanes(const Lanes<num_lanes>& lanes, int order) {
  float sum = 0;
  for (int i = 0; i < num_lanes; ++i) {
    const int evens_first = i < num_lanes / 2 ? 2 * i : 2 * (i - num_lanes / 2) + 1;
    sum += lanes[order == 0 ? i : order == 1 ? num_lanes - 1 - i : evens_first];
  }
  return sum;
}

template <int num_lanes>
float dot(const float* a, const float* b, std::size_t count, const Summation& summation) {
  const auto section = static_cast<std::size_t>(summation.section);
  float sum = 0;
  for (std::size_t i = 0; i < count;) {
    const std::size_t end = std::min(count, i + section);
    Lanes<num_lanes> lanes{};
    for (; i + num_lanes <= end; i += num_lanes)
      lanes += load_lanes<num_lanes>(a + i) * load_lanes<num_lanes>(b + i);
    for (int lane = 0; i < end; ++i, ++lane)
      lanes[lane] += a[i] * b[i];
    sum += sum_of_lanes<num_lanes>(lanes, summation.order_of_lanes);
  }
  return sum;
}

using Dot = float (*)(const float*, const float*, std::size_t, const Summation&);

Dot choose_dot(const Summation& summation) {
  return summation.num_lanes == 4 ? dot<4> : summation.num_lanes == 8 ? dot<8> : dot<16>;
}

/// The sum of the parts of K. Each is rounded to the type of D if the scheme says so.
float split_dot(Dot dot, const float* a, const float* b, std::size_t k, const Algorithm& algorithm,
                const Layout& d) {
  const auto parts = static_cast<std::size_t>(algorithm.split_k);
  const Summation summation = summation_of(algorithm);
  if (parts == 1) return dot(a, b, k, summation);
  const bool rounds =
      d.type == CUDA_R_16BF && algorithm.reduction_scheme == CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  float sum = 0;
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = k * part / parts, end = k * (part + 1) / parts;
    const float partial = dot(a + begin, b + begin, end - begin, summation);
    sum += rounds ? from_bf16(to_bf16(partial)) : partial;
  }
  return sum;
}

void tell_race_detector(const ProductCall& call) {
  order::note_read(call.a, call.layouts.a.bytes());
  order::note_read(call.b, call.layouts.b.bytes());
  if (call.beta != 0) order::note_read(call.c, call.layouts.c.bytes());
  const auto& d = call.layouts.d;  // between its columns other memory may lie
  for (std::uint64_t column = 0; column < d.columns; ++column)
    order::note_write(
        static_cast<char*>(call.d) +
            column * static_cast<std::size_t>(d.leading_dimension) * d.element_bytes(),
        d.rows * d.element_bytes());
}

}  // namespace

void compute(const ProductCall& call, const Algorithm& algorithm) {
  tell_race_detector(call);
  const auto& [m, n, k] = call.shape;
  const Layouts& layouts = call.layouts;
  const bool is_a_turned = call.product.transpose_a == CUBLAS_OP_T;
  const bool is_b_turned = call.product.transpose_b == CUBLAS_OP_T;
  const std::vector<float> a = unpack(call.a, layouts.a, is_a_turned, m, k);
  const std::vector<float> b = unpack(call.b, layouts.b, !is_b_turned, n, k);
  const Dot dot = choose_dot(summation_of(algorithm));
  for (std::size_t column = 0; column < n; ++column) {
    for (std::size_t row = 0; row < m; ++row) {
      const std::size_t at = column * static_cast<std::size_t>(layouts.d.leading_dimension) + row;
      float value =
          call.alpha * split_dot(dot, &a[row * k], &b[column * k], k, algorithm, layouts.d);
      if (call.beta != 0) {
        const std::size_t from =
            column * static_cast<std::size_t>(layouts.c.leading_dimension) + row;
        value += call.beta * load(call.c, layouts.c, from);
      }
      store(call.d, layouts.d, at, value);
    }
  }
}

}  // namespace tetrarch::emulated
