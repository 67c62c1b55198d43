/// Turns error codes of CUDA's libraries into exceptions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace tetrarch::backend::cuda {

/// Throws SystemError when `status` is an error: with code `resources` when memory is short, else
/// `internal`. `call` names the call that failed.
void check(cudaError_t status, const char* call,
           std::source_location where = std::source_location::current());
void check(cublasStatus_t status, const char* call,
           std::source_location where = std::source_location::current());

}  // namespace tetrarch::backend::cuda
