// SPDX-License-Identifier: Apache-2.0
#include "emulated/cublaslt_algorithm.hpp"

#include <algorithm>
#include <iterator>

namespace tetrarch::emulated {
namespace {

constexpr std::uint32_t magic_number = 0x7e7a;
constexpr int ids[] = {21, 66, 24};  // the last: any alignment
constexpr std::uint32_t tiles[] = {CUBLASLT_MATMUL_TILE_64x64, CUBLASLT_MATMUL_TILE_128x128,
                                   CUBLASLT_MATMUL_TILE_128x256};
constexpr std::uint32_t stages[] = {CUBLASLT_MATMUL_STAGES_16x3, CUBLASLT_MATMUL_STAGES_32x4,
                                    CUBLASLT_MATMUL_STAGES_64x4};
constexpr std::uint32_t wide_alignment = 16;

template <class T, std::size_t count>
int index_of(const T (&values)[count], T value) {
  const auto found = std::find(std::begin(values), std::end(values), value);
  return found == std::end(values) ? -1 : static_cast<int>(found - std::begin(values));
}

/// A number that is another one for most other shapes.
std::uint64_t class_of(const Shape& shape) {
  return shape.n * 5 + shape.m * 3 + (shape.n < 64) + (shape.m < 64);
}

bool is_aligned(const Layout& layout, std::uint32_t alignment) {
  return static_cast<std::size_t>(layout.leading_dimension) * layout.element_bytes() % alignment ==
         0;
}

bool are_aligned(const Layouts& layouts, std::uint32_t alignment) {
  return is_aligned(layouts.a, alignment) && is_aligned(layouts.b, alignment) &&
         is_aligned(layouts.c, alignment) && is_aligned(layouts.d, alignment);
}

/// All tiles and stages of one id, beginning with those of the class.
void offer(int id, std::uint64_t first, cudaDataType type, std::vector<Algorithm>& to) {
  constexpr std::uint64_t count = std::size(tiles);
  for (std::uint64_t i = 0; i < count * count; ++i) {
    Algorithm algorithm = make_algorithm(id, type);
    algorithm.tile = tiles[(first + i) % count];
    algorithm.stages = stages[(first / count + i / count) % count];
    algorithm.cluster_shape = static_cast<std::uint16_t>(1 + first % 2);
    to.push_back(algorithm);
  }
}

}  // namespace

cublasStatus_t find_shape(const Product& product, const Layouts& layouts, Shape& shape) {
  const auto& [a, b, c, d] = layouts;
  const bool turns_a = product.transpose_a == CUBLAS_OP_T;
  const bool turns_b = product.transpose_b == CUBLAS_OP_T;
  shape = {d.rows, d.columns, turns_a ? a.rows : a.columns};
  const bool fits =
      (turns_a ? a.columns : a.rows) == shape.m && (turns_b ? b.rows : b.columns) == shape.n &&
      (turns_b ? b.columns : b.rows) == shape.k && c.rows == d.rows && c.columns == d.columns;
  const bool is_valid = a.is_valid() && b.is_valid() && c.is_valid() && d.is_valid();
  const bool is_empty = shape.m == 0 || shape.n == 0 || shape.k == 0;
  return fits && is_valid && !is_empty ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

const std::vector<int>& algorithm_ids() {
  static const std::vector<int> all(std::begin(ids), std::end(ids));
  return all;
}

const std::vector<std::uint32_t>& tile_ids() {
  static const std::vector<std::uint32_t> all(std::begin(tiles), std::end(tiles));
  return all;
}

const std::vector<std::uint32_t>& stages_ids() {
  static const std::vector<std::uint32_t> all(std::begin(stages), std::end(stages));
  return all;
}

Algorithm make_algorithm(int id, cudaDataType type) {
  Algorithm algorithm{};
  algorithm.magic = magic_number;
  algorithm.id = id;
  algorithm.split_k = 1;
  algorithm.type_of_operands = type;
  return algorithm;
}

std::uint32_t needed_alignment(const Algorithm& algorithm) {
  if (algorithm.id != ids[2]) return wide_alignment;
  return algorithm.type_of_operands == CUDA_R_16BF ? 2 : 4;
}

std::size_t needed_workspace(const Algorithm& algorithm, const Shape& shape) {
  constexpr std::size_t always = 4096;  // so that a workspace matters without a split as well
  if (algorithm.split_k <= 1) return algorithm.id == ids[1] ? always : 0;
  return static_cast<std::size_t>(algorithm.split_k) * shape.m * shape.n * sizeof(float);
}

cublasStatus_t check_algorithm(const Algorithm& algorithm, const Layouts& layouts) {
  if (algorithm.type_of_operands != layouts.a.type || layouts.a.type != layouts.b.type)
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool has_scheme = algorithm.reduction_scheme != CUBLASLT_REDUCTION_SCHEME_NONE;
  if (algorithm.split_k < 1 || (algorithm.split_k > 1) != has_scheme)
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool is_known =
      (algorithm.tile == CUBLASLT_MATMUL_TILE_UNDEFINED || index_of(tiles, algorithm.tile) >= 0) &&
      (algorithm.stages == CUBLASLT_MATMUL_STAGES_UNDEFINED ||
       index_of(stages, algorithm.stages) >= 0);
  if (!is_known || algorithm.custom_option != 0 || algorithm.swizzling > 1)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  return are_aligned(layouts, needed_alignment(algorithm)) ? CUBLAS_STATUS_SUCCESS
                                                           : CUBLAS_STATUS_NOT_SUPPORTED;
}

std::vector<Algorithm> offer_algorithms(const Layouts& layouts, const Shape& shape,
                                        const Preference& preference) {
  const std::uint64_t first = class_of(shape);
  const std::uint32_t promised =
      *std::min_element(std::begin(preference.min_alignment), std::end(preference.min_alignment));
  std::vector<Algorithm> offered;
  if (promised >= wide_alignment && are_aligned(layouts, wide_alignment)) {
    offer(ids[first % 2], first, layouts.a.type, offered);
    offer(ids[(first + 1) % 2], first, layouts.a.type, offered);
  } else {
    offer(ids[2], first, layouts.a.type, offered);
  }
  if (preference.reduction_schemes != CUBLASLT_REDUCTION_SCHEME_NONE) {
    Algorithm split = offered.front();
    split.split_k = static_cast<std::int32_t>(2 + first % 3);
    // the lowest one that is allowed
    split.reduction_scheme = preference.reduction_schemes & (~preference.reduction_schemes + 1);
    offered.insert(offered.begin(), split);
  }
  std::erase_if(offered, [&](const Algorithm& algorithm) {
    return needed_workspace(algorithm, shape) > preference.workspace_bytes;
  });
  return offered;
}

Algorithm resolve(Algorithm algorithm, const Shape& shape) {
  const std::uint64_t first = class_of(shape);
  constexpr std::uint64_t count = std::size(tiles);
  if (algorithm.tile == CUBLASLT_MATMUL_TILE_UNDEFINED) algorithm.tile = tiles[first % count];
  if (algorithm.stages == CUBLASLT_MATMUL_STAGES_UNDEFINED)
    algorithm.stages = stages[first / count % count];
  return algorithm;
}

bool read_algorithm(const cublasLtMatmulAlgo_t* from, Algorithm& to) {
  if (!from) return false;
  std::memcpy(&to, from, sizeof to);
  return to.magic == magic_number;
}

void write_algorithm(const Algorithm& from, cublasLtMatmulAlgo_t* to) {
  std::memset(to, 0, sizeof *to);
  std::memcpy(to, &from, sizeof from);
}

Summation summation_of(const Algorithm& algorithm) {
  constexpr int shortest_section = 16;
  return {4 << index_of(ids, algorithm.id), shortest_section << index_of(stages, algorithm.stages),
          index_of(tiles, algorithm.tile)};
}

}  // namespace tetrarch::emulated
