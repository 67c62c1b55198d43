// Rotary position embedding, half style: dimension j is rotated with dimension j + half.
//
// reads   x [rows, heads * head_size], position [rows] i32, cosine and sine [positions, half] f32
// writes  x
// launch  one block per row; a thread rotates N pairs of one head
// bound   memory: 2 * 2 * half elements per row and head; the 8 * half bytes of the row's angle
// come
//         from the L2 cache
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/language.hpp"
#include "backend/cuda/kernels/rows.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;

template <class T>
struct RopeArgs {
  T* x;
  const std::int32_t* position;
  const float* cosine;
  const float* sine;
  std::int64_t rows, columns;
  int head_size, half;
};

/// Loads N floats whose address is a multiple of 16 bytes if N is more than 1.
template <int N>
__device__ __forceinline__ void load_angles(const float* from, float (&to)[N]) {
  if constexpr (N == 8) {
    float low[4], high[4];
    load(from, low);
    load(from + 4, high);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      to[i] = low[i], to[4 + i] = high[i];
  } else {
    load(from, to);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(threads) rope_kernel(const RopeArgs<T> args) {
  const int parts = args.half / N;  // of one head
  const int items = static_cast<int>(args.columns / args.head_size) * parts;
  for (std::int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    const std::int64_t position = args.position[row];
    for (int item = threadIdx.x; item < items; item += threads) {
      const int j = item % parts * N;
      T* x = args.x + row * args.columns + std::int64_t{item / parts} * args.head_size + j;
      float c[N], s[N], first[N], second[N], to[N];
      load_angles(args.cosine + position * args.half + j, c);
      load_angles(args.sine + position * args.half + j, s);
      load(x, first);
      load(x + args.half, second);
#pragma unroll
      for (int i = 0; i < N; ++i)
        to[i] = fmaf(-second[i], s[i], first[i] * c[i]);
      store(to, x);
#pragma unroll
      for (int i = 0; i < N; ++i)
        to[i] = fmaf(first[i], s[i], second[i] * c[i]);
      store(to, x + args.half);
    }
  }
}

}  // namespace

void rope(cudaStream_t stream, const Tensor& x, std::int64_t head_size, const Tensor& position,
          const Tensor& cosine, const Tensor& sine) {
  const std::int64_t half = cosine.columns;
  if (half == 0 || x.columns == 0) return;
  const std::int64_t half_bytes = half * base::size_of(x.dtype);
  const bool is_in_vectors =
      half_bytes % 16 == 0 && has_vector_rows(head_size, x) && has_vector_rows(half, cosine, sine);
  with_elements(x.dtype, is_in_vectors, [&]<class T, int N>() {
    const RopeArgs<T> args{output<T>(x),
                           input<std::int32_t>(position),
                           input<float>(cosine),
                           input<float>(sine),
                           x.rows,
                           x.columns,
                           static_cast<int>(head_size),
                           static_cast<int>(half)};
    start(stream, x.rows, threads, 0, rope_kernel<T, N>, args);
  });
}

}  // namespace tetrarch::backend::cuda
