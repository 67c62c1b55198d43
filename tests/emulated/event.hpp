/// Events: marks in streams.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>

#include <cuda_runtime_api.h>

#include "emulated/order.hpp"

namespace tetrarch::emulated {

/// One call of cudaEventRecord. A later one makes a new record; who waits for the old one goes on
/// to wait for that.
struct EventRecord {
  bool is_reached = false;
  std::chrono::steady_clock::time_point time;
  order::Token token;
};

struct Event {
  bool has_timing = true;
  std::shared_ptr<EventRecord> last;  // empty: never recorded
};

cudaEvent_t create_event(bool has_timing);
/// A null pointer if there is no such event.
Event* find_event(cudaEvent_t handle);
void destroy_event(cudaEvent_t handle);

}  // namespace tetrarch::emulated
