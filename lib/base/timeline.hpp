/// Measures how one rank spends its time: at every moment exactly one phase is timed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tetrarch::base {

/// The phases of /timing/phases in the results. `other` is time outside all other phases.
enum class Phase {
  load,
  input,
  embed,
  norm,
  qkv,
  attention,
  o_proj,
  tp_gather,
  tp_reduce,
  router,
  dispatch,
  experts,
  combine,
  pp_wait,
  head,
  output,
  commit,
  other
};
inline constexpr int num_phases = 18;
/// The name in /timing/phases, such as "o_proj".
std::string_view name_of(Phase phase);

/// Time, bytes moved and useful floating-point operations of one phase, in one layer or in all
/// together, between two calls of Timeline::cut().
struct PhaseRecord {
  std::int32_t microbatch = -1;  // index in the plan's list; -1: outside microbatches
  std::int32_t layer = -1;       // -1: all layers together, or outside layers
  Phase phase = Phase::other;
  double start_s = 0;  // when it was first entered, in seconds since the timeline's zero
  double seconds = 0;
  std::uint64_t bytes = 0;
  std::uint64_t flops = 0;
};

/// What a rank does within a phase: its own work, waiting for other ranks, or moving bytes from and
/// to them.
enum class Activity { work, waiting, moving };
inline constexpr int num_activities = 3;

/// Wall-clock time, and CPU time of all threads of the process together.
struct Spent {
  double seconds = 0;
  double cpu_seconds = 0;
};
using Spending = std::array<std::array<Spent, num_activities>, num_phases>;

/// Phases never overlap, so their seconds add up to the wall time. Each phase and layer is also
/// told to the flight recorder. Not thread-safe.
class Timeline {
 public:
  using Clock = std::chrono::steady_clock;
  /// `zero` is the time 0 of start_s and now().
  explicit Timeline(Clock::time_point zero = Clock::now());

  /// Ends the current phase and begins this one.
  void enter(Phase phase);
  /// Ends the current activity and begins this one in the same phase. Returns the one that ended.
  Activity begin(Activity activity);
  /// Adds bytes moved or floating-point operations done to the current phase.
  void add_bytes(std::uint64_t bytes) { current().bytes += bytes; }
  void add_flops(std::uint64_t flops) { current().flops += flops; }
  /// What follows belongs to this layer. Records are separate for each layer only after
  /// keep_layers(true).
  void begin_layer(std::int32_t layer);
  void keep_layers(bool keeps) { keeps_layers_ = keeps; }
  /// Whether CPU time is measured (default no: each measurement takes microseconds). The first
  /// measurement includes the CPU time since the process started.
  void keep_cpu(bool keeps) { keeps_cpu_ = keeps; }

  /// Returns the records since the last cut and forgets them: one record for each (layer, phase)
  /// that was entered, labelled with `microbatch`. The current phase continues.
  std::vector<PhaseRecord> cut(std::int32_t microbatch);
  /// Seconds since the timeline's zero.
  double now() const;
  /// The time from the timeline's zero to now: [phase][activity].
  Spending spending() const;
  /// Floating-point operations of all cuts so far.
  std::uint64_t total_flops() const { return total_flops_; }

 private:
  PhaseRecord& current();
  /// Adds the time since the last call to the current phase and activity.
  void settle();
  /// The time since the last settle().
  Spent open() const;

  Clock::time_point zero_;
  Spent settled_;  // the time of the last settle(), since zero
  Phase phase_ = Phase::other;
  Activity activity_ = Activity::work;
  std::int32_t layer_ = -1;
  bool keeps_layers_ = false, keeps_cpu_ = false;
  std::vector<PhaseRecord> records_;
  Spending spending_{};
  std::uint64_t total_flops_ = 0;
};

/// While this object lives, the timeline's time counts for this activity; then for the one before.
class During {
 public:
  During(Timeline& timeline, Activity activity)
      : timeline_(timeline), before_(timeline.begin(activity)) {}
  ~During() { timeline_.begin(before_); }
  During(const During&) = delete;
  During& operator=(const During&) = delete;

 private:
  Timeline& timeline_;
  Activity before_;
};

}  // namespace tetrarch::base
