/// Switches for tests alone: lesser instruction sets, and faults that a same-bits test must find.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "backend/cpu/kernels/bf16_kernels.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "base/timeline.hpp"

namespace tetrarch::backend::cpu::testing {

/// Uses the kernels of `isa`, which this CPU must have.
void set_isa(simd::Isa isa);

/// Whether this CPU has them and may use them; amx_software: on any x86-64 CPU.
bool has_bf16_kernels(Bf16Kernels kernels);
/// Multiplies bf16 by these, which there must be, whatever oneDNN could do; none: by the choice for
/// this CPU. Those of AVX-512 are used only while set_isa() leaves it.
void set_bf16_kernels(std::optional<Bf16Kernels> kernels);

/// Negative control: attention's key blocks begin at 128 b - shift instead of 128 b. 0 <= shift.
void set_attention_block_shift(std::int64_t shift);

/// Negative control: tree_reduce_scatter_v adds each rank's slices one after another, then
/// the ranks' sums from the last to the first, and rounds each sum, as a plain collective would:
/// bits depend on the number of ranks.
void set_plain_reduction(bool is_on);

/// This process leaves out its `number`-th collective (from 1) in `phase`, of those of tensors that
/// more than one rank takes part in. 0: none.
void set_left_out(base::Phase phase, int number);

/// Tensors go from rank to rank in pieces of about so many bytes; the same on every rank.
void set_piece_bytes(std::int64_t bytes);

/// This process waits for so long before each piece of its next collective of tensors in `phase`.
void set_slow_exchange(base::Phase phase, double seconds);

}  // namespace tetrarch::backend::cpu::testing
