// Says of each row whether all its values are finite.
//
// reads   x [rows, columns]
// writes  flag [rows] i32: 1 if all are finite, else 0
// launch  one warp per row; a lane reads N neighbouring columns at a time
// bound   memory: columns elements per row
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/language.hpp"
#include "backend/cuda/kernels/rows.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;
constexpr int rows_per_block = threads / warp_threads;

template <class T, int N>
__global__ void __launch_bounds__(threads)
    row_is_finite_kernel(const T* x, std::int32_t* flag, std::int64_t rows, std::int64_t columns) {
  const int lane = threadIdx.x % warp_threads;
  for (std::int64_t row = std::int64_t{blockIdx.x} * rows_per_block + threadIdx.x / warp_threads;
       row < rows; row += std::int64_t{gridDim.x} * rows_per_block) {
    int is_finite = 1;
#pragma unroll 4
    for (std::int64_t c = lane * N; c < columns; c += warp_threads * N) {
      float value[N];
      load(x + row * columns + c, value);
#pragma unroll
      for (int i = 0; i < N; ++i)
        is_finite &= value[i] - value[i] == 0.0f;  // infinity - infinity is NaN
    }
    is_finite = __all_sync(all_lanes, is_finite);
    if (lane == 0) flag[row] = is_finite;
  }
}

}  // namespace

void row_is_finite(cudaStream_t stream, const Tensor& x, const Tensor& flag) {
  with_elements(x.dtype, has_vector_rows(x.columns, x), [&]<class T, int N>() {
    start(stream, (x.rows + rows_per_block - 1) / rows_per_block, threads, 0,
          row_is_finite_kernel<T, N>, input<T>(x), output<std::int32_t>(flag), x.rows, x.columns);
  });
}

}  // namespace tetrarch::backend::cuda
