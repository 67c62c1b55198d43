// Packs weights of bf16 into pairs of inputs.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/pair_matrix.hpp"

#include "backend/cpu/kernels/parallel.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using simd::lanes;

constexpr std::int64_t block_width = PairMatrix::block_panels * lanes;  // outputs

std::uint32_t pair_of(bf16 low, bf16 high) {
  return low.bits | static_cast<std::uint32_t>(high.bits) << 16;
}

/// Packs those outputs of a block that are in [first, last). It takes 64 inputs of each output at a
/// time, so that whole cache lines are read.
void pack_block_outputs(const bf16* rows, std::int64_t first, std::int64_t last,
                        const PairMatrix& to, std::int64_t block) {
  constexpr std::int64_t step = 32;
  const std::int64_t K = to.inputs(), width = to.panels_of(block) * lanes;
  const std::int64_t n0 = block * block_width;
  const std::int64_t begin = std::max(first, n0), end = std::min(last, n0 + width);
  std::uint32_t* out = to.at(block, 0);
  for (std::int64_t pair = 0; pair < to.pairs(); pair += step)
    for (std::int64_t n = begin; n < end; ++n) {
      const bf16* row = rows + (n - first) * K;
      const std::int64_t most = std::min(pair + step, to.pairs());
      for (std::int64_t p = pair; p < most; ++p)
        out[p * width + n - n0] = pair_of(row[2 * p], 2 * p + 1 < K ? row[2 * p + 1] : bf16{});
    }
}

/// Packs the inputs [first, last) of a block. The two inputs of a pair may come in different calls.
void pack_block_inputs(const bf16* rows, std::int64_t first, std::int64_t last,
                       const PairMatrix& to, std::int64_t block) {
  const std::int64_t N = to.outputs(), width = to.panels_of(block) * lanes;
  const std::int64_t n0 = block * block_width, outputs = std::min(width, N - n0);
  for (std::int64_t k = first; k < last;) {
    const bf16* row = rows + (k - first) * N + n0;
    std::uint32_t* out = to.at(block, k / 2);
    const bool is_whole = k % 2 == 0 && k + 1 < last;
    for (std::int64_t n = 0; n < outputs; ++n)
      out[n] = is_whole     ? pair_of(row[n], row[N + n])
               : k % 2 == 0 ? pair_of(row[n], {})
                            : pair_of({static_cast<std::uint16_t>(out[n])}, row[n]);
    k += is_whole ? 2 : 1;
  }
}

}  // namespace

void PairBuilder::pack_outputs(const void* rows, std::int64_t first, std::int64_t last,
                               const PairMatrix& to) {
  const std::int64_t first_block = first / block_width;
  const std::int64_t blocks = base::ceil_div(last, block_width) - first_block;
  for_ranges(blocks, to.inputs() * block_width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = first_block + begin; block < first_block + end; ++block)
      pack_block_outputs(static_cast<const bf16*>(rows), first, last, to, block);
  });
}

void PairBuilder::pack_inputs(const void* rows, std::int64_t first, std::int64_t last,
                              const PairMatrix& to) {
  for_ranges(to.blocks(), (last - first) * block_width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block)
      pack_block_inputs(static_cast<const bf16*>(rows), first, last, to, block);
  });
}

}  // namespace tetrarch::backend::cpu
