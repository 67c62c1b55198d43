/// Where the time of one rank goes: a stopwatch that is always in exactly one phase.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tetrarch::base {

/// In the order of /timing/phases' names; `other` is what no phase claims.
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
std::string_view name_of(Phase phase);

/// Time, bytes moved and useful floating-point operations of one phase in one stretch of work.
struct PhaseRecord {
  std::int32_t microbatch = -1;  // index in the plan's list; -1: outside microbatches
  std::int32_t layer = -1;       // -1: all layers together, or outside layers
  Phase phase = Phase::other;
  double start_s = 0;  // since the timeline's zero
  double seconds = 0;
  std::uint64_t bytes = 0;
  std::uint64_t flops = 0;
};

/// What a rank does within a phase: its own work, waiting for other ranks, moving bytes from and to
/// them.
enum class Activity { work, waiting, moving };
inline constexpr int num_activities = 3;

/// Time by the clock, and of all threads of the process together.
struct Spent {
  double seconds = 0;
  double cpu_seconds = 0;
};
using Spending = std::array<std::array<Spent, num_activities>, num_phases>;

/// Phases never overlap, so that their seconds sum to the wall time. Not thread-safe. The flight
/// recorder hears of each step.
class Timeline {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Timeline(Clock::time_point zero = Clock::now());

  /// Ends the current phase and begins this one.
  void enter(Phase phase);
  /// Ends the current activity, and begins this one in the same phase. Returns the one that ended.
  Activity begin(Activity activity);
  /// Work done in the current phase.
  void add_bytes(std::uint64_t bytes) { current().bytes += bytes; }
  void add_flops(std::uint64_t flops) { current().flops += flops; }
  /// Labels what follows; records are kept apart per layer only when `keeps_layers`.
  void begin_layer(std::int32_t layer);
  void keep_layers(bool keeps) { keeps_layers_ = keeps; }
  /// CPU time is known only when it is kept: asking for it takes microseconds at each step. From
  /// the start of the process on.
  void keep_cpu(bool keeps) { keeps_cpu_ = keeps; }

  /// Everything since the last cut, one record per (layer, phase) that was entered, labelled with
  /// `microbatch`; the current phase goes on.
  std::vector<PhaseRecord> cut(std::int32_t microbatch);
  /// Seconds since zero.
  double now() const;
  /// Seconds of each phase over all cuts and the time since.
  std::array<double, num_phases> totals() const;
  /// The same, activity by activity.
  Spending spending() const;
  std::uint64_t total_flops() const { return total_flops_; }

 private:
  PhaseRecord& current();
  void settle();
  /// The time since the last settlement.
  Spent open() const;

  Clock::time_point zero_;
  Spent settled_;  // when it was
  Phase phase_ = Phase::other;
  Activity activity_ = Activity::work;
  std::int32_t layer_ = -1;
  bool keeps_layers_ = false, keeps_cpu_ = false;
  std::vector<PhaseRecord> records_;
  Spending spending_{};
  std::uint64_t total_flops_ = 0;
};

/// Until its end the timeline counts as this activity.
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
