/// Chooses the own kernels that multiply bf16 in this process. Matrix products and attention use
/// the same choice, so that one name tells what their bits depend on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::backend::cpu {

/// The kernels for bf16.
///  widened       no bf16 kernels: bf16 is multiplied as f32, or by oneDNN
///  avx512_bf16   instructions of AVX512-BF16
///  amx           tiles of Intel AMX
///  amx_software  the bits of amx, computed by software tiles; only tests choose it
enum class Bf16Kernels { widened, avx512_bf16, amx, amx_software };
/// The implementation of the tiles: AMX of the CPU, or software.
enum class TileKind { amx, software };

/// The properties of the CPU and the operating system that the choice depends on.
struct CpuFacts {
  std::string vendor;  // "GenuineIntel", "AuthenticAMD", ...; "" if not x86-64
  int family = 0, model = 0;
  bool has_avx512_bf16 = false;
  bool has_amx = false;
  std::string amx_refusal;  // with has_amx: why AMX may not be used; "" if it may
};

/// Reads the properties of this CPU. Requests the permission to use AMX from Linux, for all threads
/// of this process.
CpuFacts read_cpu_facts();

struct Bf16Choice {
  Bf16Kernels kernels = Bf16Kernels::widened;
  std::string reason = {};    // why faster kernels are not used; "" for the fastest
  bool may_be_onednn = true;  // with widened: oneDNN may be faster than the own kernels
};
/// Chooses by a fixed table. It does not measure, because the kernels give different bits and the
/// choice must be the same in every run.
Bf16Choice choose_bf16_kernels(const CpuFacts& cpu);

/// The choice of this process: by its CPU, unless a test has set another one.
Bf16Choice active_bf16_choice();
Bf16Kernels active_bf16_kernels();

}  // namespace tetrarch::backend::cpu
