// cuBLASLt counts in columns: a row-major matrix [rows][columns] is a column-major one of `columns`
// rows. So y = x w^T becomes Y = W X, where Y is [outputs x rows], X is [inputs x rows], and W is
// the weight as it lies in memory: transposed if its order is nk.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/products.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "backend/cuda/check.hpp"

namespace tetrarch::backend::cuda {
namespace {

using base::DType;

constexpr std::int64_t workspace_bytes = std::int64_t{32} << 20;  // what Hopper's kernels ask for
// algorithms are chosen for a product of about this size
constexpr std::int64_t usual_rows = 4096, usual_outputs = 4096;
constexpr int most_candidates = 16;

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

struct DestroyDescription {
  static cublasLtMatmulDesc_t empty() { return nullptr; }
  void operator()(cublasLtMatmulDesc_t it) const noexcept { cublasLtMatmulDescDestroy(it); }
};
struct DestroyLayout {
  static cublasLtMatrixLayout_t empty() { return nullptr; }
  void operator()(cublasLtMatrixLayout_t it) const noexcept { cublasLtMatrixLayoutDestroy(it); }
};
struct DestroyPreference {
  static cublasLtMatmulPreference_t empty() { return nullptr; }
  void operator()(cublasLtMatmulPreference_t it) const noexcept {
    cublasLtMatmulPreferenceDestroy(it);
  }
};
using Layout = base::Handle<cublasLtMatrixLayout_t, DestroyLayout>;

Layout make_layout(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type_of(dtype), static_cast<std::uint64_t>(rows),
                                   static_cast<std::uint64_t>(columns), stride),
        "cublasLtMatrixLayoutCreate");
  return Layout(layout);
}

/// The descriptions that cuBLASLt wants of one product.
struct Problem {
  base::Handle<cublasLtMatmulDesc_t, DestroyDescription> product;
  Layout w, x, y;

  Problem(DType dtype, DType y_dtype, WeightOrder order, std::int64_t rows, std::int64_t outputs,
          std::int64_t inputs) {
    cublasLtMatmulDesc_t made = nullptr;
    // f32 is multiplied as f32: TF32 would need another compute type
    check(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    product = base::Handle<cublasLtMatmulDesc_t, DestroyDescription>(made);
    const bool is_nk = order == WeightOrder::nk;
    const cublasOperation_t operation = is_nk ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublasLtMatmulDescSetAttribute(made, CUBLASLT_MATMUL_DESC_TRANSA, &operation,
                                         sizeof operation),
          "cublasLtMatmulDescSetAttribute");
    w = is_nk ? make_layout(dtype, inputs, outputs, inputs)
              : make_layout(dtype, outputs, inputs, outputs);
    x = make_layout(dtype, inputs, rows, inputs);
    y = make_layout(y_dtype, outputs, rows, outputs);
  }
};

/// The largest power of two up to 16 that divides the bytes of a row: what the addresses of rows
/// are multiples of, wherever a range of rows begins.
std::uint32_t alignment_of(DType dtype, std::int64_t columns) {
  const std::int64_t bytes = columns * base::size_of(dtype);
  std::uint32_t alignment = 16;
  while (bytes % alignment != 0)
    alignment /= 2;
  return alignment;
}

/// Allows no algorithm that cuts the sum of an output into parts: their number depends on the
/// number of rows.
void set_preferences(cublasLtMatmulPreference_t preference, std::uint32_t w_alignment,
                     std::uint32_t x_alignment, std::uint32_t y_alignment) {
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(workspace_bytes));
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, w_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, x_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, y_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, y_alignment);
}

template <class T>
T setting_of(const cublasLtMatmulAlgo_t& algorithm,
             cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  std::size_t written = 0;
  check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written),
        "cublasLtMatmulAlgoConfigGetAttribute");
  return value;
}

/// Algorithms whose order of sums is said to depend on the shape, though they do not split sums.
constexpr std::array varying_ids = {11, 13, 14, 16};

bool treats_rows_alone(const cublasLtMatmulAlgo_t& algorithm) {
  const auto id = setting_of<std::int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_ID);
  return std::ranges::find(varying_ids, id) == varying_ids.end() &&
         setting_of<std::int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
         setting_of<std::uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) ==
             CUBLASLT_REDUCTION_SCHEME_NONE;
}

cublasLtHandle_t make_handle() {
  cublasLtHandle_t handle = nullptr;
  check(cublasLtCreate(&handle), "cublasLtCreate");
  return handle;
}

}  // namespace

