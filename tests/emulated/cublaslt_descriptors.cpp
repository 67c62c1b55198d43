// libcublasLt: handles, and descriptors of products, layouts and preferences.
// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <type_traits>

#include "emulated/cublaslt_types.hpp"

using namespace tetrarch::emulated;

namespace {

template <class Handle, class T>
cublasStatus_t give(Handle* to, T* made) {
  *to = reinterpret_cast<Handle>(made);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t remove(T* object) {
  delete object;
  return CUBLAS_STATUS_SUCCESS;
}

/// Takes an attribute that may only have the value `expected`.
template <class T>
cublasStatus_t accept(std::type_identity_t<T> expected, const void* value, std::size_t bytes) {
  T given{};
  const cublasStatus_t status = set_attribute(given, value, bytes);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  return given == expected ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t set_transpose(cublasOperation_t& to, const void* value, std::size_t bytes) {
  cublasOperation_t given{};
  const cublasStatus_t status = set_attribute(given, value, bytes);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (given != CUBLAS_OP_N && given != CUBLAS_OP_T) return CUBLAS_STATUS_NOT_SUPPORTED;
  to = given;
  return status;
}

}  // namespace

extern "C" {

std::size_t cublasLtGetVersion() {
  return CUBLAS_VERSION;
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality requested is not supported";
    default:
      return "another status";
  }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return give(handle, new char);
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return remove(reinterpret_cast<char*>(handle));
}

/// Accumulates in f32. CUBLAS_COMPUTE_32F_FAST_TF32 is refused: f32 means f32.
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t compute,
                                        cudaDataType scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  return give(product, new Product);
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  return remove(product_of(product));
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  Product& product = *product_of(handle);
  std::int32_t ignored = 0;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set_transpose(product.transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set_transpose(product.transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET:
      return set_attribute(ignored, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return accept<cublasLtEpilogue_t>(CUBLASLT_EPILOGUE_DEFAULT, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return accept<std::int32_t>(CUBLASLT_POINTER_MODE_HOST, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t leading_dimension) {
  if (type != CUDA_R_16BF && type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  return give(layout, new Layout{type, rows, columns, leading_dimension});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return remove(layout_of(layout));
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, std::size_t bytes) {
  Layout& layout = *layout_of(handle);
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return set_attribute(layout.rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return set_attribute(layout.columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return set_attribute(layout.leading_dimension, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return accept<std::int32_t>(CUBLASLT_ORDER_COL, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return accept<std::int32_t>(1, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return give(preference, new Preference);
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return remove(preference_of(preference));
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  Preference& preference = *preference_of(handle);
  auto& alignment = preference.min_alignment;
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set_attribute(preference.workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set_attribute(preference.reduction_schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return set_attribute(alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return set_attribute(alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return set_attribute(alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set_attribute(alignment[3], value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

}  // extern "C"
