/// What this process did last, readable by another thread while the first is stuck.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/handle.hpp"
#include "base/timeline.hpp"

namespace tetrarch::base {

/// Ranks that speak together, as operations name them.
struct Group {
  const char* name = "";              // a literal
  std::vector<int> ranks;             // of the world, in the group's order
  std::atomic<std::uint64_t> begun;   // collectives that this process began in it
  std::atomic<bool> is_used = false;  // its place is another's later
};
struct CloseGroup {
  static Group* empty() { return nullptr; }
  void operator()(Group* group) const noexcept { group->is_used = false; }
};
using GroupHandle = Handle<Group*, CloseGroup>;

enum class OperationKind { collective, message };

/// What is said of an operation at its begin.
struct OperationLabel {
  const char* name = "";  // a literal
  OperationKind kind = OperationKind::collective;
  std::uint64_t bytes = 0;
  int peer = -1;  // of a message: rank in the group
};

/// A copy of an operation for those who read.
struct OperationRecord {
  const char* name = "";
  const char* group = "";
  OperationKind kind = OperationKind::collective;
  std::uint64_t bytes = 0;
  int peer = -1;           // world rank; -1: all of the group
  std::vector<int> ranks;  // of the group, where it is still there
  std::int32_t microbatch = -1, layer = -1;
  Phase phase = Phase::other;
  double ago_s = 0;               // since it began
  std::optional<double> seconds;  // absent: it goes on
};

/// What the process is at.
struct FlightStatus {
  Phase phase = Phase::other;
  std::int32_t microbatch = -1, layer = -1;
  std::uint64_t steps = 0;   // phases entered since the microbatch began
  std::uint64_t events = 0;  // grows with all that is recorded; equal: nothing happened between
  std::optional<OperationRecord> running;
};

/// One thread records, the one that carries the run; it takes no lock. Any thread reads.
class FlightRecorder {
 public:
  static constexpr std::size_t capacity = 256;

  /// `ranks`: of the world, in the group's order.
  GroupHandle add_group(const char* name, std::vector<int> ranks);

  void begin(Group& group, const OperationLabel& label);
  /// Some bytes of the running operation have gone or come: it is slow, not stuck.
  void moved() { count_event(); }
  void end();
  void enter(Phase phase);
  void begin_microbatch(std::int32_t microbatch);
  void begin_layer(std::int32_t layer);

  Phase phase() const { return phase_.load(std::memory_order_relaxed); }
  FlightStatus status() const;
  /// The oldest first.
  std::vector<OperationRecord> operations() const;
  struct GroupState {
    std::string name;
    std::vector<int> ranks;
    std::uint64_t begun = 0;
  };
  std::vector<GroupState> groups() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::atomic<std::uint64_t> number = 0;  // from 1; 0 while it is written
    std::atomic<const char*> name = "", group_name = "";
    std::atomic<const Group*> group = nullptr;
    std::atomic<OperationKind> kind;
    std::atomic<std::uint64_t> bytes = 0;
    std::atomic<int> peer = -1;
    std::atomic<std::int32_t> microbatch = -1, layer = -1;
    std::atomic<Phase> phase;
    std::atomic<std::int64_t> begun_ns = 0, ended_ns = 0;  // of the clock; 0: not yet
  };

  void count_event();
  std::optional<OperationRecord> read(std::uint64_t number) const;

  std::array<Entry, capacity> entries_;
  std::atomic<std::uint64_t> last_ = 0;  // number of the newest entry
  std::atomic<std::uint64_t> events_ = 0, steps_ = 0;
  std::atomic<Phase> phase_ = Phase::other;
  std::atomic<std::int32_t> microbatch_ = -1, layer_ = -1;
  mutable std::mutex mutex_;  // of groups_, which only the making of communicators changes
  std::deque<Group> groups_;  // addresses stay
};

/// Of this process.
FlightRecorder& flight_recorder();

/// An operation as long as this object lives.
class Operation {
 public:
  Operation(Group& group, const OperationLabel& label) { flight_recorder().begin(group, label); }
  ~Operation() { flight_recorder().end(); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
};

}  // namespace tetrarch::base
