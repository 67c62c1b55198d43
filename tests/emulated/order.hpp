/// What ThreadSanitizer is told: who runs, and which accesses are ordered.
///
/// The process has one thread for the whole device, so ThreadSanitizer would take all accesses for
/// ordered. Instead each stream, and each thread of a block on each stream, is a ThreadSanitizer
/// fiber of its own. A switch between fibers orders nothing; only a release() by one and a later
/// acquire() of the same token by another do. Without ThreadSanitizer all of this is empty.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#ifdef TETRARCH_EMULATED_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, long bytes);
void __tsan_write_range(void* address, long bytes);
}
#endif

namespace tetrarch::emulated::order {

using Fiber = void*;  // of ThreadSanitizer
/// Only its address counts. ThreadSanitizer tells addresses apart that are 8 bytes away.
struct alignas(8) Token {};

#ifdef TETRARCH_EMULATED_TSAN
inline Fiber current() {
  return __tsan_get_current_fiber();
}
inline Fiber create() {
  return __tsan_create_fiber(0);
}
inline void destroy(Fiber fiber) {
  __tsan_destroy_fiber(fiber);
}
inline void switch_to(Fiber fiber) {
  constexpr unsigned orders_nothing = 1;
  __tsan_switch_to_fiber(fiber, orders_nothing);
}
inline void acquire(Token& token) {
  __tsan_acquire(&token);
}
inline void release(Token& token) {
  __tsan_release(&token);
}
/// An access of a library that ThreadSanitizer does not watch.
inline void note_read(const void* address, std::size_t bytes) {
  __tsan_read_range(const_cast<void*>(address), static_cast<long>(bytes));
}
inline void note_write(void* address, std::size_t bytes) {
  __tsan_write_range(address, static_cast<long>(bytes));
}
#else
inline Fiber current() {
  return nullptr;
}
inline Fiber create() {
  return nullptr;
}
inline void destroy(Fiber) {}
inline void switch_to(Fiber) {}
inline void acquire(Token&) {}
inline void release(Token&) {}
inline void note_read(const void*, std::size_t) {}
inline void note_write(void*, std::size_t) {}
#endif

/// What runs while this lives is taken for work of `fiber`.
class As {
 public:
  explicit As(Fiber fiber) : before_(current()) { switch_to(fiber); }
  ~As() { switch_to(before_); }
  As(const As&) = delete;
  As& operator=(const As&) = delete;

 private:
  Fiber before_;
};

}  // namespace tetrarch::emulated::order
