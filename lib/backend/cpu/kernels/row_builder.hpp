/// A builder that packs each row as it comes, without gathering the rows first.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "backend/compute.hpp"
#include "base/error.hpp"

namespace tetrarch::backend::cpu {

/// Counts the host rows of a `Packed` (a Matrix) as they come. The derived class packs them.
template <class Packed>
class RowBuilder : public MatrixBuilder {
 public:
  void add(const void* rows, std::int64_t count) final {
    const std::int64_t first = done_;
    done_ += count;
    base::expects(done_ <= num_rows(), "no more rows than the weight has");
    if (order_ == WeightOrder::nk)
      pack_outputs(rows, first, done_, *matrix_);
    else
      pack_inputs(rows, first, done_, *matrix_);
  }

  std::unique_ptr<Matrix> take() final {
    base::expects(done_ == num_rows(), "every row of a weight, once");
    return std::move(matrix_);
  }

  /// Packs all rows at once and returns the weight.
  std::unique_ptr<Matrix> take_from(const void* rows) {
    add(rows, num_rows());
    return take();
  }

 protected:
  RowBuilder(std::unique_ptr<Packed> matrix, WeightOrder order)
      : matrix_(std::move(matrix)), order_(order) {}

 private:
  /// Packs the outputs [first, last) from rows [last - first][inputs].
  virtual void pack_outputs(const void* rows, std::int64_t first, std::int64_t last,
                            const Packed& to) = 0;
  /// Packs the inputs [first, last) from rows [last - first][outputs].
  virtual void pack_inputs(const void* rows, std::int64_t first, std::int64_t last,
                           const Packed& to) = 0;

  std::int64_t num_rows() const {
    return order_ == WeightOrder::nk ? matrix_->outputs() : matrix_->inputs();
  }

  std::unique_ptr<Packed> matrix_;
  WeightOrder order_;
  std::int64_t done_ = 0;  // rows
};

}  // namespace tetrarch::backend::cpu
