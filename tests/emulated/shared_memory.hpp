/// The shared memory of the running block: what SHARED and DYNAMIC_SHARED of device.hpp give.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace tetrarch::emulated {

constexpr std::size_t most_shared_bytes = 227 * 1024;  // of a block on compute capability 9.0
constexpr std::size_t most_shared_bytes_by_default = 48 * 1024;  // and of all SHARED of a kernel

/// Before each block: nothing is declared, and all bytes are NaN.
void start_shared_memory(std::size_t dynamic_bytes);
/// The memory of one declaration; `declaration` is an address of its own, the same for all threads.
/// 32 bytes lie between two declarations, which AddressSanitizer watches.
void* static_shared(const void* declaration, std::size_t bytes, std::size_t alignment);
/// Aligned to 16 bytes and no more, as is promised.
void* dynamic_shared();

}  // namespace tetrarch::emulated
