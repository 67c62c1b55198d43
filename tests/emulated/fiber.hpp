/// Fibers: stacks of their own that one thread of the operating system switches between.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "emulated/order.hpp"

// TETRARCH_EMULATED_UCONTEXT is for trying on x86-64 what the other CPUs do.
#if defined(__x86_64__) && !defined(TETRARCH_EMULATED_UCONTEXT)
#define TETRARCH_EMULATED_OWN_SWITCH
#else
#include <ucontext.h>
#endif

namespace tetrarch::emulated {

class Fiber {
 public:
  /// The stack on which the caller runs. It can be switched away from, and back to.
  Fiber() = default;
  /// A new stack. The first switch to it calls `entry`, which must not return.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to it calls `entry` again. What stood on the stack is forgotten, without
  /// destructors.
  void restart();
  /// Whom ThreadSanitizer takes for running after the next switch to it.
  void run_as(order::Fiber fiber) { order_ = fiber; }

  enum class Leaving { for_a_while, for_ever };
  /// Goes on in `to`, and returns when somebody switches back.
  static void switch_between(Fiber& from, Fiber& to, Leaving leaving = Leaving::for_a_while);
  /// The first statement of an entry function.
  static void started(Fiber& from);

 private:
  void (*entry_)() = nullptr;
  char* stack_ = nullptr;  // the lowest byte
  std::size_t stack_bytes_ = 0;
  order::Fiber order_ = nullptr;
  void* address_sanitizer_ = nullptr;
#ifdef TETRARCH_EMULATED_OWN_SWITCH
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace tetrarch::emulated
