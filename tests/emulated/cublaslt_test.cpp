// Products are right; their bits depend on the number of rows unless the algorithm is pinned.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <cublasLt.h>
#include <cuda_bf16.h>

#include "emulated/support.hpp"

namespace tetrarch::emulated {
namespace {

constexpr int most_rows = 70, columns = 48, depth = 96;
constexpr std::size_t workspace_bytes = 1 << 20;

template <class T>
constexpr cudaDataType type_of = sizeof(T) == 2 ? CUDA_R_16BF : CUDA_R_32F;

template <class T>
double number(T value) {
  return static_cast<double>(static_cast<float>(value));
}

/// y [rows, columns] = x [rows, depth] w [columns, depth]^T, all row by row. For cublasLt, which
/// has matrices column by column, this is y^T = w x^T.
template <class T>
struct Problem {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;

  explicit Problem(int rows, int leading_dimension_of_y = columns) {
    cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const cublasOperation_t turned = CUBLAS_OP_T;
    cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned);
    cublasLtMatrixLayoutCreate(&w, type_of<T>, depth, columns, depth);
    cublasLtMatrixLayoutCreate(&x, type_of<T>, depth, static_cast<std::uint64_t>(rows), depth);
    cublasLtMatrixLayoutCreate(&y, type_of<T>, columns, static_cast<std::uint64_t>(rows),
                               leading_dimension_of_y);
    cublasLtMatmulPreferenceCreate(&preference);
    const std::uint64_t bytes = workspace_bytes;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &bytes, sizeof bytes);
  }
  ~Problem() {
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatrixLayoutDestroy(y);
    cublasLtMatrixLayoutDestroy(x);
    cublasLtMatrixLayoutDestroy(w);
    cublasLtMatmulDescDestroy(product);
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  void forbid_split() {
    const std::uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                         &none, sizeof none);
  }

  std::vector<cublasLtMatmulAlgo_t> offers() {
    cublasLtMatmulHeuristicResult_t results[16];
    int count = 0;
    cublasLtMatmulAlgoGetHeuristic(nullptr, product, w, x, y, y, preference, 16, results, &count);
    std::vector<cublasLtMatmulAlgo_t> found;
    for (int i = 0; i < count; ++i)
      found.push_back(results[i].algo);
    return found;
  }
};

template <class T>
T config(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  EXPECT_EQ(
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, nullptr),
      CUBLAS_STATUS_SUCCESS);
  return value;
}

/// x and w on the device, and a place for y.
template <class T>
struct Operands {
  OwnStream stream;
  PinnedArray<T> host_x{most_rows * depth}, host_w{columns * depth}, host_y{most_rows * columns};
  DeviceArray<T> x{most_rows * depth}, w{columns * depth}, y{most_rows * columns};
  DeviceArray<char> workspace{workspace_bytes};
  float alpha = 1, beta = 0;

  Operands() {
    unsigned state = 7;
    const auto fill = [&](PinnedArray<T>& array) {
      for (T& value : array) {
        state = state * 1664525u + 1013904223u;
        value = T(static_cast<float>(state >> 8) / 8388608.0f - 1);
      }
    };
    fill(host_x);
    fill(host_w);
    upload(x, host_x, stream);
    upload(w, host_w, stream);
  }

  cublasStatus_t multiply(Problem<T>& problem, const cublasLtMatmulAlgo_t* algorithm) {
    return cublasLtMatmul(nullptr, problem.product, &alpha, w.data, problem.w, x.data, problem.x,
                          &beta, y.data, problem.y, y.data, problem.y, algorithm, workspace.data,
                          workspace_bytes, stream);
  }

  /// The first row of y.
  std::vector<double> first_row(Problem<T>& problem, const cublasLtMatmulAlgo_t* algorithm) {
    EXPECT_EQ(multiply(problem, algorithm), CUBLAS_STATUS_SUCCESS);
    download(host_y, y, stream);
    cudaStreamSynchronize(stream);
    std::vector<double> row(columns);
    for (std::size_t i = 0; i < columns; ++i)
      row[i] = number(host_y[i]);
    return row;
  }
};

template <class T>
void expect_right(double tolerance) {
  Operands<T> operands;
  Problem<T> problem(most_rows);
  const std::vector<cublasLtMatmulAlgo_t> offers = problem.offers();
  ASSERT_FALSE(offers.empty());

  for (const cublasLtMatmulAlgo_t& algorithm : offers) {
    operands.first_row(problem, &algorithm);
    for (std::size_t r = 0; r < most_rows; ++r)
      for (std::size_t c = 0; c < columns; ++c) {
        double expected = 0;
        for (std::size_t i = 0; i < depth; ++i)
          expected +=
              number(operands.host_x[r * depth + i]) * number(operands.host_w[c * depth + i]);
        EXPECT_NEAR(number(operands.host_y[r * columns + c]), expected, tolerance);
      }
  }
}

