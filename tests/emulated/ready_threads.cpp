// SPDX-License-Identifier: Apache-2.0
#include "emulated/ready_threads.hpp"

#include <algorithm>

namespace tetrarch::emulated {

void ReadyThreads::start(Schedule schedule, std::size_t most) {
  schedule_ = schedule;
  coming_.clear();
  round_.clear();
  coming_.reserve(most);
  round_.reserve(most);
  next_ = 0;
}

void ReadyThreads::begin_at(std::size_t index) {
  // take() begins at the end
  if (schedule_ == Schedule::any_warp_first)
    std::rotate(coming_.begin(), coming_.begin() + static_cast<std::ptrdiff_t>(index),
                coming_.end());
}

BlockThread* ReadyThreads::take() {
  if (schedule_ == Schedule::forward || schedule_ == Schedule::backward) return take_in_rounds();
  // The thread that came last is in the warp that ran last, so that this warp goes on.
  if (schedule_ == Schedule::random)
    std::swap(coming_[draw(static_cast<std::uint32_t>(coming_.size()))], coming_.back());
  BlockThread* thread = coming_.back();
  coming_.pop_back();
  return thread;
}

BlockThread* ReadyThreads::take_in_rounds() {
  if (next_ == round_.size()) {
    round_.clear();
    round_.swap(coming_);
    next_ = 0;
    if (schedule_ == Schedule::backward) std::reverse(round_.begin(), round_.end());
  }
  return round_[next_++];
}

}  // namespace tetrarch::emulated
