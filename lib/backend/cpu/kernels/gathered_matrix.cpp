// A builder for families that can pack a weight only as a whole: it gathers all rows first.
// SPDX-License-Identifier: Apache-2.0

#include "backend/cpu/kernels/gemm.hpp"
#include "base/error.hpp"

namespace tetrarch::backend::cpu {
namespace {

class GatheredMatrix final : public MatrixBuilder {
 public:
  GatheredMatrix(GemmFamily& family, base::DType dtype, std::int64_t outputs, std::int64_t inputs,
                 WeightOrder order)
      : family_(family), dtype_(dtype), outputs_(outputs), inputs_(inputs), order_(order) {
    rows_.reserve(static_cast<std::size_t>(outputs * inputs * base::size_of(dtype)));
  }

  void add(const void* rows, std::int64_t count) override {
    const std::int64_t columns = order_ == WeightOrder::nk ? inputs_ : outputs_;
    const auto* from = static_cast<const std::byte*>(rows);
    rows_.insert(rows_.end(), from, from + count * columns * base::size_of(dtype_));
  }

  std::unique_ptr<Matrix> take() override {
    base::expects(std::ssize(rows_) == outputs_ * inputs_ * base::size_of(dtype_),
                  "every row of a weight, once");
    return family_.pack(rows_.data(), dtype_, outputs_, inputs_, order_);
  }

 private:
  GemmFamily& family_;
  base::DType dtype_;
  std::int64_t outputs_, inputs_;
  WeightOrder order_;
  std::vector<std::byte> rows_;
};

}  // namespace

std::unique_ptr<MatrixBuilder> GemmFamily::build(base::DType dtype, std::int64_t outputs,
                                                 std::int64_t inputs, WeightOrder order) {
  return std::make_unique<GatheredMatrix>(*this, dtype, outputs, inputs, order);
}

}  // namespace tetrarch::backend::cpu
