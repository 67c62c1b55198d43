// SPDX-License-Identifier: Apache-2.0
#include "base/flight_recorder.hpp"

#include <chrono>
#include <utility>

namespace tetrarch::base {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;

std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

/// Adds 1 to a value that only one thread changes. A load and a store cost less than an atomic
/// addition.
void add_one(std::atomic<std::uint64_t>& value) {
  value.store(value.load(relaxed) + 1, release);
}

}  // namespace

FlightRecorder& flight_recorder() {
  static FlightRecorder recorder;
  return recorder;
}

GroupHandle FlightRecorder::add_group(const char* name, std::vector<int> ranks) {
  const std::lock_guard lock(mutex_);
  Group* place = nullptr;
  for (Group& group : groups_)
    if (!group.is_used) place = &group;
  if (!place) place = &groups_.emplace_back();
  place->name = name;
  place->ranks = std::move(ranks);
  place->number = ++num_groups_;
  place->begun = 0;
  place->is_used = true;
  return GroupHandle(place);
}

// The writer sets `number` to 0, then the fields, then `number` to its new value. A reader uses an
// entry only if `number` is the same before and after it has read the fields. Release and acquire
// on each field keep this order; on x86 they cost nothing.
void FlightRecorder::begin(Group& group, const OperationLabel& label) {
  const std::uint64_t number = last_.load(relaxed) + 1;
  Entry& entry = entries_[number % capacity];
  entry.number.store(0, relaxed);
  entry.name.store(label.name, release);
  entry.group_name.store(group.name, release);
  entry.group_number.store(group.number, release);
  entry.kind.store(label.kind, release);
  entry.bytes.store(label.bytes, release);
  entry.peer.store(label.peer, release);
  entry.microbatch.store(microbatch_.load(relaxed), release);
  entry.layer.store(layer_.load(relaxed), release);
  entry.phase.store(phase_.load(relaxed), release);
  entry.begun_ns.store(now_ns(), release);
  entry.ended_ns.store(0, release);
  entry.number.store(number, release);
  if (label.kind == OperationKind::collective) add_one(group.begun);
  last_.store(number, release);
  count_event();
}

void FlightRecorder::end() {
  entries_[last_.load(relaxed) % capacity].ended_ns.store(now_ns(), release);
  count_event();
}

void FlightRecorder::count_event() {
  add_one(events_);
}

void FlightRecorder::enter(Phase phase) {
  phase_.store(phase, release);
  add_one(steps_);
  count_event();
}

void FlightRecorder::begin_microbatch(std::int32_t microbatch) {
  microbatch_.store(microbatch, release);
  steps_.store(0, release);
  count_event();
}

void FlightRecorder::begin_layer(std::int32_t layer) {
  layer_.store(layer, release);
  count_event();
}

std::optional<OperationRecord> FlightRecorder::read(std::uint64_t number) const {
  const Entry& entry = entries_[number % capacity];
  if (number == 0 || entry.number.load(acquire) != number) return std::nullopt;
  OperationRecord record;
  record.name = entry.name.load(acquire);
  record.group = entry.group_name.load(acquire);
  record.kind = entry.kind.load(acquire);
  record.bytes = entry.bytes.load(acquire);
  record.peer = entry.peer.load(acquire);
  record.microbatch = entry.microbatch.load(acquire);
  record.layer = entry.layer.load(acquire);
  record.phase = entry.phase.load(acquire);
  const std::uint64_t group_number = entry.group_number.load(acquire);
  const std::int64_t begun = entry.begun_ns.load(acquire), ended = entry.ended_ns.load(acquire);
  if (entry.number.load(relaxed) != number) return std::nullopt;
  record.ago_s = static_cast<double>(now_ns() - begun) * 1e-9;
  if (ended != 0) record.seconds = static_cast<double>(ended - begun) * 1e-9;
  const std::lock_guard lock(mutex_);
  for (const Group& each : groups_)
    if (each.is_used && each.number == group_number) record.ranks = each.ranks;
  const auto peer = static_cast<std::size_t>(record.peer);
  record.peer = record.peer >= 0 && peer < record.ranks.size() ? record.ranks[peer] : -1;
  return record;
}

FlightStatus FlightRecorder::status() const {
  FlightStatus status;
  status.events = events_.load(acquire);
  status.steps = steps_.load(acquire);
  status.phase = phase_.load(acquire);
  status.microbatch = microbatch_.load(acquire);
  status.layer = layer_.load(acquire);
  status.running = read(last_.load(acquire));
  if (status.running && status.running->seconds) status.running.reset();
  return status;
}

std::vector<OperationRecord> FlightRecorder::operations() const {
  const std::uint64_t last = last_.load(acquire);
  std::vector<OperationRecord> found;
  for (std::uint64_t number = last > capacity ? last - capacity + 1 : 1; number <= last; ++number)
    if (auto record = read(number)) found.push_back(std::move(*record));
  return found;
}

std::vector<FlightRecorder::GroupState> FlightRecorder::groups() const {
  const std::lock_guard lock(mutex_);
  std::vector<GroupState> found;
  for (const Group& group : groups_)
    if (group.is_used) found.push_back({group.name, group.ranks, group.begun});
  return found;
}

}  // namespace tetrarch::base
