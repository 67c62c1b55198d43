// The choice of bf16 kernels for different CPUs.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "backend/cpu/kernels/testing.hpp"
#include "base/error.hpp"

namespace tetrarch::backend::cpu {
namespace {

constexpr const char* intel = "GenuineIntel";
constexpr const char* amd = "AuthenticAMD";

CpuFacts cpu(const char* vendor, int family, int model, bool has_avx512_bf16 = false,
             bool has_amx = false, const std::string& amx_refusal = "") {
  return {vendor, family, model, has_avx512_bf16, has_amx, amx_refusal};
}

TEST(Bf16Kernels, EachCpuEndsInTheFastestThatItMayUse) {
  struct Case {
    CpuFacts cpu;
    Bf16Kernels kernels;
    bool may_be_onednn = true;
  };
  const Case cases[] = {
      {cpu(intel, 6, 0x8f, true, true), Bf16Kernels::amx},              // Sapphire Rapids
      {cpu(intel, 6, 0xad, true, true), Bf16Kernels::amx},              // Granite Rapids
      {cpu(intel, 6, 0xad, true, false), Bf16Kernels::widened, false},  // with AMX disabled
      {cpu(intel, 6, 0xcf, true, true, "refused"), Bf16Kernels::widened, false},
      {cpu(intel, 6, 0x55, true), Bf16Kernels::avx512_bf16},   // Cooper Lake
      {cpu(intel, 6, 0x55), Bf16Kernels::widened},             // Cascade Lake
      {cpu(amd, 0x19, 0x11, true), Bf16Kernels::avx512_bf16},  // Zen 4
      {cpu(amd, 0x1a, 0x02, true), Bf16Kernels::avx512_bf16},  // Zen 5
      {cpu(amd, 6, 0x8f, true), Bf16Kernels::avx512_bf16},     // the model number of an Intel CPU
      {cpu(amd, 0x19, 0x01), Bf16Kernels::widened},            // Zen 3
      {CpuFacts{}, Bf16Kernels::widened},
  };
  for (const Case& c : cases) {
    const Bf16Choice choice = choose_bf16_kernels(c.cpu);

    EXPECT_EQ(choice.kernels, c.kernels)
        << c.cpu.vendor << " " << c.cpu.family << " " << c.cpu.model;
    EXPECT_EQ(choice.may_be_onednn, c.may_be_onednn) << c.cpu.vendor << " " << c.cpu.model;
    EXPECT_EQ(choice.reason.empty(), c.kernels != Bf16Kernels::widened) << choice.reason;
  }
}

TEST(Bf16Kernels, TheReasonIsTheTrueOne) {
  const auto reason = [](const CpuFacts& facts) { return choose_bf16_kernels(facts).reason; };
  const std::string refusal = "Linux refuses AMX tiles (arch_prctl: Invalid argument)";

  EXPECT_EQ(reason(cpu(amd, 0x19, 0x01)), "this CPU has neither AMX nor AVX512-BF16");
  EXPECT_EQ(reason(cpu(intel, 6, 0x8f, false, true, refusal)),
            "this CPU's AMX cannot be used: " + refusal + ", and it has no AVX512-BF16");
  EXPECT_EQ(
      reason(cpu(intel, 6, 0x8f, true, true, refusal)),
      "this CPU's AMX cannot be used: " + refusal + ", and its AVX512-BF16 is no faster than f32");
  EXPECT_EQ(reason(cpu(intel, 6, 0xaf, true, true, refusal)),
            "this CPU's AMX cannot be used: " + refusal);
  EXPECT_EQ(reason(cpu(intel, 6, 0x8f, true, true)), "");
}

TEST(Bf16Kernels, ATestChoosesAmongThoseThatThereAre) {
  const Bf16Kernels best = active_bf16_kernels();
  for (const auto kernels : {Bf16Kernels::widened, Bf16Kernels::avx512_bf16, Bf16Kernels::amx,
                             Bf16Kernels::amx_software}) {
    if (!testing::has_bf16_kernels(kernels)) {
      EXPECT_THROW(testing::set_bf16_kernels(kernels), base::InternalError);
      continue;
    }
    testing::set_bf16_kernels(kernels);
    EXPECT_EQ(active_bf16_kernels(), kernels);
  }
  testing::set_bf16_kernels({});

  EXPECT_EQ(active_bf16_kernels(), best);
  EXPECT_TRUE(testing::has_bf16_kernels(best));
}

TEST(Bf16Kernels, ThoseOfAvx512AreNotUsedBelowIt) {
  const auto best = simd::active_isa();
  if (best == simd::Isa::any) GTEST_SKIP() << "this CPU has one instruction set";
  testing::set_isa(simd::Isa::any);
  const Bf16Choice choice = active_bf16_choice();
  testing::set_isa(best);

  EXPECT_EQ(choice.kernels, Bf16Kernels::widened);
  if (active_bf16_kernels() != Bf16Kernels::widened) {
    EXPECT_EQ(choice.reason, "the kernels are limited to the instruction set x86-64");
  }
}

}  // namespace
}  // namespace tetrarch::backend::cpu
