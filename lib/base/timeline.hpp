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

/// Phases never overlap, so that their seconds sum to the wall time. Not thread-safe.
class Timeline {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Timeline(Clock::time_point zero = Clock::now());

  /// Ends the current phase and begins this one.
  void enter(Phase phase);
  /// Work done in the current phase.
  void add_bytes(std::uint64_t bytes) { current().bytes += bytes; }
  void add_flops(std::uint64_t flops) { current().flops += flops; }
  /// Labels what follows; records are kept apart per layer only when `keeps_layers`.
  void begin_layer(std::int32_t layer) { layer_ = keeps_layers_ ? layer : -1; }
  void keep_layers(bool keeps) { keeps_layers_ = keeps; }

  /// Everything since the last cut, one record per (layer, phase) that was entered, labelled with
  /// `microbatch`; the current phase goes on.
  std::vector<PhaseRecord> cut(std::int32_t microbatch);
  /// Seconds since zero.
  double now() const;
  /// Seconds of each phase over all cuts and the time since.
  std::array<double, num_phases> totals() const;
  std::uint64_t total_flops() const { return total_flops_; }

 private:
  PhaseRecord& current();
  void settle();

  Clock::time_point zero_;
  double entered_ = 0;
  Phase phase_ = Phase::other;
  std::int32_t layer_ = -1;
  bool keeps_layers_ = false;
  std::vector<PhaseRecord> records_;
  std::array<double, num_phases> totals_{};
  std::uint64_t total_flops_ = 0;
};

}  // namespace tetrarch::base
