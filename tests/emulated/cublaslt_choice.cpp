// libcublasLt: the choice of an algorithm, by the heuristic or by hand.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "emulated/cublaslt_algorithm.hpp"

using namespace tetrarch::emulated;

namespace {

Layouts layouts_of(cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                   cublasLtMatrixLayout_t d) {
  return {*layout_of(a), *layout_of(b), *layout_of(c), *layout_of(d)};
}

cublasLtMatmulHeuristicResult_t result_of(const Algorithm& algorithm, const Shape& shape) {
  cublasLtMatmulHeuristicResult_t result{};
  write_algorithm(algorithm, &result.algo);
  result.workspaceSize = needed_workspace(algorithm, shape);
  result.state = CUBLAS_STATUS_SUCCESS;
  result.wavesCount = 1;
  return result;
}

/// Gives `values` to the caller; with `bytes` = 0 only their size.
template <class T>
cublasStatus_t give(const std::vector<T>& values, void* to, std::size_t bytes,
                    std::size_t* written) {
  const std::size_t size = values.size() * sizeof(T);
  if (bytes == 0 ? !written : !to || bytes < size) return CUBLAS_STATUS_INVALID_VALUE;
  if (bytes > 0) std::memcpy(to, values.data(), size);
  if (written) *written = size;
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t give_one(T value, void* to, std::size_t bytes, std::size_t* written) {
  return give(std::vector<T>{value}, to, bytes, written);
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* count) {
  *count = 0;
  if (most <= 0) return CUBLAS_STATUS_INVALID_VALUE;
  const Layouts layouts = layouts_of(a, b, c, d);
  Shape shape{};
  const cublasStatus_t status = find_shape(*product_of(product), layouts, shape);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  for (const Algorithm& algorithm : offer_algorithms(layouts, shape, *preference_of(preference))) {
    if (*count == most) break;
    results[(*count)++] = result_of(algorithm, shape);
  }
  return *count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoGetIds(cublasLtHandle_t, cublasComputeType_t compute,
                                        cudaDataType_t scale, cudaDataType_t, cudaDataType_t,
                                        cudaDataType_t, cudaDataType_t, int most, int* ids,
                                        int* count) {
  if (most <= 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *count = std::min(most, static_cast<int>(algorithm_ids().size()));
  std::copy_n(algorithm_ids().begin(), *count, ids);
  return CUBLAS_STATUS_SUCCESS;
}

/// Tile and stages are not set afterwards: the caller must choose them.
cublasStatus_t cublasLtMatmulAlgoInit(cublasLtHandle_t, cublasComputeType_t compute,
                                      cudaDataType_t scale, cudaDataType_t a, cudaDataType_t b,
                                      cudaDataType_t, cudaDataType_t, int id,
                                      cublasLtMatmulAlgo_t* algorithm) {
  if (!algorithm || std::count(algorithm_ids().begin(), algorithm_ids().end(), id) == 0)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F || a != b)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  write_algorithm(make_algorithm(id, a), algorithm);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCapGetAttribute(const cublasLtMatmulAlgo_t* from,
                                                 cublasLtMatmulAlgoCapAttributes_t attribute,
                                                 void* to, std::size_t bytes,
                                                 std::size_t* written) {
  Algorithm algorithm{};
  if (!read_algorithm(from, algorithm)) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_ALGO_CAP_SPLITK_SUPPORT:
      return give_one<std::int32_t>(1, to, bytes, written);
    case CUBLASLT_ALGO_CAP_REDUCTION_SCHEME_MASK:
      return give_one<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_MASK, to, bytes, written);
    case CUBLASLT_ALGO_CAP_CTA_SWIZZLING_SUPPORT:
      return give_one<std::uint32_t>(1, to, bytes, written);
    case CUBLASLT_ALGO_CAP_CUSTOM_OPTION_MAX:
      return give_one<std::int32_t>(0, to, bytes, written);
    case CUBLASLT_ALGO_CAP_TILE_IDS:
      return give(tile_ids(), to, bytes, written);
    case CUBLASLT_ALGO_CAP_STAGES_IDS:
      return give(stages_ids(), to, bytes, written);
    case CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_D_BYTES:
      return give_one<std::uint32_t>(needed_alignment(algorithm), to, bytes, written);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulAlgoConfigSetAttribute(cublasLtMatmulAlgo_t* to,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  Algorithm algorithm{};
  if (!read_algorithm(to, algorithm)) return CUBLAS_STATUS_INVALID_VALUE;
  const auto set = [&](auto& member) {
    const cublasStatus_t status = set_attribute(member, value, bytes);
    if (status == CUBLAS_STATUS_SUCCESS) write_algorithm(algorithm, to);
    return status;
  };
  switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
      return set(algorithm.tile);
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
      return set(algorithm.stages);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
      return set(algorithm.split_k);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
      return set(algorithm.reduction_scheme);
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
      return set(algorithm.swizzling);
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
      return set(algorithm.custom_option);
    case CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID:
      return set(algorithm.inner_shape);
    case CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID:
      return set(algorithm.cluster_shape);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;  // the id is set by cublasLtMatmulAlgoInit
  }
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* from,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* to, std::size_t bytes,
                                                    std::size_t* written) {
  Algorithm algorithm{};
  if (!read_algorithm(from, algorithm)) return CUBLAS_STATUS_INVALID_VALUE;
  const auto give_it = [&](auto value) { return give_one(value, to, bytes, written); };
  switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID:
      return give_it(algorithm.id);
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
      return give_it(algorithm.tile);
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
      return give_it(algorithm.stages);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
      return give_it(algorithm.split_k);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
      return give_it(algorithm.reduction_scheme);
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
      return give_it(algorithm.swizzling);
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
      return give_it(algorithm.custom_option);
    case CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID:
      return give_it(algorithm.inner_shape);
    case CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID:
      return give_it(algorithm.cluster_shape);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* from,
                                       cublasLtMatmulHeuristicResult_t* result) {
  Algorithm algorithm{};
  if (!read_algorithm(from, algorithm)) return CUBLAS_STATUS_INVALID_VALUE;
  const Layouts layouts = layouts_of(a, b, c, d);
  Shape shape{};
  cublasStatus_t status = find_shape(*product_of(product), layouts, shape);
  if (status == CUBLAS_STATUS_SUCCESS) status = check_algorithm(algorithm, layouts);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const cublasLtMatmulAlgo_t kept = result->algo;  // which is never updated
  *result = result_of(algorithm, shape);
  result->algo = kept;
  return status;
}

}  // extern "C"
