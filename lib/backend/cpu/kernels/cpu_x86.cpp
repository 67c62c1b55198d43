// Reads the properties of an x86-64 CPU and of Linux. The use of AMX tiles needs three things: a
// CPU with AMX, an operating system that saves tiles, and a permission that Linux gives to the
// process. Without the permission, the first tile instruction ends the process. The permission
// holds for all threads; forked processes inherit it; exec drops it. Linux refuses it if a signal
// stack of the process is too small to save the tiles.
// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdint>
#include <cstring>

#include <cpuid.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/cpu/kernels/bf16_kernels.hpp"

namespace tetrarch::backend::cpu {
namespace {

struct CpuId {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

/// Returns zeros if the CPU has no such leaf.
CpuId cpu_id(unsigned leaf, unsigned subleaf = 0) {
  CpuId id;
  if (!__get_cpuid_count(leaf, subleaf, &id.a, &id.b, &id.c, &id.d)) return {};
  return id;
}

bool has_bit(unsigned word, int bit) {
  return (word >> bit & 1u) != 0;
}

std::string vendor() {
  const CpuId id = cpu_id(0);
  std::string name(12, ' ');
  std::memcpy(name.data(), &id.b, 4);
  std::memcpy(name.data() + 4, &id.d, 4);
  std::memcpy(name.data() + 8, &id.c, 4);
  return name;
}

/// The parts of the CPU state that the operating system saves (register XCR0).
std::uint64_t saved_state() {
  constexpr int system_says = 27;  // bit OSXSAVE: the system uses XCR0
  if (!has_bit(cpu_id(1).c, system_says)) return 0;
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

/// True if the CPU has eight tiles of 16 rows of 64 bytes, 8 KiB in total.
bool has_known_tiles() {
  const CpuId palette = cpu_id(0x1d, 1);
  return palette.a == (1024u << 16 | 8192u) && palette.b == (8u << 16 | 64u) &&
         (palette.c & 0xffffu) == 16;
}

/// Requests the permission for tiles from Linux. Returns "" or the reason of the refusal.
std::string ask_for_tiles() {
  constexpr long which = 0x1022, ask = 0x1023, tile_data = 18;  // ARCH_GET_, ARCH_REQ_XCOMP_PERM
  if (syscall(SYS_arch_prctl, ask, tile_data) != 0) {
    const int error = errno;
    const char* const hint = error == EINVAL ? "; Linux 5.16 or later is needed"
                             : error == ENOSPC
                                 ? "; a signal stack of this process is too small for them"
                                 : "";
    return fmt::format("Linux refuses AMX tiles (arch_prctl: {}{})", std::strerror(error), hint);
  }
  std::uint64_t permitted = 0;
  if (syscall(SYS_arch_prctl, which, &permitted) != 0 || (permitted >> tile_data & 1) == 0)
    return "Linux does not confirm the permission for AMX tiles";
  return "";
}

std::string find_amx_refusal() {
  constexpr std::uint64_t tiles = 3u << 17, avx512 = 0xe6;
  const std::uint64_t saved = saved_state();
  if ((saved & tiles) != tiles || (saved & avx512) != avx512)
    return fmt::format(
        "the operating system does not save the state of AMX and AVX-512 (XCR0 {:#x})", saved);
  if (!has_known_tiles()) return "its tiles have unknown sizes";
  return ask_for_tiles();
}

}  // namespace

CpuFacts read_cpu_facts() {
  CpuFacts cpu;
  cpu.vendor = vendor();
  const unsigned version = cpu_id(1).a, family = version >> 8 & 0xfu;
  cpu.family = static_cast<int>(family == 0xf ? family + (version >> 20 & 0xffu) : family);
  cpu.model = static_cast<int>((version >> 4 & 0xfu) | (version >> 12 & 0xf0u));
  __builtin_cpu_init();
  cpu.has_avx512_bf16 = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
  constexpr int amx_bf16 = 22, amx_tile = 24;
  const unsigned features = cpu_id(7).d;
  cpu.has_amx = has_bit(features, amx_bf16) && has_bit(features, amx_tile);
  if (cpu.has_amx)
    cpu.amx_refusal =
        cpu.has_avx512_bf16 ? find_amx_refusal() : "the kernels for AMX also need AVX512-BF16";
  return cpu;
}

}  // namespace tetrarch::backend::cpu
