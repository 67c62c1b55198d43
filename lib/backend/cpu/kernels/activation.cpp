// The activations of expert networks, and the product with the up projection.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::F32;
using simd::lanes;
using simd::splat;

struct ActivationArgs {
  Tensor gate, up, out;
  ActivationKind kind;
  std::int64_t first_row = 0, first_column = 0;  // of out: where gate begins
};

template <int Width>
TETRARCH_INLINE F32<Width> silu(F32<Width> x) {
  const auto one = splat<Width>(1);
  return x / (one + simd::exp(splat<Width>(0) - x));
}

/// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
template <int Width>
TETRARCH_INLINE F32<Width> gelu_tanh(F32<Width> x) {
  const auto cubed = x * x * x;
  const auto u = simd::fma(splat<Width>(0.044715f), cubed, x);
  return x / (splat<Width>(1) + simd::exp(u * splat<Width>(-1.5957691216057308f)));
}

template <int Width, int N>
TETRARCH_INLINE F32<Width> polynomial(F32<Width> x, const float (&coefficient)[N]) {
  auto sum = splat<Width>(coefficient[0]);
#pragma GCC unroll 9
  for (int i = 1; i < N; ++i)
    sum = simd::fma(sum, x, splat<Width>(coefficient[i]));
  return sum;
}

/// 0.5 x erfc(-x / sqrt(2)), without the cancellation of 1 + erf below 0. Polynomials of Moshier's
/// Cephes library (erff, erfcf).
template <int Width>
TETRARCH_INLINE F32<Width> gelu(F32<Width> x) {
  constexpr float near[] = {7.853861353153693e-5f,  -8.010193625184903e-4f, 5.188327685732524e-3f,
                            -2.685381193529856e-2f, 1.128358514861418e-1f,  -3.761262582423300e-1f,
                            1.128379165726710e+0f};
  constexpr float middle[] = {
      2.326819970068386e-2f,  -1.387039388740657e-1f, 3.687424674597105e-1f,
      -5.824733027278666e-1f, 6.210004621745983e-1f,  -4.944515323274145e-1f,
      3.404879937665872e-1f,  -2.741127028184656e-1f, 5.638259427386472e-1f};
  constexpr float far[] = {-1.047766399936249e+1f, 1.297719955372516e+1f,  -7.495518717768503e+0f,
                           2.921019019210786e+0f,  -1.015265279202700e+0f, 4.218463358204948e-1f,
                           -2.820767439740514e-1f, 5.641895067754075e-1f};
  const auto zero = splat<Width>(0), one = splat<Width>(1), two = splat<Width>(2);
  const auto z = x * splat<Width>(0.70710678118654752f);
  const auto a = select(z < zero, zero - z, z);
  const auto squared = a * a;
  const auto erf_near = z * polynomial<Width>(squared, near);
  const auto q = one / a;
  const auto q2 = q * q;
  const auto tail = select(a < two, polynomial<Width>(q2, middle), polynomial<Width>(q2, far));
  const auto erfc_far = simd::exp(zero - squared) * q * tail;  // erfc(|z|)
  const auto twice = select(a < one, one + erf_near, select(z < zero, erfc_far, two - erfc_far));
  return x * splat<Width>(0.5f) * twice;
}

template <ActivationKind Kind, int Width>
TETRARCH_INLINE F32<Width> act(F32<Width> x) {
  if constexpr (Kind == ActivationKind::silu)
    return silu(x);
  else if constexpr (Kind == ActivationKind::gelu_tanh)
    return gelu_tanh(x);
  else
    return gelu(x);
}

/// `count` values of a row; `up` may be null.
template <ActivationKind Kind, int Width, class T>
TETRARCH_INLINE void activate_columns(const T* gate, const T* up, std::int64_t count, T* out) {
  const auto some = [&](std::int64_t at, std::int64_t left) {
    auto value = act<Kind>(simd::load_some<Width>(gate + at, left));
    if (up != nullptr)
      value = simd::rounded_to<Width, T>(value) * simd::load_some<Width>(up + at, left);
    simd::store_some(value, out + at, left);
  };
  const std::int64_t whole = count / lanes * lanes;
#pragma GCC unroll 2
  for (std::int64_t c = 0; c < whole; c += lanes)
    some(c, lanes);
  if (whole < count) some(whole, count - whole);
}

/// Columns of one slice of one row lie together in `out`.
template <ActivationKind Kind, int Width, class T>
TETRARCH_INLINE void activate_rows(const ActivationArgs& args, std::int64_t begin,
                                   std::int64_t end) {
  const Tensor& to = args.out;
  const std::int64_t columns = args.gate.columns;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* gate = static_cast<const T*>(args.gate.data) + row * columns;
    const T* up =
        args.up.is_absent() ? nullptr : static_cast<const T*>(args.up.data) + row * columns;
    for (std::int64_t from = 0; from < columns;) {
      const std::int64_t slice = (args.first_column + from) / to.columns;
      const std::int64_t column = (args.first_column + from) % to.columns;
      const std::int64_t width = std::min(columns - from, to.columns - column);
      T* out =
          static_cast<T*>(to.data) + (slice * to.rows + args.first_row + row) * to.columns + column;
      activate_columns<Kind, Width>(gate + from, up == nullptr ? up : up + from, width, out);
      from += width;
    }
  }
}

template <ActivationKind Kind, int Width>
TETRARCH_INLINE void activate_as(const ActivationArgs& args, std::int64_t begin, std::int64_t end) {
  if (args.gate.dtype == base::DType::f32)
    activate_rows<Kind, Width, float>(args, begin, end);
  else
    activate_rows<Kind, Width, base::bf16>(args, begin, end);
}

template <int Width>
TETRARCH_INLINE void activate_range_body(const ActivationArgs& args, std::int64_t begin,
                                         std::int64_t end) {
  switch (args.kind) {
    case ActivationKind::silu:
      return activate_as<ActivationKind::silu, Width>(args, begin, end);
    case ActivationKind::gelu_tanh:
      return activate_as<ActivationKind::gelu_tanh, Width>(args, begin, end);
    case ActivationKind::gelu:
      return activate_as<ActivationKind::gelu, Width>(args, begin, end);
  }
}
TETRARCH_KERNEL(activate_range, ActivationArgs)

}  // namespace

void activate_part(const Tensor& gate, const Tensor& up, ActivationKind kind, const Tensor& out,
                   std::int64_t first_row, std::int64_t first_column) {
  activate_range({gate, up, out, kind, first_row, first_column}, 0, gate.rows);
}

void activation(const Tensor& gate, const Tensor& up, ActivationKind kind, const Tensor& out) {
  const ActivationArgs args{gate, up, out, kind};
  for_ranges(gate.rows, 4 * gate.columns,
             [&](std::int64_t begin, std::int64_t end) { activate_range(args, begin, end); });
}

}  // namespace tetrarch::backend::cpu
