/// The arithmetic of the emulated cublasLt.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "emulated/cublaslt_algorithm.hpp"

namespace tetrarch::emulated {

/// D = alpha op(A) op(B) + beta C, each matrix in column-major order.
struct ProductCall {
  Product product;
  Layouts layouts;
  Shape shape;
  float alpha, beta;
  const void *a, *b, *c;
  void* d;
};

/// Products and sums are f32, rounded one by one. The order of the sums is that of the algorithm,
/// and is the same for all elements of D.
void compute(const ProductCall& call, const Algorithm& algorithm);

}  // namespace tetrarch::emulated
