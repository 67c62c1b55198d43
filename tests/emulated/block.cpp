// SPDX-License-Identifier: Apache-2.0
#include "emulated/block.hpp"

#include <cstring>

extern "C" {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
}

namespace tetrarch::emulated {
namespace {

using State = BlockThread::State;

bool is_same(const Place& a, const Place& b) {
  return a.line() == b.line() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

Schedule choose_schedule() {
  const Schedule set = options().schedule;
  return set == Schedule::drawn ? static_cast<Schedule>(draw(static_cast<std::uint32_t>(set)))
                                : set;
}

}  // namespace

KernelOrder::KernelOrder() : threads(most_threads) {
  renew();
}

KernelOrder::~KernelOrder() {
  for (const order::Fiber fiber : threads)
    if (fiber) order::destroy(fiber);
}

void KernelOrder::renew() {
  for (order::Fiber& fiber : threads) {
    if (fiber) order::destroy(fiber);
    fiber = nullptr;
  }
}

Block& block() {
  static Block block;
  return block;
}

bool Block::run(const dim3& extent, KernelOrder& order, const std::function<void()>& body) {
  body_ = &body;
  order_ = &order;
  start(extent);
  scheduler_.run_as(order::current());
  order::release(order.begin);
  run_threads();
  if (given_up_) forget_threads();
  order::acquire(order.end);
  running_ = nullptr;
  return !given_up_;
}

void Block::forget_threads() {
  for (unsigned i = 0; i < num_threads_; ++i) {
    const order::As as_thread(order_->threads[i]);
    order::release(order_->end);
  }
  for (const auto& thread : threads_)
    thread->fiber.restart();
  order_->renew();
}

void Block::start(const dim3& extent) {
  num_threads_ = num_alive_ = extent.x * extent.y * extent.z;
  num_in_barrier_ = votes_ = 0;
  given_up_ = false;
  warps_.assign((num_threads_ + warp_size - 1) / warp_size, Warp{});
  ready_.start(choose_schedule(), num_threads_);
  while (threads_.size() < num_threads_)
    threads_.push_back(std::make_unique<BlockThread>(thread_main));
  for (unsigned i = 0; i < num_threads_; ++i) {
    BlockThread& thread = *threads_[i];
    thread.index = {i % extent.x, i / extent.x % extent.y, i / extent.x / extent.y};
    thread.flat = i;
    thread.lane = i % warp_size;
    thread.warp = i / warp_size;
    thread.state = State::ready;
    if (!order_->threads[i]) order_->threads[i] = order::create();
    thread.fiber.run_as(order_->threads[i]);
    warps_[thread.warp].alive |= 1u << thread.lane;
    ready_.add(&thread);
  }
  ready_.begin_at(draw(static_cast<std::uint32_t>(warps_.size())) * warp_size);
}

void Block::run_threads() {
  while (num_alive_ > 0 && !given_up_) {
    if (ready_.empty()) {
      report_fault("a barrier that not all threads reach: " + who_waits());
      given_up_ = true;
      return;
    }
    BlockThread& thread = *ready_.take();
    resume(thread);
    if (thread.state == State::done && !given_up_) leave(thread);
  }
}

void Block::resume(BlockThread& thread) {
  running_ = &thread;
  threadIdx = thread.index;
  ++counters().switches;
  Fiber::switch_between(scheduler_, thread.fiber);
}

void Block::leave(BlockThread& thread) {
  --num_alive_;
  warps_[thread.warp].alive &= ~(1u << thread.lane);
  if (num_in_barrier_ == 0 || num_in_barrier_ < num_alive_) return;
  report_fault("threads have returned while the others wait in the barrier of " +
               text_of(barrier_place_) + ": " + who_waits());
  given_up_ = true;
}

void Block::thread_main() {
  Block& self = block();
  Fiber::started(self.scheduler_);
  for (;;) {
    order::acquire(self.order_->begin);
    (*self.body_)();
    order::release(self.order_->end);
    self.running_->state = State::done;
    self.wait_for_others();
  }
}

void Block::wait_for_others() {
  Fiber::switch_between(running_->fiber, scheduler_);
}

void Block::report(const std::string& text) const {
  report_fault(text + " (thread " + std::to_string(running_->flat) + ")");
}

void Block::give_up() {
  given_up_ = true;
  for (;;)
    Fiber::switch_between(running_->fiber, scheduler_, Fiber::Leaving::for_ever);
}

unsigned Block::barrier(bool vote, const Place& place) {
  ++counters().barriers;
  running_->place = place;
  if (num_in_barrier_ == 0) {
    barrier_place_ = place;
  } else if (!is_same(barrier_place_, place)) {
    report("divergent barriers: the one of " + text_of(place) + " meets the one of " +
           text_of(barrier_place_));
    give_up();
  }
  order::Token& token = order_->barriers[barrier_parity_];
  order::release(token);
  votes_ += vote ? 1 : 0;
  running_->state = State::in_barrier;
  if (++num_in_barrier_ == num_alive_) {
    if (num_alive_ < num_threads_) {
      report("the barrier of " + text_of(place) + " after some threads have returned");
      give_up();
    }
    open_barrier();
  }
  wait_for_others();
  order::acquire(token);
  return barrier_result_;
}

void Block::open_barrier() {
  barrier_result_ = votes_;
  votes_ = num_in_barrier_ = 0;
  barrier_parity_ ^= 1;
  for (unsigned i = 0; i < num_threads_; ++i) {
    threads_[i]->state = State::ready;
    ready_.add(threads_[i].get());
  }
}

std::string Block::who_waits() const {
  std::string text;
  const auto is_like = [&](unsigned i, unsigned before) {
    return threads_[i]->state == threads_[before]->state &&
           (threads_[i]->state == State::done ||
            is_same(threads_[i]->place, threads_[before]->place));
  };
  for (unsigned i = 0; i < num_threads_; ++i) {
    if (i > 0 && is_like(i, i - 1)) continue;
    const BlockThread& thread = *threads_[i];
    text += (i ? ", from thread " : "from thread ") + std::to_string(i) + " on ";
    text += thread.state == State::done         ? "returned"
            : thread.state == State::in_barrier ? "in the barrier of "
                                                : "in a warp collective of ";
    if (thread.state != State::done) text += text_of(thread.place);
  }
  return text;
}

}  // namespace tetrarch::emulated