using CublasLtTest = EmulatedTest;

TEST_F(CublasLtTest, ProductsAreRight) {
  expect_right<float>(1e-4);
  expect_right<__nv_bfloat16>(0.1);  // |y| <= 20: half a unit in the last place is 0.0625
}

TEST_F(CublasLtTest, BetaAddsWhatStoodThere) {
  Operands<float> operands;
  Problem<float> problem(1);
  const auto algorithm = problem.offers().at(1);
  const std::vector<double> once = operands.first_row(problem, &algorithm);

  operands.beta = 1;
  const std::vector<double> twice = operands.first_row(problem, &algorithm);

  for (std::size_t i = 0; i < columns; ++i)
    EXPECT_FLOAT_EQ(static_cast<float>(twice[i]), static_cast<float>(2 * once[i]));
}

/// For how many numbers of rows the first row differs from that of 70 rows.
template <class Choose>
int count_differences(const Choose& choose) {
  Operands<float> operands;
  std::vector<double> first;
  int num_different = 0;
  for (const int rows : {70, 1, 2, 3, 5, 33, 64}) {
    Problem<float> problem(rows);
    problem.forbid_split();
    const cublasLtMatmulAlgo_t* algorithm = choose(problem);
    const std::vector<double> row = operands.first_row(problem, algorithm);
    if (first.empty()) first = row;
    num_different += row != first ? 1 : 0;
  }
  return num_different;
}

TEST_F(CublasLtTest, BitsDependOnTheNumberOfRowsUnlessTheAlgorithmIsPinned) {
  cublasLtMatmulAlgo_t algorithm{};
  const auto by_heuristic = [&](Problem<float>& problem) {
    algorithm = problem.offers().at(0);
    return &algorithm;
  };
  const auto by_library = [](Problem<float>&) -> const cublasLtMatmulAlgo_t* { return nullptr; };
  cublasLtMatmulAlgo_t pinned{};
  bool is_pinned = false;
  const auto by_pin = [&](Problem<float>& problem) {
    if (!is_pinned) pinned = problem.offers().at(0);
    is_pinned = true;
    return &pinned;
  };

  EXPECT_GE(count_differences(by_heuristic), 3);
  EXPECT_GE(count_differences(by_library), 3);
  EXPECT_EQ(count_differences(by_pin), 0);
}

TEST_F(CublasLtTest, AnAlgorithmWithoutTileAndStagesIsNotPinned) {
  int ids[8], count = 0;
  cublasLtMatmulAlgoGetIds(nullptr, CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F,
                           CUDA_R_32F, CUDA_R_32F, 8, ids, &count);
  ASSERT_GT(count, 0);
  cublasLtMatmulAlgo_t algorithm{};
  cublasLtMatmulAlgoInit(nullptr, CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F,
                         CUDA_R_32F, CUDA_R_32F, ids[0], &algorithm);
  const auto by_hand = [&](Problem<float>&) { return &algorithm; };
  EXPECT_GE(count_differences(by_hand), 3);

  std::uint32_t tiles[8], stages[8];
  std::size_t bytes = 0;
  cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_TILE_IDS, tiles, sizeof tiles,
                                    &bytes);
  ASSERT_GT(bytes, 0u);
  cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_STAGES_IDS, stages, sizeof stages,
                                    &bytes);
  ASSERT_GT(bytes, 0u);
  cublasLtMatmulAlgoConfigSetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, tiles, 4);
  cublasLtMatmulAlgoConfigSetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID, stages, 4);
  EXPECT_EQ(count_differences(by_hand), 0);
}

TEST_F(CublasLtTest, SplitKIsOfferedFirstUnlessItIsForbidden) {
  for (int rows = 1; rows <= most_rows; ++rows) {
    Problem<float> problem(rows);
    const auto free = problem.offers().at(0);
    EXPECT_GT(config<std::int32_t>(free, CUBLASLT_ALGO_CONFIG_SPLITK_NUM), 1);
    EXPECT_NE(config<std::uint32_t>(free, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME), 0u);

    problem.forbid_split();
    for (const cublasLtMatmulAlgo_t& algorithm : problem.offers()) {
      EXPECT_EQ(config<std::int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM), 1);
      EXPECT_EQ(config<std::uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME), 0u);
    }
  }
}

