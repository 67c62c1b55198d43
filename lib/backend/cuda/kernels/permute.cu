// Gathers rows: to[i] = from[index[i]].
//
// reads   from [from rows, columns], index [rows] i32
// writes  to [rows, columns]
// launch  one block per row; a thread copies 16 bytes at a time, or fewer if the rows are not
//         aligned to 16 bytes
// bound   memory: 2 * row bytes + 4 bytes per row
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/language.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;

/// Rows of `width` units.
template <class Unit>
__global__ void __launch_bounds__(threads)
    permute_kernel(const Unit* from, const std::int32_t* index, Unit* to, std::int64_t rows,
                   std::int64_t width) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const Unit* source = from + index[row] * width;
#pragma unroll 4
    for (std::int64_t i = threadIdx.x; i < width; i += threads)
      to[row * width + i] = source[i];
  }
}

template <class Unit>
void permute_units(cudaStream_t stream, const Tensor& from, const Tensor& index, const Tensor& to) {
  const auto width = to.row_bytes() / static_cast<std::int64_t>(sizeof(Unit));
  start(stream, width > 0 ? to.rows : 0, threads, 0, permute_kernel<Unit>, input<Unit>(from),
        input<std::int32_t>(index), output<Unit>(to), to.rows, width);
}

}  // namespace

void permute_rows(cudaStream_t stream, const Tensor& from, const Tensor& index, const Tensor& to) {
  if (has_vector_rows(to.columns, from, to)) return permute_units<uint4>(stream, from, index, to);
  switch (base::size_of(to.dtype)) {
    case 1:
      return permute_units<std::uint8_t>(stream, from, index, to);
    case 2:
      return permute_units<std::uint16_t>(stream, from, index, to);
    case 4:
      return permute_units<std::uint32_t>(stream, from, index, to);
    default:
      return permute_units<std::uint64_t>(stream, from, index, to);
  }
}

}  // namespace tetrarch::backend::cuda
