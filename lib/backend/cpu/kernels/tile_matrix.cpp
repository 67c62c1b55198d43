// Packs weights of bf16 into tiles.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/tile_matrix.hpp"

#include <algorithm>

#include "backend/cpu/kernels/parallel.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using simd::lanes;

/// Packs those outputs of a panel that are in [first, last), tile by tile: 64 bytes of each row of
/// the weight at a time.
void pack_panel_outputs(const bf16* rows, std::int64_t first, std::int64_t last,
                        const TileMatrix& to, std::int64_t panel) {
  const std::int64_t K = to.inputs(), n0 = panel * lanes;
  const std::int64_t begin = std::max(first, n0), end = std::min(last, n0 + lanes);
  for (std::int64_t step = 0; step < to.steps(); ++step) {
    const std::int64_t k0 = step * step_inputs, depth = std::min(step_inputs, K - k0);
    bf16* tile = to.at(panel, step);
    for (std::int64_t n = begin; n < end; ++n) {
      const bf16* row = rows + (n - first) * K + k0;
      bf16* out = tile + (n - n0) * 2;
      for (std::int64_t k = 0; k < depth; ++k)
        out[k / 2 * 2 * lanes + k % 2] = row[k];
    }
  }
}

/// Packs the inputs [first, last) of a panel.
void pack_panel_inputs(const bf16* rows, std::int64_t first, std::int64_t last,
                       const TileMatrix& to, std::int64_t panel) {
  const std::int64_t N = to.outputs(), n0 = panel * lanes;
  const std::int64_t outputs = std::min<std::int64_t>(lanes, N - n0);
  for (std::int64_t k = first; k < last; ++k) {
    const bf16* row = rows + (k - first) * N + n0;
    bf16* out = to.at(panel, k / step_inputs) + k % step_inputs / 2 * 2 * lanes + k % 2;
    for (std::int64_t n = 0; n < outputs; ++n)
      out[2 * n] = row[n];
  }
}

}  // namespace

void TileBuilder::pack_outputs(const void* rows, std::int64_t first, std::int64_t last,
                               const TileMatrix& to) {
  const std::int64_t first_panel = first / lanes;
  const std::int64_t panels = base::ceil_div(last, lanes) - first_panel;
  for_ranges(panels, to.inputs() * lanes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = first_panel + begin; panel < first_panel + end; ++panel)
      pack_panel_outputs(static_cast<const bf16*>(rows), first, last, to, panel);
  });
}

void TileBuilder::pack_inputs(const void* rows, std::int64_t first, std::int64_t last,
                              const TileMatrix& to) {
  for_ranges(to.panels(), (last - first) * lanes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel)
      pack_panel_inputs(static_cast<const bf16*>(rows), first, last, to, panel);
  });
}

}  // namespace tetrarch::backend::cpu
