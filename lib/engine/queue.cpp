// SPDX-License-Identifier: Apache-2.0
#include "engine/queue.hpp"

namespace tetrarch::engine {

DrawBook::DrawBook(std::span<const plan::Microbatch> microbatches,
                   std::function<bool()> stop_requested)
    : microbatches_(microbatches), stop_requested_(std::move(stop_requested)) {}

std::int64_t DrawBook::draw(int instance) {
  const std::lock_guard lock(mutex_);
  if (static_cast<std::size_t>(instance) >= drawn_.size())
    drawn_.resize(static_cast<std::size_t>(instance) + 1);
  Drawn& drawn = drawn_[static_cast<std::size_t>(instance)];
  if (drawn.before >= 0) {
    const plan::Microbatch& microbatch = microbatches_[static_cast<std::size_t>(drawn.before)];
    done_.sequences += static_cast<std::int64_t>(microbatch.sequences.size());
    done_.tokens += microbatch.num_tokens;
  }
  std::int64_t answer = none_left;
  if (!drawn.is_first && stop_requested_()) {
    answer = stopped;
  } else if (next_ < static_cast<std::int64_t>(microbatches_.size())) {
    answer = next_++;
  }
  drawn = {drawn.last, answer, false};
  return answer;
}

DrawBook::Done DrawBook::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

MicrobatchQueue::MicrobatchQueue(const mpi::Communicator& leaders, DrawBook& book)
    : desk_(leaders, [&book](int instance) { return book.draw(instance); }) {}

std::int64_t MicrobatchQueue::next() {
  if (!held_) held_ = desk_.ask();
  if (*held_ < 0) return -1;
  const std::int64_t answer = desk_.ask();
  if (answer == DrawBook::stopped && !is_first_) {
    held_ = answer;
    return -1;
  }
  is_first_ = false;
  return *std::exchange(held_, answer);
}

}  // namespace tetrarch::engine
