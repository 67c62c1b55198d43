/// Records what this process did last: phases, layers, MPI operations. Another thread can read the
/// records while the thread that wrote them is stuck.
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

/// The ranks of one communicator, as the records of operations name them.
struct Group {
  const char* name = "";              // a string literal
  std::vector<int> ranks;             // world ranks, in the communicator's order
  std::uint64_t number = 0;           // counts groups from 1; a reused slot has a new one
  std::atomic<std::uint64_t> begun;   // collectives that this process has begun in the group
  std::atomic<bool> is_used = false;  // false: add_group() may reuse this slot
};
/// Marks the group's slot as free.
struct CloseGroup {
  static Group* empty() { return nullptr; }
  void operator()(Group* group) const noexcept { group->is_used = false; }
};
using GroupHandle = Handle<Group*, CloseGroup>;

enum class OperationKind { collective, message };

/// What is recorded of an operation when it begins.
struct OperationLabel {
  const char* name = "";  // a string literal
  OperationKind kind = OperationKind::collective;
  std::uint64_t bytes = 0;
  int peer = -1;  // the other rank of a message, as a rank of the group
};

/// A copy of the record of one operation, for readers.
struct OperationRecord {
  const char* name = "";
  const char* group = "";
  OperationKind kind = OperationKind::collective;
  std::uint64_t bytes = 0;
  int peer = -1;           // world rank; -1: all ranks of the group
  std::vector<int> ranks;  // world ranks of the group; empty when the group is gone
  std::int32_t microbatch = -1, layer = -1;
  Phase phase = Phase::other;
  double ago_s = 0;               // seconds since it began
  std::optional<double> seconds;  // how long it took; absent: it is still running
};

/// What the process is doing now.
struct FlightStatus {
  Phase phase = Phase::other;
  std::int32_t microbatch = -1, layer = -1;
  std::uint64_t steps = 0;   // phases entered since the microbatch began
  std::uint64_t events = 0;  // events recorded so far; unchanged: nothing happened in between
  std::optional<OperationRecord> running;  // the operation that has begun and not ended
};

/// Only the main thread of the run records; recording takes no lock, except in add_group(). Any
/// thread may read: phase(), status(), operations(), groups().
class FlightRecorder {
 public:
  static constexpr std::size_t capacity = 256;  // the newest operations that are kept

  /// `name` is a string literal. `ranks` are world ranks, in the communicator's order. The group is
  /// removed when the handle is destroyed.
  GroupHandle add_group(const char* name, std::vector<int> ranks);

  /// Records that an operation begins, with the current phase, microbatch and layer.
  void begin(Group& group, const OperationLabel& label);
  /// Some bytes of the running operation have been sent or received. Counts as an event, so that
  /// the watchdog does not take a slow operation for a stuck one.
  void moved() { count_event(); }
  /// Ends the operation that began last.
  void end();
  /// Set the current phase, microbatch (index in the plan's list) and layer; -1: none.
  void enter(Phase phase);
  void begin_microbatch(std::int32_t microbatch);
  void begin_layer(std::int32_t layer);

  Phase phase() const { return phase_.load(std::memory_order_relaxed); }
  FlightStatus status() const;
  /// The last operations, at most `capacity`, the oldest first.
  std::vector<OperationRecord> operations() const;
  struct GroupState {
    std::string name;
    std::vector<int> ranks;
    std::uint64_t begun = 0;
  };
  /// Every group that exists now, and how many collectives this process has begun in it.
  std::vector<GroupState> groups() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::atomic<std::uint64_t> number = 0;  // counts operations from 1; 0 while it is written
    std::atomic<const char*> name = "", group_name = "";
    std::atomic<std::uint64_t> group_number = 0;
    std::atomic<OperationKind> kind;
    std::atomic<std::uint64_t> bytes = 0;
    std::atomic<int> peer = -1;
    std::atomic<std::int32_t> microbatch = -1, layer = -1;
    std::atomic<Phase> phase;
    std::atomic<std::int64_t> begun_ns = 0, ended_ns = 0;  // of steady_clock; 0: not yet
  };

  void count_event();
  std::optional<OperationRecord> read(std::uint64_t number) const;

  std::array<Entry, capacity> entries_;
  std::atomic<std::uint64_t> last_ = 0;  // number of the newest entry
  std::atomic<std::uint64_t> events_ = 0, steps_ = 0;
  std::atomic<Phase> phase_ = Phase::other;
  std::atomic<std::int32_t> microbatch_ = -1, layer_ = -1;
  mutable std::mutex mutex_;      // guards groups_, which only add_group() changes
  std::deque<Group> groups_;      // a deque: addresses do not change when it grows
  std::uint64_t num_groups_ = 0;  // that were ever added
};

/// The one recorder of this process.
FlightRecorder& flight_recorder();

/// Records an operation that runs from the construction of this object to its destruction.
class Operation {
 public:
  Operation(Group& group, const OperationLabel& label) { flight_recorder().begin(group, label); }
  ~Operation() { flight_recorder().end(); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
};

}  // namespace tetrarch::base
