// SPDX-License-Identifier: Apache-2.0
#include "base/timeline.hpp"

#include <ctime>
#include <utility>

#include "base/flight_recorder.hpp"

namespace tetrarch::base {

std::string_view name_of(Phase phase) {
  static constexpr std::string_view names[num_phases] = {
      "load",    "input",     "embed",     "norm",   "qkv",      "attention",
      "o_proj",  "tp_gather", "tp_reduce", "router", "dispatch", "experts",
      "combine", "pp_wait",   "head",      "output", "commit",   "other"};
  return names[static_cast<int>(phase)];
}

namespace {

double cpu_now() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

}  // namespace

Timeline::Timeline(Clock::time_point zero) : zero_(zero) {}

double Timeline::now() const {
  return std::chrono::duration<double>(Clock::now() - zero_).count();
}

PhaseRecord& Timeline::current() {
  for (PhaseRecord& record : records_)
    if (record.phase == phase_ && record.layer == layer_) return record;
  PhaseRecord record;
  record.layer = layer_;
  record.phase = phase_;
  record.start_s = settled_.seconds;
  return records_.emplace_back(record);
}

Spent Timeline::open() const {
  return {now() - settled_.seconds, keeps_cpu_ ? cpu_now() - settled_.cpu_seconds : 0};
}

void Timeline::settle() {
  const Spent since = open();
  current().seconds += since.seconds;
  Spent& spent = spending_[static_cast<int>(phase_)][static_cast<int>(activity_)];
  spent.seconds += since.seconds;
  spent.cpu_seconds += since.cpu_seconds;
  settled_.seconds += since.seconds;
  settled_.cpu_seconds += since.cpu_seconds;
}

void Timeline::enter(Phase phase) {
  settle();
  phase_ = phase;
  flight_recorder().enter(phase);
}

void Timeline::begin_layer(std::int32_t layer) {
  layer_ = keeps_layers_ ? layer : -1;
  flight_recorder().begin_layer(layer);
}

Activity Timeline::begin(Activity activity) {
  settle();
  return std::exchange(activity_, activity);
}

std::vector<PhaseRecord> Timeline::cut(std::int32_t microbatch) {
  settle();
  for (PhaseRecord& record : records_) {
    record.microbatch = microbatch;
    total_flops_ += record.flops;
  }
  return std::exchange(records_, {});
}

Spending Timeline::spending() const {
  Spending result = spending_;
  Spent& spent = result[static_cast<int>(phase_)][static_cast<int>(activity_)];
  const Spent since = open();
  spent.seconds += since.seconds;
  spent.cpu_seconds += since.cpu_seconds;
  return result;
}

}  // namespace tetrarch::base
