// Chooses the instruction set that the kernels use in this process.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/simd.hpp"

#include <atomic>

#include "backend/cpu/kernels/testing.hpp"
#include "base/error.hpp"

namespace tetrarch::backend::cpu {
namespace {

#ifdef __x86_64__
constexpr const char* base_name = "x86-64";

simd::Isa best_isa() {
  __builtin_cpu_init();
  const bool has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return simd::Isa::v4;
  return has_v3 ? simd::Isa::v3 : simd::Isa::any;
}
#else
#ifdef __aarch64__
constexpr const char* base_name = "aarch64";
#else
constexpr const char* base_name = "portable vectors";
#endif

simd::Isa best_isa() {
  return simd::Isa::any;
}
#endif

std::atomic<simd::Isa>& chosen_isa() {
  static std::atomic<simd::Isa> chosen{best_isa()};
  return chosen;
}

}  // namespace

namespace simd {

Isa active_isa() {
  return chosen_isa().load(std::memory_order_relaxed);
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::any:
      return base_name;
    case Isa::v3:
      return "x86-64-v3";
    case Isa::v4:
      return "x86-64-v4";
  }
  return "?";
}

}  // namespace simd

void testing::set_isa(simd::Isa isa) {
  base::expects(isa <= best_isa(), "an instruction set that this CPU has");
  chosen_isa() = isa;
}

}  // namespace tetrarch::backend::cpu
