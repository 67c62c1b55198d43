// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/memory.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <sys/mman.h>

#include "backend/cpu/kernels/parallel.hpp"
#include "base/text.hpp"

namespace tetrarch::backend::cpu {
namespace {

constexpr std::int64_t alignment = 64;
constexpr std::int64_t huge_page = 2 << 20;
// address space of a process on x86-64
constexpr std::int64_t address_space = std::int64_t{1} << 47;

std::atomic<std::int64_t> alive = 0;

/// Asks the system for huge pages; it may decline. Weights are read from end to end, and with small
/// pages this takes up to a tenth longer.
void prefer_huge_pages(std::byte* data, std::int64_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const auto skipped = static_cast<std::int64_t>(huge_page - address % huge_page) % huge_page;
  const std::int64_t whole = (bytes - skipped) / huge_page * huge_page;
  if (whole > 0) madvise(data + skipped, static_cast<std::size_t>(whole), MADV_HUGEPAGE);
}

void* allocate_aligned(std::int64_t bytes) {
  base::expects(bytes >= 0, "a number of bytes that is not negative");
  void* data = nullptr;
  if (bytes < address_space)
    data = std::aligned_alloc(alignment,
                              static_cast<std::size_t>((bytes / alignment + 1) * alignment));
  if (data != nullptr) prefer_huge_pages(static_cast<std::byte*>(data), bytes);
  if (data == nullptr)
    throw base::SystemError(
        base::ExitCode::resources,
        fmt::format("out of memory (the system refused {}, {} bytes, to this rank). Use more "
                    "ranks, fewer ranks per node, or fewer tokens per microbatch.",
                    base::bytes_text(bytes), bytes));
  return data;
}

}  // namespace

HostMemory::HostMemory(std::int64_t bytes) : bytes_(bytes), data_(allocate_aligned(bytes)) {
  alive += bytes;
  auto* begin = static_cast<std::byte*>(data_);
  for_ranges(bytes, 1, [&](std::int64_t from, std::int64_t to) {
    std::memset(begin + from, 0, static_cast<std::size_t>(to - from));
  });
}

HostMemory::~HostMemory() {
  alive -= bytes_;
  std::free(data_);
}

std::int64_t HostMemory::bytes_alive() {
  return alive;
}

}  // namespace tetrarch::backend::cpu
