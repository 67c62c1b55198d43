// SPDX-License-Identifier: Apache-2.0
#include "emulated/event.hpp"

#include <map>

namespace tetrarch::emulated {
namespace {

std::map<cudaEvent_t, std::unique_ptr<Event>>& events() {
  static std::map<cudaEvent_t, std::unique_ptr<Event>> events;
  return events;
}

}  // namespace

cudaEvent_t create_event(bool has_timing) {
  auto event = std::make_unique<Event>();
  event->has_timing = has_timing;
  const auto handle = reinterpret_cast<cudaEvent_t>(event.get());
  events()[handle] = std::move(event);
  return handle;
}

Event* find_event(cudaEvent_t handle) {
  const auto found = events().find(handle);
  return found == events().end() ? nullptr : found->second.get();
}

void destroy_event(cudaEvent_t handle) {
  events().erase(handle);
}

}  // namespace tetrarch::emulated
