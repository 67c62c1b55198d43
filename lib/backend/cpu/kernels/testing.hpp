/// Switches for tests only: lesser instruction sets, and faults that the same-bits tests must
/// detect. See also mpi/row_exchange_testing.hpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "backend/cpu/kernels/bf16_kernels.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu::testing {

/// Makes this process use the kernels of `isa`. This CPU must have `isa`.
void set_isa(simd::Isa isa);

/// True if this CPU has these kernels and may use them; amx_software: on any x86-64 CPU.
bool has_bf16_kernels(Bf16Kernels kernels);
/// Makes this process multiply bf16 by these kernels, even if oneDNN could; std::nullopt restores
/// the choice for this CPU. This CPU must have them. Kernels that need AVX-512 are used only while
/// the instruction set of set_isa() is v4.
void set_bf16_kernels(std::optional<Bf16Kernels> kernels);

/// A fault that the same-bits tests must detect: attention's key blocks begin at 128 b - shift
/// instead of 128 b. shift >= 0.
void set_attention_block_shift(std::int64_t shift);

/// A fault that the same-bits tests must detect: tree_reduce_scatter_v() adds the slices of each
/// rank one after another, then the sums of the ranks from the last to the first, and rounds each
/// sum. An ordinary reducing collective may do this; the bits then depend on the number of ranks.
void set_plain_reduction(bool is_on);

}  // namespace tetrarch::backend::cpu::testing
