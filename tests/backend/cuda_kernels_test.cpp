// Every CUDA kernel has the bits of the CPU's. Attention has a test of its own.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <vector>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/rows.hpp"
#include "backend/cuda/kernels/tree_sum.hpp"
#include "backend/cuda/kernels/vocabulary.hpp"
#include "backend/device_arrays.hpp"

namespace tetrarch::backend::cuda {
namespace {

/// Pseudo-random numbers below `bound`.
class Draw {
 public:
  explicit Draw(std::uint32_t seed) : state_(seed * 2654435761u + 1) {}
  std::int32_t operator()(std::int64_t bound) {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<std::int32_t>((state_ >> 8) % static_cast<std::uint32_t>(bound));
  }

 private:
  std::uint32_t state_;
};

using RowKernels = KernelTest;
using ExpertKernels = KernelTest;
using SumKernels = KernelTest;
using VocabularyKernels = KernelTest;

TEST_F(RowKernels, NormsAreThoseOfTheCpu) {
  for (const DType dtype : dtypes)
    for (const std::int64_t columns : {1, 7, 8, 15, 16, 17, 63, 64, 65, 72, 128, 200, 333, 1024})
      for (const std::int64_t rows : {0, 1, 3, 37})
        for (const std::int64_t skip : {0, 1}) {
          const Array x = nasty(dtype, rows, columns, 1, true);
          const Array weight = nasty(dtype, 1, columns, 2);
          Array y(dtype, rows, columns);
          compute_.rms_norm(x, weight, 1e-5f, y);
          const OnDevice on_device(x, skip), device_weight(weight), result(y);

          rms_norm(stream(), on_device, device_weight, 1e-5f, result);
          EXPECT_TRUE(has_bits_of(y, result)) << columns << " columns, skip " << skip;

          rms_norm(stream(), on_device, device_weight, 1e-5f, on_device);
          EXPECT_TRUE(has_bits_of(y, on_device)) << columns << " columns, in place, skip " << skip;
        }
}

TEST_F(RowKernels, MoreRowsThanBlocksAreDone) {
  const std::int64_t rows = 70'000;
  const Array x = nasty(DType::f32, rows, 3, 3);
  const Array weight = nasty(DType::f32, 1, 3, 4);
  std::vector<std::int32_t> backwards(rows);
  for (std::int64_t row = 0; row < rows; ++row)
    backwards[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(rows - 1 - row);
  const Array index = Array::of_ints(rows, 1, backwards);
  Array y(DType::f32, rows, 3);
  compute_.permute_rows(x, index, y);
  const OnDevice from(x), device_index(index), to(Array(DType::f32, rows, 3));

  permute_rows(stream(), from, device_index, to);

  EXPECT_TRUE(has_bits_of(y, to));
}

TEST_F(RowKernels, RotationsAreThoseOfTheCpu) {
  for (const DType dtype : dtypes)
    for (const auto& [head_size, half] : {std::pair<std::int64_t, std::int64_t>{64, 32},
                                          {128, 64},
                                          {16, 8},
                                          {10, 5},
                                          {24, 8},
                                          {6, 1},
                                          {8, 0},
                                          {36, 18}})
      for (const std::int64_t rows : {0, 1, 5})
        for (const std::int64_t skip : {0, 1}) {
          Array x = nasty(dtype, rows, 3 * head_size, 5, true);
          const Array cosine = Array::random(DType::f32, 11, half, 6);
          const Array sine = Array::random(DType::f32, 11, half, 7);
          Draw draw(8);
          std::vector<std::int32_t> positions(static_cast<std::size_t>(rows));
          std::ranges::generate(positions, [&] { return draw(11); });
          const Array position = Array::of_ints(rows, 1, positions);
          const OnDevice on_device(x, skip), at(position), c(cosine), s(sine);
          compute_.rope(x, head_size, position, cosine, sine);

          rope(stream(), on_device, head_size, at, c, s);

          EXPECT_TRUE(has_bits_of(x, on_device)) << head_size << " " << half << " skip " << skip;
        }
}

TEST_F(RowKernels, RowsThatAreNotFiniteAreFound) {
  for (const DType dtype : dtypes)
    for (const std::int64_t columns : {0, 1, 8, 31, 256, 1000})
      for (const std::int64_t rows : {0, 1, 65}) {
        const Array x = nasty(dtype, rows, columns, 9, true);
        Array flag(DType::i32, rows, 1);
        compute_.row_is_finite(x, flag);
        const OnDevice on_device(x), result(Array(DType::i32, rows, 1));

        row_is_finite(stream(), on_device, result);

        EXPECT_TRUE(has_bits_of(flag, result)) << columns << " columns";
      }
}

TEST_F(ExpertKernels, ChoicesAndGateWeightsAreThoseOfTheCpu) {
  for (const std::int64_t experts : {1, 4, 16, 17, 60, 128, 200, 1024})
    for (const std::int64_t k : {1, 2, 8})
      for (const std::int64_t rows : {0, 1, 19}) {
        if (k > experts) continue;
        Array logits = nasty(DType::f32, rows, experts, 10);
        Draw draw(static_cast<std::uint32_t>(experts));
        for (std::int64_t i = 0; i < logits.size(); ++i)  // ties, small differences
          if (draw(3) == 0) logits.set(i, static_cast<float>(draw(4)));
        if (rows > 4)
          for (std::int64_t e = 0; e < experts; ++e) {
            logits.set(experts + e, -infinity);
            logits.set(2 * experts + e, draw(2) == 0 ? not_a_number : 1.0f);
            logits.set(3 * experts + e, e == experts / 2 ? infinity : 1.0f);
          }
        for (const bool renormalise : {false, true}) {
          Array expert_id(DType::i32, rows, k), gate_weight(DType::f32, rows, k);
          compute_.softmax_top_k(logits, renormalise, 2.5f, expert_id, gate_weight);
          const OnDevice on_device(logits), id(Array(DType::i32, rows, k)),
              weight(Array(DType::f32, rows, k));

          softmax_top_k(stream(), on_device, renormalise, 2.5f, id, weight);

          EXPECT_TRUE(has_bits_of(expert_id, id)) << experts << " experts, top " << k;
          EXPECT_TRUE(has_bits_of(gate_weight, weight)) << experts << " experts, top " << k;
        }
      }
}

TEST_F(ExpertKernels, CopiesAreGroupedAsOnTheCpu) {
  for (const std::int64_t experts : {1, 16, 130})
    for (const std::int64_t k : {1, 2, 5})
      for (const std::int64_t rows : {0, 1, 33, 512, 1300})
        for (const int none : {0, 3}) {  // one of `none` ids is no copy
          Draw draw(static_cast<std::uint32_t>(rows + experts));
          std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * k));
          std::int64_t copies = 0;
          for (std::int32_t& id : ids) {
            id = none > 0 && draw(none) == 0 ? -1 : std::min(draw(experts), draw(experts));
            copies += id >= 0;
          }
          const Array expert_id = Array::of_ints(rows, k, ids);
          Array order(DType::i32, copies, 1), position(DType::i32, rows, k);
          Array count(DType::i32, 1, experts);
          compute_.group_by_expert(expert_id, order, position, count);
          const OnDevice on_device(expert_id), device_order(Array(DType::i32, copies, 1)),
              device_position(Array(DType::i32, rows, k)),
              device_count(Array(DType::i32, 1, experts));
          const DeviceBytes workspace(grouping_bytes(rows, k, experts));

          group_by_expert(stream(), on_device, device_order, device_position, device_count,
                          workspace.data());

          EXPECT_TRUE(has_bits_of(order, device_order)) << experts << " experts, top " << k;
          EXPECT_TRUE(has_bits_of(position, device_position)) << experts << " experts, top " << k;
          EXPECT_TRUE(has_bits_of(count, device_count)) << experts << " experts, top " << k;
        }
}

TEST_F(ExpertKernels, RowsArePermutedAndCombinedAsOnTheCpu) {
  for (const DType dtype : dtypes)
    for (const std::int64_t columns : {1, 8, 17, 64, 1032})
      for (const std::int64_t rows : {0, 1, 9})
        for (const std::int64_t k : {1, 2, 7})
          for (const std::int64_t skip : {0, 1}) {
            const std::int64_t copies = 13;
            const Array from = nasty(dtype, copies, columns, 11, true);
            Draw draw(static_cast<std::uint32_t>(columns + k));
            std::vector<std::int32_t> at(static_cast<std::size_t>(rows * k));
            std::ranges::generate(at, [&] { return draw(4) == 0 ? -1 : draw(copies); });
            const Array position = Array::of_ints(rows, k, at);
            const Array weight = Array::random(DType::f32, rows, k, 12);
            const Array residual = nasty(dtype, rows, columns, 13);
            const OnDevice device_from(from, skip), device_position(position),
                device_weight(weight), device_residual(residual, skip);
            for (const bool with_residual : {false, true}) {
              Array out(dtype, rows, columns);
              const OnDevice result(out, skip);
              compute_.combine(from, position, weight, with_residual ? residual.tensor() : Tensor{},
                               out);
              combine(stream(), device_from, device_position, device_weight,
                      with_residual ? device_residual.tensor() : Tensor{}, result);
              EXPECT_TRUE(has_bits_of(out, result)) << columns << " columns, top " << k;
            }
            for (std::int32_t& index : at)
              index = std::max(index, 0);
            const Array index = Array::of_ints(rows * k, 1, at);
            Array to(dtype, rows * k, columns);
            const OnDevice result(to, skip), device_index(index);
            compute_.permute_rows(from, index, to);
            permute_rows(stream(), device_from, device_index, result);
            EXPECT_TRUE(has_bits_of(to, result)) << columns << " columns";
          }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#else
constexpr bool is_sanitized = false;
#endif

/// The CPU's compiler fuses 1 + exp() unless a sanitizer is on, and 1 + erf only at -O3. Where it
/// does not, a result differs in its last bits, and far below 0 in more of them, because e^u grows
/// faster than u. A result of bf16 may then round to the other side,
/// and so may its product.
float tolerance_of(ActivationKind kind, DType dtype) {
  if (kind != ActivationKind::gelu && !is_sanitized) return 0;
  return dtype == DType::f32 ? 2e-5f : 0x1p-6f;
}

TEST_F(ExpertKernels, ActivationsAreThoseOfTheCpu) {
  for (const DType dtype : dtypes)
    for (const auto kind : {ActivationKind::silu, ActivationKind::gelu_tanh, ActivationKind::gelu})
      for (const auto& [slices, columns] :
           {std::pair<std::int64_t, std::int64_t>{1, 1}, {1, 100}, {4, 64}, {2, 13}, {4, 1200}})
        for (const std::int64_t rows : {0, 1, 5}) {
          Array gate = nasty(dtype, rows, slices * columns, 14, true);
          for (std::int64_t i = 0; i < gate.size(); i += 3)
            gate.set(i, gate[i] * 30);
          const Array up = nasty(dtype, rows, slices * columns, 15);
          const OnDevice device_gate(gate), device_up(up);
          for (const bool with_up : {false, true}) {
            Array out(dtype, rows, columns, slices);
            const OnDevice result(out);
            cpu::activation(gate, with_up ? up.tensor() : Tensor{}, kind, out);
            activation(stream(), device_gate, with_up ? device_up.tensor() : Tensor{}, kind,
                       result);
            const float tolerance = tolerance_of(kind, dtype);
            EXPECT_TRUE(has_bits_of(out, result, tolerance))
                << "kind " << static_cast<int>(kind) << ", " << slices << " * " << columns;
          }
        }
}

TEST_F(SumKernels, TreesAreThoseOfTheCpu) {
  for (const DType dtype : dtypes)
    for (const std::int64_t slices : {1, 2, 4, 8})
      for (const std::int64_t columns : {1, 8, 17, 1024})
        for (const std::int64_t rows : {0, 1, 7}) {
          const Array from = nasty(dtype, rows + 2, columns, 16, true, slices);
          const Array residual = nasty(dtype, rows, columns, 17);
          Draw draw(18);
          std::vector<std::int32_t> at(static_cast<std::size_t>(rows));
          std::ranges::generate(at, [&] { return draw(rows + 2); });
          const Array index = Array::of_ints(rows, 1, at);
          const OnDevice device_from(from), device_residual(residual), device_index(index);
          for (const bool with_index : {false, true})
            for (const bool with_residual : {false, true}) {
              Array out(dtype, rows, columns);
              const OnDevice result(out);
              cpu::tree_sum(from, with_index ? index.tensor() : Tensor{},
                            with_residual ? residual.tensor() : Tensor{}, out);
              tree_sum(stream(), device_from, with_index ? device_index.tensor() : Tensor{},
                       with_residual ? device_residual.tensor() : Tensor{}, result);
              EXPECT_TRUE(has_bits_of(out, result)) << slices << " slices, " << columns;
            }
        }
}

/// Logits with ties, and rows of -infinity, of NaN, and with +infinity.
Array nasty_logits(std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
  Array logits = Array::random(DType::f32, rows, columns, seed, 10);
  Draw draw(seed);
  for (std::int64_t i = 0; i < logits.size(); ++i) {
    if (draw(4) == 0) logits.set(i, static_cast<float>(draw(3)) + 7);
    if (draw(50) == 0) logits.set(i, draw(2) == 0 ? 0.0f : -0.0f);
    const std::int64_t row = i / columns;
    if (row % 7 == 2) logits.set(i, -infinity);
    if (row % 7 == 3) logits.set(i, not_a_number);
    if (row % 7 == 4 && draw(5) == 0) logits.set(i, draw(2) == 0 ? infinity : not_a_number);
    if (row % 7 == 5 && draw(2) == 0) logits.set(i, -infinity);
  }
  return logits;
}

TEST_F(VocabularyKernels, StatisticsAreThoseOfTheCpu) {
  for (const auto& slices : std::vector<std::vector<std::int64_t>>{
           {1}, {16}, {100}, {33, 33, 32, 0}, {1000, 1000}, {0}, {5, 1, 47}})
    for (const std::int64_t rows : {0, 1, 15}) {
      const auto columns = std::accumulate(slices.begin(), slices.end(), std::int64_t{0});
      const auto num_slices = static_cast<std::int64_t>(slices.size());
      const Array logits = nasty_logits(rows, columns, 19);
      Draw draw(20);
      std::vector<std::int32_t> targets(static_cast<std::size_t>(rows));
      std::ranges::generate(targets, [&] { return draw(columns + 40); });
      const Array target = Array::of_ints(rows, 1, targets);
      Array stats(DType::i32, rows, 4 * num_slices);
      compute_.vocabulary_stats(logits, slices, 20, target, stats);
      const OnDevice on_device(logits), device_target(target),
          result(Array(DType::i32, rows, 4 * num_slices));

      vocabulary_stats(stream(), on_device, slices, 20, device_target, result);

      const Array actual = result.download();
      for (std::int64_t i = 0; i < stats.size(); ++i) {
        const auto is = std::bit_cast<std::uint32_t>(actual.integer(i));
        const auto must_be = std::bit_cast<std::uint32_t>(stats.integer(i));
        EXPECT_TRUE(is == must_be || (i % 4 != 2 && is_nan(is) && is_nan(must_be)))
            << "row " << i / 4 / num_slices << ", number " << i % (4 * num_slices) << " of "
            << columns << " columns: " << is << ", not " << must_be;
      }
    }
}

TEST_F(VocabularyKernels, LargestLogitsAreThoseOfTheCpu) {
  for (const std::int64_t columns : {0, 1, 5, 64, 700, 1500})
    for (const std::int64_t k : {1, 2, 20})
      for (const std::int64_t rows : {0, 1, 14}) {
        const Array logits = nasty_logits(rows, columns, 21);
        Array top(DType::i32, rows, 2 * k);
        compute_.largest_logits(logits, 1000, top);
        const OnDevice on_device(logits), result(Array(DType::i32, rows, 2 * k));

        largest_logits(stream(), on_device, 1000, result);

        EXPECT_TRUE(has_bits_of(top, result)) << columns << " columns, top " << k;
      }
}

}  // namespace
}  // namespace tetrarch::backend::cuda
