/// Products of rows by weights, by cuBLASLt. One algorithm is fixed for each kind of product, so
/// that the bits of a row depend neither on the number of rows nor on the part of a weight that a
/// rank holds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <tuple>

#include <cublasLt.h>

#include "backend/compute.hpp"
#include "backend/cuda/memory.hpp"
#include "base/handle.hpp"

namespace tetrarch::backend::cuda {

/// A weight in device memory, as it is in the file.
class CudaMatrix final : public Matrix {
 public:
  CudaMatrix(base::DType the_dtype, std::int64_t outputs, std::int64_t inputs,
             WeightOrder the_order, cudaStream_t stream)
      : Matrix(outputs, inputs),
        dtype(the_dtype),
        order(the_order),
        memory(outputs * inputs * base::size_of(the_dtype), stream) {}
  std::int64_t bytes() const override { return memory.bytes(); }

  const base::DType dtype;
  const WeightOrder order;
  DeviceMemory memory;
};

struct DestroyHandle {
  static cublasLtHandle_t empty() { return nullptr; }
  void operator()(cublasLtHandle_t handle) const noexcept { cublasLtDestroy(handle); }
};

/// All products of one stream.
class Products {
 public:
  /// `stream` must live longer.
  explicit Products(cudaStream_t stream);

  /// Chooses the algorithms for weights with `inputs` inputs whose numbers of outputs are multiples
  /// of `outputs_unit`. The same device and library choose the same on every rank. Throws
  /// Refusal(usage) when cuBLASLt has no algorithm that treats each row alone.
  void prepare(base::DType dtype, std::int64_t inputs, std::int64_t outputs_unit);
  /// y = x w^T, enqueued on the stream. Shapes as in Compute::gemm().
  void multiply(const Tensor& x, const CudaMatrix& w, const Tensor& y);
  /// The version of the library and the algorithms that prepare() has chosen: what bits depend on.
  std::string identity() const;

 private:
  /// What an algorithm is chosen for.
  struct Kind {
    base::DType dtype, y_dtype;
    WeightOrder order;
    std::int64_t inputs;
    auto operator<=>(const Kind&) const = default;
  };
  struct Chosen {
    cublasLtMatmulAlgo_t algorithm;
    int id = 0, tile = 0, stages = 0;
  };
  const Chosen& chosen_for(const Kind& kind, std::int64_t outputs);
  Chosen choose(const Kind& kind, std::int64_t outputs);

  cudaStream_t stream_;
  base::Handle<cublasLtHandle_t, DestroyHandle> handle_;
  DeviceMemory workspace_;
  std::map<Kind, Chosen> chosen_;
};

}  // namespace tetrarch::backend::cuda
