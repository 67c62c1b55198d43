// SPDX-License-Identifier: Apache-2.0
#include "emulated/shared_memory.hpp"

#include <array>
#include <string>

#include "emulated/block.hpp"
#include "emulated/bytes.hpp"

namespace tetrarch::emulated {
namespace {

constexpr std::size_t gap_bytes = 32;
constexpr std::size_t most_declarations = 64;
constexpr std::size_t arena_bytes = most_shared_bytes + (most_declarations + 2) * 2 * gap_bytes;

struct Declaration {
  const void* key;
  char* memory;
};

struct SharedMemory {
  alignas(128) std::array<char, arena_bytes> arena;
  std::array<Declaration, most_declarations> declarations;
  std::size_t num_declarations = 0;
  std::size_t used = 0;          // of the arena, with gaps
  std::size_t static_bytes = 0;  // without gaps
  std::size_t dynamic_bytes = 0;

  /// Takes memory after a gap. Its first byte is aligned to `alignment`, which divides 128.
  char* take(std::size_t bytes, std::size_t alignment) {
    used = (used + gap_bytes + alignment - 1) / alignment * alignment;
    char* memory = arena.data() + used;
    used += bytes;
    fill_with_nan(memory, bytes);
    allow(memory, bytes);
    return memory;
  }
};

SharedMemory& shared_memory() {
  static SharedMemory memory;
  return memory;
}

char* dynamic_memory = nullptr;

/// What is wrong with one more declaration; a null pointer if nothing is.
const char* problem_of(const SharedMemory& memory) {
  if (memory.static_bytes > most_shared_bytes_by_default)
    return "SHARED of more than 48 KiB in one kernel";
  if (memory.static_bytes + memory.dynamic_bytes > most_shared_bytes)
    return "more than 227 KiB of shared memory in one kernel";
  if (memory.num_declarations == most_declarations)
    return "more than 64 declarations of shared memory in one kernel";
  return nullptr;
}

}  // namespace

void start_shared_memory(std::size_t dynamic_bytes) {
  SharedMemory& memory = shared_memory();
  memory.num_declarations = memory.used = memory.static_bytes = 0;
  memory.dynamic_bytes = dynamic_bytes;
  forbid(memory.arena.data(), memory.arena.size());
  memory.used = 80;  // so that dynamic memory begins at 112, a multiple of 16 and of nothing more
  dynamic_memory = memory.take(dynamic_bytes, 16);
}

void* static_shared(const void* declaration, std::size_t bytes, std::size_t alignment) {
  SharedMemory& memory = shared_memory();
  for (std::size_t i = 0; i < memory.num_declarations; ++i)
    if (memory.declarations[i].key == declaration) return memory.declarations[i].memory;
  memory.static_bytes += bytes;
  if (const char* problem = problem_of(memory)) {
    block().report(problem);
    block().give_up();
  }
  char* taken = memory.take(bytes, alignment < 8 ? 8 : alignment);
  memory.declarations[memory.num_declarations++] = {declaration, taken};
  return taken;
}

void* dynamic_shared() {
  return dynamic_memory;
}

}  // namespace tetrarch::emulated
