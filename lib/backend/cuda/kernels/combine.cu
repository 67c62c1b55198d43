// Adds the experts' results of each row, in the order of its top-k slots, and the residual.
//
// reads   rows [copies, columns], position [out rows, k] i32, gate_weight [out rows, k] f32,
//         residual [out rows, columns] or nothing
// writes  out [out rows, columns], may be the residual
// launch  one block per row; a thread has N neighbouring columns at a time
// sums    one chain of fused multiply-adds over the slots, then the residual: that of
//         cpu/kernels/permute.cpp
// bound   memory: (k + 2) * columns elements + 8 * k bytes per row
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/language.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;

template <class T>
struct CombineArgs {
  const T* rows;
  const std::int32_t* position;
  const float* gate_weight;
  const T* residual;
  T* out;
  std::int64_t out_rows, columns;
  int top_k;
};

template <class T, int N>
__global__ void __launch_bounds__(threads) combine_kernel(const CombineArgs<T> args) {
  for (std::int64_t row = blockIdx.x; row < args.out_rows; row += gridDim.x) {
    const std::int32_t* position = args.position + row * args.top_k;
    const float* weight = args.gate_weight + row * args.top_k;
    for (std::int64_t c = threadIdx.x * N; c < args.columns; c += threads * N) {
      float sum[N] = {};
#pragma unroll 4
      for (int slot = 0; slot < args.top_k; ++slot) {
        const std::int64_t at = position[slot];
        if (at < 0) continue;
        float value[N];
        load(args.rows + at * args.columns + c, value);
#pragma unroll
        for (int i = 0; i < N; ++i)
          sum[i] = fmaf(weight[slot], value[i], sum[i]);
      }
      if (args.residual != nullptr) {
        float value[N];
        load(args.residual + row * args.columns + c, value);
#pragma unroll
        for (int i = 0; i < N; ++i)
          sum[i] = value[i] + sum[i];
      }
      store(sum, args.out + row * args.columns + c);
    }
  }
}

}  // namespace

void combine(cudaStream_t stream, const Tensor& rows, const Tensor& position,
             const Tensor& gate_weight, const Tensor& residual, const Tensor& out) {
  const bool is_in_vectors = has_vector_rows(out.columns, rows, residual, out);
  with_elements(out.dtype, is_in_vectors, [&]<class T, int N>() {
    const CombineArgs<T> args{input<T>(rows),
                              input<std::int32_t>(position),
                              input<float>(gate_weight),
                              input<T>(residual),
                              output<T>(out),
                              out.rows,
                              out.columns,
                              static_cast<int>(position.columns)};
    start(stream, out.columns > 0 ? out.rows : 0, threads, 0, combine_kernel<T, N>, args);
  });
}

}  // namespace tetrarch::backend::cuda
