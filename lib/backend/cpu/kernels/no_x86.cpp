// Other CPUs than x86-64 compile this file in place of the kernels for x86-64.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/attention_item.hpp"
#include "backend/cpu/kernels/bf16_kernels.hpp"
#include "backend/cpu/kernels/gemm.hpp"
#include "base/error.hpp"

namespace tetrarch::backend::cpu {
namespace {

constexpr const char* needs_x86 = "an x86-64 CPU for kernels of its instructions";

}  // namespace

CpuFacts read_cpu_facts() {
  return {};
}

std::unique_ptr<GemmFamily> make_bf16_gemm() {
  base::expects(false, needs_x86);
  return nullptr;
}

std::unique_ptr<GemmFamily> make_amx_gemm(TileKind) {
  base::expects(false, needs_x86);
  return nullptr;
}

void attend_item_bf16(const AttentionArgs&, const Item&) {
  base::expects(false, needs_x86);
}

void attend_item_amx(const AttentionArgs&, const Item&, TileKind) {
  base::expects(false, needs_x86);
}

}  // namespace tetrarch::backend::cpu
