// SPDX-License-Identifier: Apache-2.0
#include "emulated/fiber.hpp"

#include <new>

#include <sys/mman.h>

#include "emulated/bytes.hpp"

#ifdef TETRARCH_EMULATED_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef TETRARCH_EMULATED_OWN_SWITCH
// void tetrarch_emulated_switch(void** save, void* load): keeps on the stack what the System V ABI
// wants kept (six registers and the control words of floating point), and exchanges the stacks.
// A tenth of the time of swapcontext, which makes two system calls.
asm(R"(
.text
.globl tetrarch_emulated_switch
.type tetrarch_emulated_switch,@function
tetrarch_emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  subq $8, %rsp
  stmxcsr (%rsp)
  fnstcw 4(%rsp)
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  ldmxcsr (%rsp)
  fldcw 4(%rsp)
  addq $8, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tetrarch_emulated_switch,.-tetrarch_emulated_switch
)");
extern "C" void tetrarch_emulated_switch(void** save, void* load);
#endif

namespace tetrarch::emulated {
namespace {

constexpr std::size_t stack_bytes = 256 * 1024;
constexpr std::size_t guard_bytes = 4096;  // below the stack, so that an overflow crashes

#ifdef TETRARCH_EMULATED_OWN_SWITCH
/// A stack from which tetrarch_emulated_switch returns into `entry`.
void* first_stack_pointer(char* end_of_stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(end_of_stack - 64);
  *--top = nullptr;  // the address to which entry would return
  *--top = reinterpret_cast<void*>(entry);
  constexpr int registers = 6;
  for (int i = 0; i < registers; ++i)
    *--top = nullptr;
  unsigned* control = reinterpret_cast<unsigned*>(--top);
  control[0] = 0x1f80;  // MXCSR and x87 as at the start of a process
  control[1] = 0x037f;
  return top;
}
#endif

}  // namespace

Fiber::Fiber(void (*entry)()) : entry_(entry), stack_bytes_(stack_bytes) {
  void* memory = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, guard_bytes, PROT_NONE);
  stack_ = static_cast<char*>(memory) + guard_bytes;
  restart();
}

Fiber::~Fiber() {
  if (entry_) munmap(stack_ - guard_bytes, guard_bytes + stack_bytes_);
}

void Fiber::restart() {
  allow(stack_, stack_bytes_);
  address_sanitizer_ = nullptr;
#ifdef TETRARCH_EMULATED_OWN_SWITCH
  stack_pointer_ = first_stack_pointer(stack_ + stack_bytes_, entry_);
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = stack_bytes_;
  context_.uc_link = nullptr;
  makecontext(&context_, entry_, 0);
#endif
}

void Fiber::switch_between(Fiber& from, Fiber& to, Leaving leaving) {
  order::switch_to(to.order_);
#ifdef TETRARCH_EMULATED_ASAN
  void** kept = leaving == Leaving::for_ever ? nullptr : &from.address_sanitizer_;
  __sanitizer_start_switch_fiber(kept, to.stack_, to.stack_bytes_);
#else
  (void)leaving;
#endif
#ifdef TETRARCH_EMULATED_OWN_SWITCH
  tetrarch_emulated_switch(&from.stack_pointer_, to.stack_pointer_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
#ifdef TETRARCH_EMULATED_ASAN
  __sanitizer_finish_switch_fiber(from.address_sanitizer_, nullptr, nullptr);
#endif
}

void Fiber::started(Fiber& from) {
#ifdef TETRARCH_EMULATED_ASAN
  // The bounds of the stack that was left: those of the process are known only from here.
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  if (!from.entry_) {
    from.stack_ = static_cast<char*>(const_cast<void*>(bottom));
    from.stack_bytes_ = bytes;
  }
#else
  (void)from;
#endif
}

}  // namespace tetrarch::emulated
