// Sums the reduction shards of each row in f32, by one fixed binary tree, and rounds once.
//
// reads   slices [1, 2, 4 or 8][rows][columns], index [out rows] i32 or nothing, residual
//         [out rows, columns] or nothing
// writes  out [out rows, columns], may be the residual
// launch  one block per row; a thread has N neighbouring columns at a time
// sums    ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)), then residual + sum
// bound   memory: (slices + 2) * columns elements per row
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/language.hpp"
#include "backend/cuda/kernels/tree_sum.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;

template <class T>
struct SumArgs {
  const T* slices;
  const std::int32_t* index;
  const T* residual;
  T* out;
  std::int64_t rows, out_rows, columns;
};

template <class T, int N, int slices>
__global__ void __launch_bounds__(threads) tree_sum_kernel(const SumArgs<T> args) {
  for (std::int64_t row = blockIdx.x; row < args.out_rows; row += gridDim.x) {
    const std::int64_t from = args.index == nullptr ? row : args.index[row];
    for (std::int64_t c = threadIdx.x * N; c < args.columns; c += threads * N) {
      float value[slices][N];
#pragma unroll
      for (int slice = 0; slice < slices; ++slice)
        load(args.slices + (slice * args.rows + from) * args.columns + c, value[slice]);
#pragma unroll
      for (int step = 1; step < slices; step *= 2)
#pragma unroll
        for (int slice = 0; slice < slices; slice += 2 * step)
#pragma unroll
          for (int i = 0; i < N; ++i)
            value[slice][i] += value[slice + step][i];
      if (args.residual != nullptr) {
        float residual[N];
        load(args.residual + row * args.columns + c, residual);
#pragma unroll
        for (int i = 0; i < N; ++i)
          value[0][i] = residual[i] + value[0][i];
      }
      store(value[0], args.out + row * args.columns + c);
    }
  }
}

template <int slices>
void sum(cudaStream_t stream, const Tensor& from, const Tensor& index, const Tensor& residual,
         const Tensor& out) {
  const bool is_in_vectors = has_vector_rows(out.columns, from, residual, out);
  with_elements(out.dtype, is_in_vectors, [&]<class T, int N>() {
    const SumArgs<T> args{input<T>(from),     input<std::int32_t>(index),
                          input<T>(residual), output<T>(out),
                          from.rows,          out.rows,
                          out.columns};
    start(stream, out.columns > 0 ? out.rows : 0, threads, 0, tree_sum_kernel<T, N, slices>, args);
  });
}

}  // namespace

void tree_sum(cudaStream_t stream, const Tensor& slices, const Tensor& index,
              const Tensor& residual, const Tensor& out) {
  switch (slices.slices) {
    case 1:
      return sum<1>(stream, slices, index, residual, out);
    case 2:
      return sum<2>(stream, slices, index, residual, out);
    case 4:
      return sum<4>(stream, slices, index, residual, out);
    case 8:
      return sum<8>(stream, slices, index, residual, out);
    default:
      base::expects(false, "1, 2, 4 or 8 slices");
  }
}

}  // namespace tetrarch::backend::cuda