Products::Products(cudaStream_t stream)
    : stream_(stream), handle_(make_handle()), workspace_(workspace_bytes, stream) {}

Products::Chosen Products::choose(const Kind& kind) {
  const auto at = outputs_unit_.find(kind.inputs);
  const std::int64_t unit = at == outputs_unit_.end() ? 1 : at->second;
  const std::int64_t outputs = unit * (usual_outputs / unit | 1);  // aligned as `unit`, no better
  const Problem problem(kind.dtype, kind.y_dtype, kind.order, usual_rows, outputs, kind.inputs);
  cublasLtMatmulPreference_t made = nullptr;
  check(cublasLtMatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate");
  const base::Handle<cublasLtMatmulPreference_t, DestroyPreference> preference(made);
  const std::uint32_t x_alignment = alignment_of(kind.dtype, kind.inputs);
  set_preferences(made,
                  kind.order == WeightOrder::nk ? x_alignment : alignment_of(kind.dtype, unit),
                  x_alignment, alignment_of(kind.y_dtype, unit));
  std::array<cublasLtMatmulHeuristicResult_t, most_candidates> found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_.get(), problem.product.get(), problem.w.get(), problem.x.get(), problem.y.get(),
      problem.y.get(), made, most_candidates, found.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED)
    count = 0;
  else
    check(status, "cublasLtMatmulAlgoGetHeuristic");
  for (int i = 0; i < count; ++i) {
    const auto& [algorithm, workspace, state, waves, reserved] = found[static_cast<std::size_t>(i)];
    if (state != CUBLAS_STATUS_SUCCESS || !treats_rows_alone(algorithm)) continue;
    return {algorithm, setting_of<std::int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_ID),
            static_cast<int>(setting_of<std::uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID)),
            static_cast<int>(setting_of<std::uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID))};
  }
  throw base::Refusal(
      base::ExitCode::usage,
      fmt::format("--backend cuda cannot be used (cuBLASLt has no product of {} inputs in {} "
                  "without split sums on this GPU). Use --backend cpu.",
                  kind.inputs, base::name_of(kind.dtype)));
}

const Products::Chosen& Products::chosen_for(const Kind& kind) {
  auto at = chosen_.find(kind);
  if (at == chosen_.end()) at = chosen_.emplace(kind, choose(kind)).first;
  return at->second;
}

void Products::prepare(DType dtype, std::span<const WholeWeight> weights) {
  for (const WholeWeight& weight : weights) {
    std::int64_t& unit = outputs_unit_[weight.inputs];
    const bool is_even = weight.outputs % weight.output_slices == 0;  // a vocabulary may not be
    unit = std::gcd(unit, is_even ? weight.outputs / weight.output_slices : 1);
  }
  for (const auto& [inputs, unit] : outputs_unit_)
    // sums that are not rounded are those of the router and of the head
    for (const auto& [order, y_dtype] : {std::pair{WeightOrder::nk, dtype},
                                         {WeightOrder::nk, DType::f32},
                                         {WeightOrder::kn, dtype}})
      chosen_for({dtype, y_dtype, order, inputs});
}

void Products::multiply(const Tensor& x, const CudaMatrix& w, const Tensor& y) {
  base::expects(x.dtype == w.dtype && (y.dtype == w.dtype || y.dtype == DType::f32),
                "rows in the dtype of the weight");
  if (x.rows == 0) return;
  const Chosen& chosen = chosen_for({w.dtype, y.dtype, w.order, w.inputs()});
  const Problem problem(w.dtype, y.dtype, w.order, x.rows, w.outputs(), w.inputs());
  const float one = 1, zero = 0;
  check(cublasLtMatmul(handle_.get(), problem.product.get(), &one, w.memory.data(), problem.w.get(),
                       x.data, problem.x.get(), &zero, y.data, problem.y.get(), y.data,
                       problem.y.get(), &chosen.algorithm, workspace_.data(), workspace_bytes,
                       stream_),
        "cublasLtMatmul");
}

std::string Products::identity() const {
  std::string text = fmt::format("cublasLt {}", cublasLtGetVersion());
  for (const auto& [kind, chosen] : chosen_)
    text +=
        fmt::format(" {}{}{}:{}/{}/{}", kind.inputs, kind.order == WeightOrder::nk ? "t" : "n",
                    kind.y_dtype == kind.dtype ? "" : "f", chosen.id, chosen.tile, chosen.stages);
  return text;
}

}  // namespace tetrarch::backend::cuda
