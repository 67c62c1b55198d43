/// The activations of expert networks, for sixteen values at once. Every file that includes this
/// one is compiled with -ffp-contract=fast, so that a value has the same bits in all of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/compute.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {

template <int Width>
TETRARCH_INLINE simd::F32<Width> silu(simd::F32<Width> x) {
  const auto one = simd::splat<Width>(1);
  return x / (one + simd::exp(simd::splat<Width>(0) - x));
}

/// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
template <int Width>
TETRARCH_INLINE simd::F32<Width> gelu_tanh(simd::F32<Width> x) {
  const auto cubed = x * x * x;
  const auto u = simd::fma(simd::splat<Width>(0.044715f), cubed, x);
  return x / (simd::splat<Width>(1) + simd::exp(u * simd::splat<Width>(-1.5957691216057308f)));
}

template <int Width, int N>
TETRARCH_INLINE simd::F32<Width> polynomial(simd::F32<Width> x, const float (&coefficient)[N]) {
  auto sum = simd::splat<Width>(coefficient[0]);
#pragma GCC unroll 9
  for (int i = 1; i < N; ++i)
    sum = simd::fma(sum, x, simd::splat<Width>(coefficient[i]));
  return sum;
}

/// 0.5 x erfc(-x / sqrt(2)). Below 0, this form avoids the cancellation of 1 + erf. The polynomials
/// are those of Moshier's Cephes library (erff, erfcf).
template <int Width>
TETRARCH_INLINE simd::F32<Width> gelu(simd::F32<Width> x) {
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
  const auto zero = simd::splat<Width>(0), one = simd::splat<Width>(1), two = simd::splat<Width>(2);
  const auto z = x * simd::splat<Width>(0.70710678118654752f);
  const auto a = select(z < zero, zero - z, z);
  const auto squared = a * a;
  const auto erf_near = z * polynomial<Width>(squared, near);
  const auto q = one / a;
  const auto q2 = q * q;
  const auto tail = select(a < two, polynomial<Width>(q2, middle), polynomial<Width>(q2, far));
  const auto erfc_far = simd::exp(zero - squared) * q * tail;  // erfc(|z|)
  const auto twice = select(a < one, one + erf_near, select(z < zero, erfc_far, two - erfc_far));
  return x * simd::splat<Width>(0.5f) * twice;
}

template <ActivationKind Kind, int Width>
TETRARCH_INLINE simd::F32<Width> act(simd::F32<Width> x) {
  if constexpr (Kind == ActivationKind::silu)
    return silu(x);
  else if constexpr (Kind == ActivationKind::gelu_tanh)
    return gelu_tanh(x);
  else
    return gelu(x);
}

}  // namespace tetrarch::backend::cpu
