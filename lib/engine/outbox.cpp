// SPDX-License-Identifier: Apache-2.0
#include "engine/outbox.hpp"

#include <algorithm>
#include <exception>
#include <iterator>
#include <list>
#include <utility>

#include "base/error.hpp"

namespace tetrarch::engine {

Outbox::Outbox(const mpi::Communicator& communicator, std::int64_t most_bytes)
    : communicator_(communicator),
      most_bytes_(most_bytes),
      exceptions_at_start_(std::uncaught_exceptions()) {
  base::expects(most_bytes >= 0, "a number of bytes");
}

Outbox::~Outbox() {
  try {
    if (std::uncaught_exceptions() == exceptions_at_start_) flush();
  } catch (const base::SystemError&) {
    // the job cannot continue; another place reports the error and ends it
  }
  if (sends_.empty()) return;
  // MPI may read these bytes until the process ends, so they are never freed
  static auto* const given_up = new std::list<std::deque<Send>>;
  given_up->push_back(std::move(sends_));
}

void Outbox::post(std::vector<std::byte> bytes, int to, int tag) {
  const std::int64_t size = std::ssize(bytes);
  retire_done();
  while (!sends_.empty() && bytes_under_way_ + size > most_bytes_) {
    wait_for_oldest();
    retire_done();
  }
  Send& send = sends_.emplace_back();
  send.bytes = std::move(bytes);
  bytes_under_way_ += size;
  send.requests = communicator_.start_send(send.bytes, to, tag);
}

void Outbox::flush() {
  while (!sends_.empty())
    wait_for_oldest();
}

void Outbox::wait_for_oldest() {
  for (mpi::Request& request : sends_.front().requests)
    request.wait();
  bytes_under_way_ -= std::ssize(sends_.front().bytes);
  sends_.pop_front();
}

void Outbox::retire_done() {
  std::erase_if(sends_, [&](Send& send) {
    const bool is_done = std::ranges::all_of(send.requests, &mpi::Request::is_done);
    if (is_done) bytes_under_way_ -= std::ssize(send.bytes);
    return is_done;
  });
}

}  // namespace tetrarch::engine