TEST_F(CublasLtTest, ASplitNeedsAWorkspaceAndAScheme) {
  Operands<float> operands;
  Problem<float> problem(7);
  cublasLtMatmulAlgo_t split = problem.offers().at(0);
  cublasLtMatmulHeuristicResult_t result{};

  EXPECT_EQ(cublasLtMatmulAlgoCheck(nullptr, problem.product, problem.w, problem.x, problem.y,
                                    problem.y, &split, &result),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_GT(result.workspaceSize, 0u);
  EXPECT_NE(cublasLtMatmul(nullptr, problem.product, &operands.alpha, operands.w.data, problem.w,
                           operands.x.data, problem.x, &operands.beta, operands.y.data, problem.y,
                           operands.y.data, problem.y, &split, nullptr, 0, operands.stream),
            CUBLAS_STATUS_SUCCESS);

  const std::uint32_t none = 0;
  cublasLtMatmulAlgoConfigSetAttribute(&split, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &none, 4);
  EXPECT_NE(cublasLtMatmulAlgoCheck(nullptr, problem.product, problem.w, problem.x, problem.y,
                                    problem.y, &split, &result),
            CUBLAS_STATUS_SUCCESS);
}

TEST_F(CublasLtTest, ShapesMustFitAndNotBeEmpty) {
  Operands<float> operands;
  Problem<float> empty(0), narrow(3, columns - 1), problem(3);
  EXPECT_TRUE(empty.offers().empty());
  EXPECT_TRUE(narrow.offers().empty());
  EXPECT_EQ(operands.multiply(empty, nullptr), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(operands.multiply(narrow, nullptr), CUBLAS_STATUS_INVALID_VALUE);

  const cublasOperation_t not_turned = CUBLAS_OP_N;
  cublasLtMatmulDescSetAttribute(problem.product, CUBLASLT_MATMUL_DESC_TRANSA, &not_turned,
                                 sizeof not_turned);
  EXPECT_EQ(operands.multiply(problem, nullptr), CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(CublasLtTest, SixteenBytesAreTheAlignmentOfMostAlgorithms) {
  Operands<float> operands;
  Problem<float> problem(2), odd(2, columns + 1);
  problem.forbid_split();
  odd.forbid_split();
  const auto algorithm = problem.offers().at(0);

  EXPECT_EQ(cublasLtMatmul(nullptr, problem.product, &operands.alpha, operands.w.data, problem.w,
                           operands.x.data + 1, problem.x, &operands.beta, operands.y.data,
                           problem.y, operands.y.data, problem.y, &algorithm,
                           operands.workspace.data, workspace_bytes, operands.stream),
            CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(operands.multiply(odd, &algorithm), CUBLAS_STATUS_NOT_SUPPORTED);

  const auto of_any_alignment = odd.offers().at(0);
  EXPECT_EQ(operands.multiply(odd, &of_any_alignment), CUBLAS_STATUS_SUCCESS);
}

TEST_F(CublasLtTest, OperandsLieInsideOfAllocations) {
  Operands<float> operands;
  Problem<float> problem(most_rows + 1);
  problem.forbid_split();
  const auto algorithm = problem.offers().at(0);

  EXPECT_NE(operands.multiply(problem, &algorithm), CUBLAS_STATUS_SUCCESS);

  expect_faults("B lies outside of an allocation");
}

TEST_F(CublasLtTest, F32IsNotRoundedToTf32) {
  cublasLtMatmulDesc_t product = nullptr;

  EXPECT_EQ(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F),
            CUBLAS_STATUS_NOT_SUPPORTED);
}

/// Two streams multiply with one workspace. `ordered`: by an event.
void share_workspace(bool is_ordered) {
  Operands<float> operands;
  OwnStream other;
  OwnEvent event;
  DeviceArray<float> y(most_rows * columns);
  Problem<float> problem(3);
  problem.forbid_split();
  const auto algorithm = problem.offers().at(0);

  cudaEventRecord(event, operands.stream);
  cudaStreamWaitEvent(other, event, 0);  // for x and w
  operands.multiply(problem, &algorithm);
  cudaEventRecord(event, operands.stream);
  if (is_ordered) cudaStreamWaitEvent(other, event, 0);
  cublasLtMatmul(nullptr, problem.product, &operands.alpha, operands.w.data, problem.w,
                 operands.x.data, problem.x, &operands.beta, y.data, problem.y, y.data, problem.y,
                 &algorithm, operands.workspace.data, workspace_bytes, other);
  cudaDeviceSynchronize();
}

TEST_F(CublasLtTest, OneWorkspaceForTwoStreamsIsFound) {
  const auto shares = [](bool is_ordered) {
    return [=] {
      share_workspace(is_ordered);
      return true;
    };
  };
  count_wrong(shares(true));
  EXPECT_TRUE(faults_.empty());

  if (has_race_detector) {
    EXPECT_DEATH(count_wrong(shares(false)), "data race");
  } else {
    count_wrong(shares(false));
    expect_faults("its workspace was written by another stream");
  }
}

}  // namespace
}  // namespace tetrarch::emulated
