/// Bytes that the emulated device writes itself, unseen by the sanitizers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#ifdef TETRARCH_EMULATED_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tetrarch::emulated {

/// Sets all bytes to 255, which is NaN in bf16 and f32, and -1 as an integer. An instruction of the
/// CPU rather than memset, which the sanitizers would take for an access of the program.
inline void fill_with_nan(void* address, std::size_t count) {
#ifdef __x86_64__
  asm volatile("rep stosb" : "+D"(address), "+c"(count) : "a"(0xff) : "memory");
#else
  volatile unsigned char* bytes = static_cast<unsigned char*>(address);
  for (std::size_t i = 0; i < count; ++i)
    bytes[i] = 0xff;
#endif
}

/// AddressSanitizer reports each access to these bytes, until they are allowed.
inline void forbid(const void* address, std::size_t count) {
#ifdef TETRARCH_EMULATED_ASAN
  __asan_poison_memory_region(address, count);
#else
  (void)address, (void)count;
#endif
}

inline void allow(const void* address, std::size_t count) {
#ifdef TETRARCH_EMULATED_ASAN
  __asan_unpoison_memory_region(address, count);
#else
  (void)address, (void)count;
#endif
}

}  // namespace tetrarch::emulated
