// libcublasLt: cublasLtMatmul.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <string>

#include "emulated/call.hpp"
#include "emulated/cublaslt_product.hpp"
#include "emulated/device_memory.hpp"
#include "emulated/fault.hpp"

using namespace tetrarch::emulated;

namespace {

struct Workspace {
  char* memory;
  std::size_t bytes;
};

/// What is wrong with the addresses; empty if nothing is.
std::string problem_of(const ProductCall& call, const Workspace& workspace) {
  const auto is_outside = [](const void* address, std::size_t bytes) {
    return bytes > 0 && !device_memory().contains(address, bytes);
  };
  const Layouts& layouts = call.layouts;
  if (is_outside(call.a, layouts.a.bytes())) return "A lies outside of an allocation";
  if (is_outside(call.b, layouts.b.bytes())) return "B lies outside of an allocation";
  if (call.beta != 0 && is_outside(call.c, layouts.c.bytes()))
    return "C lies outside of an allocation";
  if (is_outside(call.d, layouts.d.bytes())) return "D lies outside of an allocation";
  if (is_outside(workspace.memory, workspace.bytes))
    return "the workspace lies outside of an allocation";
  const auto overlap = [&](const void* address, std::size_t bytes) {
    const char* d = static_cast<const char*>(call.d);
    const char* other = static_cast<const char*>(address);
    return other < d + layouts.d.bytes() && d < other + bytes;
  };
  if (overlap(call.a, layouts.a.bytes()) || overlap(call.b, layouts.b.bytes()) ||
      overlap(workspace.memory, workspace.bytes))
    return "D overlaps A, B or the workspace";
  if (call.beta != 0 && call.c != call.d && overlap(call.c, layouts.c.bytes()))
    return "D overlaps C, and does not begin there";
  return "";
}

bool are_aligned(const ProductCall& call, const Workspace& workspace, std::uint32_t alignment) {
  constexpr std::uint32_t of_workspace = 16;
  const auto is_aligned = [](const void* address, std::uint32_t to) {
    return reinterpret_cast<std::uintptr_t>(address) % to == 0;
  };
  return is_aligned(call.a, alignment) && is_aligned(call.b, alignment) &&
         (call.beta == 0 || is_aligned(call.c, alignment)) && is_aligned(call.d, alignment) &&
         is_aligned(workspace.memory, of_workspace);
}

/// Without an algorithm, the heuristic chooses one, as the library does. False: there is none.
bool choose(const cublasLtMatmulAlgo_t* given, const ProductCall& call, std::size_t workspace_bytes,
            Algorithm& algorithm) {
  if (given) return read_algorithm(given, algorithm);
  Preference preference;
  preference.workspace_bytes = workspace_bytes;
  const auto offered = offer_algorithms(call.layouts, call.shape, preference);
  if (!offered.empty()) algorithm = offered.front();
  return !offered.empty();
}

/// A product takes two steps, so that the streams can come between. In the first it writes a mark
/// into its workspace, which must still be there in the second.
class MatmulSteps {
 public:
  MatmulSteps(const ProductCall& call, const Algorithm& algorithm, Workspace workspace)
      : call_(call), algorithm_(algorithm), workspace_(workspace) {}

  Step operator()() {
    if (workspace_.bytes >= sizeof mark_ && mark_ == 0) {
      static std::uint64_t last_mark = 0;
      mark_ = ++last_mark;
      order::note_write(workspace_.memory, sizeof mark_);
      std::memcpy(workspace_.memory, &mark_, sizeof mark_);
      return Step::advanced;
    }
    if (mark_ != 0 && std::memcmp(workspace_.memory, &mark_, sizeof mark_) != 0)
      report_fault("cublasLtMatmul: its workspace was written by another stream meanwhile");
    compute(call_, algorithm_);
    return Step::done;
  }

 private:
  ProductCall call_;
  Algorithm algorithm_;
  Workspace workspace_;
  std::uint64_t mark_ = 0;  // 0: not yet begun
};

cublasStatus_t enqueue(const Call& call, const ProductCall& product, const Algorithm& algorithm,
                       const Workspace& workspace, cudaStream_t handle) {
  Stream* stream = call.stream(handle);
  if (!stream) return CUBLAS_STATUS_INVALID_VALUE;
  const Shape shape = product.shape;
  const auto name = [shape] {
    return "cublasLtMatmul of " + std::to_string(shape.m) + " x " + std::to_string(shape.n) +
           " x " + std::to_string(shape.k);
  };
  stream->push({name, MatmulSteps(product, resolve(algorithm, shape), workspace)});
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

extern "C" cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                         const void* alpha, const void* a,
                                         cublasLtMatrixLayout_t layout_a, const void* b,
                                         cublasLtMatrixLayout_t layout_b, const void* beta,
                                         const void* c, cublasLtMatrixLayout_t layout_c, void* d,
                                         cublasLtMatrixLayout_t layout_d,
                                         const cublasLtMatmulAlgo_t* given, void* workspace_memory,
                                         std::size_t workspace_bytes, cudaStream_t stream) {
  const Call call;
  ProductCall product{
      *product_of(description),
      {*layout_of(layout_a), *layout_of(layout_b), *layout_of(layout_c), *layout_of(layout_d)},
      {},
      *static_cast<const float*>(alpha),
      *static_cast<const float*>(beta),
      a,
      b,
      c,
      d};
  const Workspace workspace{static_cast<char*>(workspace_memory),
                            workspace_memory ? workspace_bytes : 0};
  cublasStatus_t status = find_shape(product.product, product.layouts, product.shape);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  Algorithm algorithm{};
  if (!choose(given, product, workspace.bytes, algorithm)) return CUBLAS_STATUS_INVALID_VALUE;
  status = check_algorithm(algorithm, product.layouts);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (needed_workspace(algorithm, product.shape) > workspace.bytes)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (!are_aligned(product, workspace, needed_alignment(algorithm)))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const std::string problem = problem_of(product, workspace);
  if (!problem.empty()) {
    report_fault("cublasLtMatmul: " + problem);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  return enqueue(call, product, algorithm, workspace, stream);
}
