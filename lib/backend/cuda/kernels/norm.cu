// Root-mean-square norm. It rounds twice, as the models do.
//
// reads   x [rows, columns], weight [1, columns]
// writes  y [rows, columns], may be x
// launch  64 / N threads per row, which read N neighbouring columns each
// sums    64 chains, one for each column modulo 64, and then a tree: those of cpu/kernels/norm.cpp.
//         The columns after the last whole 64 join the first 16 chains.
// bound   memory: 3 * columns elements per row; the second read of x is mostly from the L2 cache
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/language.hpp"
#include "backend/cuda/kernels/rows.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;
constexpr int chains = 4 * cpu_lanes;

template <class T>
struct NormArgs {
  const T* x;
  const T* weight;
  T* y;
  std::int64_t rows, columns;
  float eps;
};

/// Sums the chains of a row; every thread of the row gets the sum. Thread `part` of the row has the
/// chains part * N + i.
template <int N>
__device__ __forceinline__ float sum_of_chains(float (&sum)[N]) {
  constexpr int threads_per_16 = cpu_lanes / N;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    // (chain c + chain c + 16) + (chain c + 32 + chain c + 48)
    sum[i] += __shfl_xor_sync(all_lanes, sum[i], threads_per_16);
    sum[i] += __shfl_xor_sync(all_lanes, sum[i], 2 * threads_per_16);
    sum[i] = sum_of_lanes<threads_per_16>(sum[i]);
  }
#pragma unroll
  for (int half = N / 2; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; ++i)
      sum[i] += sum[i + half];
  return sum[0];
}

template <class T, int N>
__global__ void __launch_bounds__(threads) rms_norm_kernel(const NormArgs<T> args) {
  constexpr int threads_per_row = chains / N, rows_per_block = threads / threads_per_row;
  const int column = threadIdx.x % threads_per_row * N;
  for (std::int64_t first = std::int64_t{blockIdx.x} * rows_per_block; first < args.rows;
       first += std::int64_t{gridDim.x} * rows_per_block) {
    const std::int64_t row = first + threadIdx.x / threads_per_row;
    // threads without a row only take part in the sums of their warp
    const std::int64_t columns = row < args.rows ? args.columns : 0;
    const std::int64_t whole = columns / chains * chains;
    const std::int64_t first_left = column < cpu_lanes ? whole + column : columns;
    const T* x = args.x + row * args.columns;
    T* y = args.y + row * args.columns;

    float sum[N] = {};
#pragma unroll 4
    for (std::int64_t c = column; c < whole; c += chains) {
      float value[N];
      load(x + c, value);
#pragma unroll
      for (int i = 0; i < N; ++i)
        sum[i] = fmaf(value[i], value[i], sum[i]);
    }
    for (std::int64_t c = first_left; c < columns; c += cpu_lanes)
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (c + i < columns) {
          const float value = to_float(x[c + i]);
          sum[i] = fmaf(value, value, sum[i]);
        }
    const float mean = sum_of_chains(sum) / static_cast<float>(args.columns);
    const float inverse = 1.0f / sqrtf(mean + args.eps);

#pragma unroll 4
    for (std::int64_t c = column; c < whole; c += chains) {
      float value[N], weight[N];
      load(x + c, value);
      load(args.weight + c, weight);
#pragma unroll
      for (int i = 0; i < N; ++i)
        value[i] = weight[i] * rounded_to<T>(value[i] * inverse);
      store(value, y + c);
    }
    for (std::int64_t c = first_left; c < columns; c += cpu_lanes)
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (c + i < columns)
          put(to_float(args.weight[c + i]) * rounded_to<T>(to_float(x[c + i]) * inverse),
              y + c + i);
  }
}

}  // namespace

void rms_norm(cudaStream_t stream, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& y) {
  const bool is_in_vectors = has_vector_rows(x.columns, x, weight, y);
  with_elements<2>(x.dtype, is_in_vectors, [&]<class T, int N>() {
    constexpr int rows_per_block = threads / (chains / N);
    const NormArgs<T> args{input<T>(x), input<T>(weight), output<T>(y), x.rows, x.columns, eps};
    start(stream, (x.rows + rows_per_block - 1) / rows_per_block, threads, 0, rms_norm_kernel<T, N>,
          args);
  });
}

}  // namespace tetrarch::backend::cuda
