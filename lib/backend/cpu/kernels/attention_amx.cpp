// Attention of bf16 by tiles, compiled once for AMX tiles and once per instruction set for software
// tiles.
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "backend/cpu/kernels/amx_tiles.hpp"
#include "backend/cpu/kernels/attention_tiles.hpp"
#include "backend/cpu/kernels/soft_tiles.hpp"

namespace tetrarch::backend::cpu {
namespace {

#define TETRARCH_CLONE(name, Tiles, instructions)                                              \
  __attribute__((target(instructions))) void name(const AttentionArgs& args, const Item& item, \
                                                  std::int64_t panels) {                       \
    static thread_local Scratch scratch;                                                       \
    static thread_local std::vector<std::int64_t> bad;                                         \
    TileAttention<Tiles>(args, item, panels, scratch, bad).run();                              \
  }
TETRARCH_CLONE(attend_amx, AmxTiles, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
TETRARCH_CLONE(attend_v4, SoftTiles<16>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
TETRARCH_CLONE(attend_v3, SoftTiles<8>, "avx2,fma")
TETRARCH_CLONE(attend_any, SoftTiles<4>, "sse2")
#undef TETRARCH_CLONE

}  // namespace

void attend_item_amx(const AttentionArgs& args, const Item& item, TileKind tiles) {
  const std::int64_t panels = base::ceil_div((item.end - item.begin) * args.group(), simd::lanes);
  if (tiles == TileKind::amx) return attend_amx(args, item, panels);
  switch (simd::active_isa()) {
    case simd::Isa::v4:
      return attend_v4(args, item, panels);
    case simd::Isa::v3:
      return attend_v3(args, item, panels);
    case simd::Isa::any:
      return attend_any(args, item, panels);
  }
}

}  // namespace tetrarch::backend::cpu
