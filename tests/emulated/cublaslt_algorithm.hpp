/// The algorithms of the emulated cublasLt: which there are, and which it offers for a product.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "emulated/cublaslt_types.hpp"

namespace tetrarch::emulated {

/// The four matrices of D = alpha op(A) op(B) + beta C.
struct Layouts {
  Layout a, b, c, d;
};

/// Rows and columns of D, and the length of the sums.
struct Shape {
  std::uint64_t m, n, k;
};
/// CUBLAS_STATUS_INVALID_VALUE if the layouts do not fit each other, or if there is nothing to do.
cublasStatus_t find_shape(const Product& product, const Layouts& layouts, Shape& shape);

/// The ids that there are. The last one takes operands of any alignment, the others of 16 bytes.
const std::vector<int>& algorithm_ids();
/// What they can be configured with.
const std::vector<std::uint32_t>& tile_ids();
const std::vector<std::uint32_t>& stages_ids();
Algorithm make_algorithm(int id, cudaDataType type);
/// The alignment in bytes that the algorithm needs of all operands.
std::uint32_t needed_alignment(const Algorithm& algorithm);
std::size_t needed_workspace(const Algorithm& algorithm, const Shape& shape);
/// Whether the algorithm can compute this product. Tells a configuration that is none from one that
/// is not supported.
cublasStatus_t check_algorithm(const Algorithm& algorithm, const Layouts& layouts);

/// What the heuristic offers, the best one first. It depends on the shape; a split of K comes first
/// wherever the preference lets it.
std::vector<Algorithm> offer_algorithms(const Layouts& layouts, const Shape& shape,
                                        const Preference& preference);
/// With a tile and stages that depend on the shape, where these are not set.
Algorithm resolve(Algorithm algorithm, const Shape& shape);

/// The algorithm inside of the opaque struct. False if there is none.
bool read_algorithm(const cublasLtMatmulAlgo_t* from, Algorithm& to);
void write_algorithm(const Algorithm& from, cublasLtMatmulAlgo_t* to);

/// The order in which an algorithm adds the products of two elements.
struct Summation {
  int num_lanes;       // 4, 8 or 16 partial sums, which take turns
  int section;         // elements after which the partial sums are added to the sum
  int order_of_lanes;  // 0: from the first, 1: from the last, 2: first even and then odd ones
};
Summation summation_of(const Algorithm& algorithm);

}  // namespace tetrarch::emulated
