// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/check.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::backend::cuda {

using base::ExitCode;
using base::SystemError;

void check(cudaError_t status, const char* call, std::source_location where) {
  if (status == cudaSuccess) return;
  if (status == cudaErrorMemoryAllocation)
    throw SystemError(ExitCode::resources,
                      fmt::format("{}: the GPU has no more memory. Use more ranks, or fewer tokens "
                                  "per microbatch.",
                                  call),
                      where);
  throw SystemError(ExitCode::internal,
                    fmt::format("{}: {} (CUDA error {})", call, cudaGetErrorString(status),
                                static_cast<int>(status)),
                    where);
}

void check(cublasStatus_t status, const char* call, std::source_location where) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw SystemError(status == CUBLAS_STATUS_ALLOC_FAILED ? ExitCode::resources : ExitCode::internal,
                    fmt::format("{}: cuBLAS status {}", call, static_cast<int>(status)), where);
}

}  // namespace tetrarch::backend::cuda
