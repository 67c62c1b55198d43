/// Which own kernels multiply bf16 in this process: products and attention alike, so that one name
/// says what their bits depend on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::backend::cpu {

/// widened: none; bf16 is multiplied as f32, or by oneDNN.
/// amx_software: the bits of amx by software tiles, which a test alone chooses.
enum class Bf16Kernels { widened, avx512_bf16, amx, amx_software };
/// What kernels by tiles run on.
enum class TileKind { amx, software };

/// What of a CPU, and of the system that it runs, the choice depends on.
struct CpuFacts {
  std::string vendor;  // "GenuineIntel", "AuthenticAMD", ...; "" where there is no such name
  int family = 0, model = 0;
  bool has_avx512_bf16 = false;
  bool has_amx = false;
  std::string amx_refusal;  // why AMX, which the CPU has, may not be used; "": it may
};

/// Of this CPU. Asks the system for AMX's tiles, for all threads of this process.
CpuFacts read_cpu_facts();

struct Bf16Choice {
  Bf16Kernels kernels = Bf16Kernels::widened;
  std::string reason = {};    // why no faster ones; "" of the fastest
  bool may_be_onednn = true;  // widened: oneDNN may be faster than own kernels
};
/// A fixed table, and no measurement: the kernels have different bits.
Bf16Choice choose_bf16_kernels(const CpuFacts& cpu);

/// Of this process: by its CPU, unless a test has chosen otherwise.
Bf16Choice active_bf16_choice();
Bf16Kernels active_bf16_kernels();

}  // namespace tetrarch::backend::cpu
