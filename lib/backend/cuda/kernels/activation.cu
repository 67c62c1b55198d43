// The activations of expert networks, and the multiplication by the result of the up projection.
//
// reads   gate [rows, F], up [rows, F] or nothing
// writes  out [slices][rows][F / slices]
// launch  one block per row; a thread has N neighbouring columns at a time, in one slice
// bits    those of cpu/kernels/activation.cpp as GCC 12 compiles it with -O3. With -O2 it does not
//         fuse 1 + erf in gelu, and under sanitizers it fuses neither 1 + erf nor 1 + exp().
// bound   memory: 3 * F elements per row with `up`, else 2 * F
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/language.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;

template <class T>
struct ActivationArgs {
  const T* gate;
  const T* up;
  T* out;
  std::int64_t rows, columns, slice_columns;
};

__device__ __forceinline__ float silu(float x) {
  return x / exp_plus(0.0f - x, 1.0f);
}

/// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
__device__ __forceinline__ float gelu_tanh(float x) {
  const float cubed = x * x * x;
  const float u = fmaf(0.044715f, cubed, x);
  return x / exp_plus(u * -1.5957691216057308f, 1.0f);
}

template <int N>
__device__ __forceinline__ float polynomial(float x, const float (&coefficient)[N]) {
  float sum = coefficient[0];
#pragma unroll
  for (int i = 1; i < N; ++i)
    sum = fmaf(sum, x, coefficient[i]);
  return sum;
}

/// 0.5 x erfc(-x / sqrt(2)). Below 0, this form avoids the cancellation of 1 + erf. The polynomials
/// are those of Moshier's Cephes library (erff, erfcf).
__device__ __forceinline__ float gelu(float x) {
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
  const float z = x * 0.70710678118654752f;
  const float a = z < 0 ? 0.0f - z : z;
  const float squared = a * a;
  float twice;
  if (a < 1.0f) {
    twice = fmaf(z, polynomial(squared, near), 1.0f);
  } else {
    const float q = 1.0f / a, q2 = q * q;
    const float tail = a < 2.0f ? polynomial(q2, middle) : polynomial(q2, far);
    const float erfc = exp_of(0.0f - squared) * q * tail;  // erfc(|z|)
    twice = z < 0 ? erfc : 2.0f - erfc;
  }
  return x * 0.5f * twice;
}

template <ActivationKind kind>
__device__ __forceinline__ float act(float x) {
  if constexpr (kind == ActivationKind::silu)
    return silu(x);
  else if constexpr (kind == ActivationKind::gelu_tanh)
    return gelu_tanh(x);
  else
    return gelu(x);
}

template <ActivationKind kind, class T, int N>
__global__ void __launch_bounds__(threads) activation_kernel(const ActivationArgs<T> args) {
  for (std::int64_t row = blockIdx.x; row < args.rows; row += gridDim.x)
    for (std::int64_t c = threadIdx.x * N; c < args.columns; c += threads * N) {
      float value[N];
      load(args.gate + row * args.columns + c, value);
#pragma unroll
      for (int i = 0; i < N; ++i)
        value[i] = act<kind>(value[i]);
      if (args.up != nullptr) {
        float factor[N];
        load(args.up + row * args.columns + c, factor);
#pragma unroll
        for (int i = 0; i < N; ++i)
          value[i] = rounded_to<T>(value[i]) * factor[i];
      }
      const std::int64_t slice = c / args.slice_columns;
      store(value, args.out + (slice * args.rows + row) * args.slice_columns + c -
                       slice * args.slice_columns);
    }
}

template <ActivationKind kind>
void activate(cudaStream_t stream, const Tensor& gate, const Tensor& up, const Tensor& out) {
  const bool is_in_vectors = has_vector_rows(out.columns, gate, up, out);
  with_elements(out.dtype, is_in_vectors, [&]<class T, int N>() {
    const ActivationArgs<T> args{input<T>(gate), input<T>(up), output<T>(out),
                                 gate.rows,      gate.columns, out.columns};
    start(stream, gate.columns > 0 ? gate.rows : 0, threads, 0, activation_kernel<kind, T, N>,
          args);
  });
}

}  // namespace

void activation(cudaStream_t stream, const Tensor& gate, const Tensor& up, ActivationKind kind,
                const Tensor& out) {
  switch (kind) {
    case ActivationKind::silu:
      return activate<ActivationKind::silu>(stream, gate, up, out);
    case ActivationKind::gelu_tanh:
      return activate<ActivationKind::gelu_tanh>(stream, gate, up, out);
    case ActivationKind::gelu:
      return activate<ActivationKind::gelu>(stream, gate, up, out);
  }
}

}  // namespace tetrarch::backend::cuda
