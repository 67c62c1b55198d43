/// The threads of a block that can run, given out in the order of a schedule.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "emulated/settings.hpp"

namespace tetrarch::emulated {

struct BlockThread;

class ReadyThreads {
 public:
  /// Forgets all threads. No memory is allocated while at most `most` threads are here, because
  /// ThreadSanitizer would take allocations for accesses of the running thread.
  void start(Schedule schedule, std::size_t most);
  void add(BlockThread* thread) { coming_.push_back(thread); }
  bool empty() const { return coming_.empty() && next_ == round_.size(); }
  BlockThread* take();
  /// After all threads were added: the thread at `index` runs first with any_warp_first.
  void begin_at(std::size_t index);

 private:
  BlockThread* take_in_rounds();

  Schedule schedule_ = Schedule::forward;
  std::vector<BlockThread*> coming_;
  std::vector<BlockThread*> round_;  // of the schedules that go around
  std::size_t next_ = 0;             // in round_
};

}  // namespace tetrarch::emulated
