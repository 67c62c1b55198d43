// Products by oneDNN, versions 2.6 and 3.x. Weights are stored in the layout that oneDNN chooses.
// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "backend/cpu/kernels/gemm.hpp"
#include "backend/cpu/kernels/memory.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;
using dnnl::memory;

// number of rows for which oneDNN chooses the layout of weights
constexpr std::int64_t layout_rows = 512;
constexpr std::size_t most_primitives = 4096;  // most primitives kept; each takes some kilobytes

memory::data_type type_of(DType dtype) {
  return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

memory::desc dense(std::int64_t rows, std::int64_t columns, DType dtype) {
  return {{rows, columns}, type_of(dtype), memory::format_tag::ab};
}

dnnl::matmul::primitive_desc describe(const memory::desc& x, const memory::desc& w,
                                      const memory::desc& y, const dnnl::engine& engine) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, x, w, y};
#else
  return {dnnl::matmul::desc(x, w, y), engine};
#endif
}

/// Runs `call`. Turns oneDNN's errors into NoSuchKernel or SystemError(internal), with oneDNN's
/// text.
template <class Call>
auto guarded(const Call& call) {
  try {
    return call();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) throw NoSuchKernel(error.what());
    throw base::SystemError(base::ExitCode::internal,
                            fmt::format("oneDNN {} failed ({}, status {}).", onednn_version(),
                                        error.what(), static_cast<int>(error.status)));
  }
}

/// A weight [inputs, outputs] in the layout that oneDNN chose.
class PackedMatrix final : public Matrix {
 public:
  PackedMatrix(std::int64_t outputs, std::int64_t inputs, DType dtype, const memory::desc& layout,
               const dnnl::engine& engine)
      : Matrix(outputs, inputs),
        dtype_(dtype),
        memory_(static_cast<std::int64_t>(layout.get_size())),
        packed_(layout, engine, memory_.data()) {}
  std::int64_t bytes() const override { return memory_.bytes(); }
  DType dtype() const { return dtype_; }
  const memory& packed() const { return packed_; }

 private:
  DType dtype_;
  HostMemory memory_;
  memory packed_;
};

struct Kernel {
  dnnl::matmul primitive;
  memory x, y;
  std::string name;
};

class OneDnnGemm final : public GemmFamily {
 public:
  explicit OneDnnGemm(bool demand_brg)
      : demand_brg_(demand_brg), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

  std::string name() const override {
    return fmt::format("oneDNN {} {}", onednn_version(), kernel_name_);
  }

  std::unique_ptr<Matrix> pack(const void* host, DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) override {
    return guarded([&] { return reorder(host, dtype, outputs, inputs, order); });
  }

  std::int64_t packed_bytes(DType dtype, std::int64_t outputs, std::int64_t inputs) const override {
    return guarded(
        [&] { return static_cast<std::int64_t>(layout_of(dtype, outputs, inputs).get_size()); });
  }

  void multiply(std::span<const Product> products) override {
    guarded([&] {
      for (const Product& product : products)
        if (product.x.rows > 0) execute(product);
      stream_.wait();
    });
  }

 private:
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, DType, DType>;

  memory::desc layout_of(DType dtype, std::int64_t outputs, std::int64_t inputs) const {
    const memory::desc any({inputs, outputs}, type_of(dtype), memory::format_tag::any);
    return describe(dense(layout_rows, inputs, dtype), any, dense(layout_rows, outputs, dtype),
                    engine_)
        .weights_desc();
  }

  std::unique_ptr<Matrix> reorder(const void* host, DType dtype, std::int64_t outputs,
                                  std::int64_t inputs, WeightOrder order) {
    const auto tag = order == WeightOrder::nk ? memory::format_tag::ba : memory::format_tag::ab;
    memory from({{inputs, outputs}, type_of(dtype), tag}, engine_, const_cast<void*>(host));
    auto matrix = std::make_unique<PackedMatrix>(outputs, inputs, dtype,
                                                 layout_of(dtype, outputs, inputs), engine_);
    memory to = matrix->packed();
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    return matrix;
  }

  void execute(const Product& product) {
    const auto& w = *static_cast<const PackedMatrix*>(product.w);
    Kernel& kernel = kernel_for(product.x, w, product.y);
    kernel.x.set_data_handle(product.x.data);
    kernel.y.set_data_handle(product.y.data);
    kernel.primitive.execute(
        stream_,
        {{DNNL_ARG_SRC, kernel.x}, {DNNL_ARG_WEIGHTS, w.packed()}, {DNNL_ARG_DST, kernel.y}});
  }

  /// Returns the kernel for such a product; creates it the first time. The key needs no layout:
  /// pack() gives all weights of one shape and dtype the same layout.
  Kernel& kernel_for(const Tensor& x, const PackedMatrix& w, const Tensor& y) {
    base::expects(x.dtype == w.dtype(), "rows of the weight's dtype");
    const Key key{x.rows, w.inputs(), w.outputs(), x.dtype, y.dtype};
    const auto found = kernels_.find(key);
    if (found != kernels_.end()) return found->second;
    if (kernels_.size() >= most_primitives) kernels_.clear();
    const auto from = dense(x.rows, w.inputs(), x.dtype), to = dense(x.rows, w.outputs(), y.dtype);
    const auto chosen = describe(from, w.packed().get_desc(), to, engine_);
    const std::string name = chosen.impl_info_str();
    if (demand_brg_ && !name.starts_with("brg"))
      throw NoSuchKernel(
          fmt::format("oneDNN multiplies {} x {} x {} with {} (only its brg kernels give a row the "
                      "same bits for every number of rows)",
                      x.rows, w.inputs(), w.outputs(), name));
    if (kernel_name_.empty()) kernel_name_ = name;
    return kernels_
        .emplace(key, Kernel{dnnl::matmul(chosen), memory(from, engine_, nullptr),
                             memory(to, engine_, nullptr), name})
        .first->second;
  }

  bool demand_brg_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Key, Kernel> kernels_;
  std::string kernel_name_;
};

}  // namespace

std::unique_ptr<GemmFamily> make_onednn_gemm(bool demand_brg) {
  return std::make_unique<OneDnnGemm>(demand_brg);
}

std::string onednn_version() {
  const dnnl::version_t* version = dnnl::version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

std::string onednn_isa() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "sse41";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx512_core:
      return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512_core_bf16";
    default:
      return fmt::format("isa 0x{:x}", static_cast<unsigned>(dnnl::get_effective_cpu_isa()));
  }
}

}  // namespace tetrarch::backend::cpu
