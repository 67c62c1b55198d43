/// Products of rows by weights, by cuBLASLt. One algorithm is fixed for each kind of product, so
/// that the bits of a row depend neither on the number of rows nor on the part of a weight that a
/// rank holds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <tuple>

#include <cublasLt.h>

#include "backend/backend.hpp"
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

  /// Chooses the algorithms for the weights of a model. The same device and library choose the same
  /// on every rank. Throws Refusal(usage) when cuBLASLt has no algorithm that treats each row
  /// alone.
  void prepare(base::DType dtype, std::span<const WholeWeight> weights);
  /// y = x w^T, enqueued on the stream. Shapes as in Compute::gemm().
  void multiply(const Tensor& x, const CudaMatrix& w, const Tensor& y);
  /// The version of the library and the algorithms that prepare() has chosen: what bits depend on.
  std::string identity() const;

 private:
  /// What an algorithm is chosen for. It is the same for all weights with this number of inputs, as
  /// a product does not know which weight its shard was cut from.
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
  const Chosen& chosen_for(const Kind& kind);
  Chosen choose(const Kind& kind);

  cudaStream_t stream_;
  base::Handle<cublasLtHandle_t, DestroyHandle> handle_;
  DeviceMemory workspace_;
  // by number of inputs: a number that divides the outputs of all shards; 1 if it is not known
  std::map<std::int64_t, std::int64_t> outputs_unit_;
  std::map<Kind, Chosen> chosen_;
};

}  // namespace tetrarch::backend::cuda
