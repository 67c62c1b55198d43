/// What stands behind the handles of the emulated cublasLt.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <cublasLt.h>

namespace tetrarch::emulated {

/// op(A) op(B), in column-major order.
struct Product {
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
};

struct Layout {
  cudaDataType type;
  std::uint64_t rows, columns;
  std::int64_t leading_dimension;  // elements from one column to the next

  std::size_t element_bytes() const { return type == CUDA_R_16BF ? 2 : 4; }
  /// From the first element to the last one.
  std::size_t bytes() const {
    return (static_cast<std::size_t>(leading_dimension) * (columns - 1) + rows) * element_bytes();
  }
  bool is_valid() const { return leading_dimension >= static_cast<std::int64_t>(rows); }
};

struct Preference {
  std::uint64_t workspace_bytes = 0;
  std::uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;  // all, unless it is set
  std::uint32_t min_alignment[4] = {256, 256, 256, 256};             // of A, B, C and D
};

/// The bits of a product are a function of the operands, the id, the tile, the stages, the split of
/// K and the scheme of reduction. A tile or number of stages that is not set depends on the shape.
struct Algorithm {
  std::uint32_t magic;
  std::int32_t id;
  std::uint32_t tile, stages;
  std::int32_t split_k;
  std::uint32_t reduction_scheme;
  std::uint32_t swizzling, custom_option;
  std::uint16_t inner_shape, cluster_shape;
  std::int32_t type_of_operands;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

inline Product* product_of(cublasLtMatmulDesc_t handle) {
  return reinterpret_cast<Product*>(handle);
}
inline Layout* layout_of(cublasLtMatrixLayout_t handle) {
  return reinterpret_cast<Layout*>(handle);
}
inline Preference* preference_of(cublasLtMatmulPreference_t handle) {
  return reinterpret_cast<Preference*>(handle);
}

/// Copies the value of an attribute if it has the size of `to`.
template <class T>
cublasStatus_t set_attribute(T& to, const void* value, std::size_t bytes) {
  if (!value || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace tetrarch::emulated
