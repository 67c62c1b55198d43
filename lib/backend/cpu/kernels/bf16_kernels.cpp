// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/bf16_kernels.hpp"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

#include "backend/cpu/kernels/simd.hpp"
#include "backend/cpu/kernels/testing.hpp"
#include "base/error.hpp"

namespace tetrarch::backend::cpu {
namespace {

struct CpuModel {
  const char* vendor;
  int family, model;
};

/// CPUs on which AVX512-BF16 is not faster than f32: they do one bf16 multiplication per cycle and
/// two f32 multiplications. Measured on Granite Rapids, shape A of tests/bench/prefill.py at 512:
/// 1,020 tokens/s by AVX512-BF16, 1,100 tokens/s as f32. On AMD Zen 4, AVX512-BF16 is twice as
/// fast. CPUs that are not listed were not measured.
constexpr CpuModel no_faster_by_avx512_bf16[] = {
    {"GenuineIntel", 6, 0x8f},  // Sapphire Rapids
    {"GenuineIntel", 6, 0xcf},  // Emerald Rapids
    {"GenuineIntel", 6, 0xad},  // Granite Rapids
    {"GenuineIntel", 6, 0xae},  // Granite Rapids D
};

const Bf16Choice& choice_of_this_cpu() {
  static const Bf16Choice choice = choose_bf16_kernels(read_cpu_facts());
  return choice;
}

constexpr int no_choice = -1;
std::atomic<int> chosen_by_test{no_choice};

}  // namespace

Bf16Choice choose_bf16_kernels(const CpuFacts& cpu) {
  if (cpu.has_amx && cpu.amx_refusal.empty()) return {Bf16Kernels::amx};
  const std::string no_amx =
      cpu.has_amx ? fmt::format("this CPU's AMX cannot be used: {}", cpu.amx_refusal) : "";
  if (!cpu.has_avx512_bf16)
    return {Bf16Kernels::widened, cpu.has_amx ? no_amx + ", and it has no AVX512-BF16"
                                              : "this CPU has neither AMX nor AVX512-BF16"};
  const bool is_slow = std::ranges::any_of(no_faster_by_avx512_bf16, [&](const CpuModel& model) {
    return cpu.vendor == model.vendor && cpu.family == model.family && cpu.model == model.model;
  });
  if (!is_slow) return {Bf16Kernels::avx512_bf16, no_amx};
  return {Bf16Kernels::widened,
          fmt::format("{}, and its AVX512-BF16 is no faster than f32",
                      cpu.has_amx ? no_amx : "this CPU has no AMX"),
          false};
}

Bf16Choice active_bf16_choice() {
  Bf16Choice choice = choice_of_this_cpu();
  if (const int by_test = chosen_by_test; by_test != no_choice)
    choice = {static_cast<Bf16Kernels>(by_test), "chosen by a test"};
  const bool is_of_avx512 =
      choice.kernels == Bf16Kernels::avx512_bf16 || choice.kernels == Bf16Kernels::amx;
  if (is_of_avx512 && simd::active_isa() != simd::Isa::v4)
    return {Bf16Kernels::widened, fmt::format("the kernels are limited to the instruction set {}",
                                              simd::name_of(simd::active_isa()))};
  return choice;
}

Bf16Kernels active_bf16_kernels() {
  if (chosen_by_test == no_choice && simd::active_isa() == simd::Isa::v4)
    return choice_of_this_cpu().kernels;
  return active_bf16_choice().kernels;
}

bool testing::has_bf16_kernels(Bf16Kernels kernels) {
  static const CpuFacts cpu = read_cpu_facts();
  switch (kernels) {
    case Bf16Kernels::widened:
      return true;
    case Bf16Kernels::avx512_bf16:
      return cpu.has_avx512_bf16;
    case Bf16Kernels::amx:
      return cpu.has_amx && cpu.amx_refusal.empty();
    case Bf16Kernels::amx_software:
      return !cpu.vendor.empty();  // x86-64
  }
  return false;
}

void testing::set_bf16_kernels(std::optional<Bf16Kernels> kernels) {
  base::expects(!kernels || has_bf16_kernels(*kernels), "kernels that this CPU has");
  chosen_by_test = kernels ? static_cast<int>(*kernels) : no_choice;
}

}  // namespace tetrarch::backend::cpu
