// SPDX-License-Identifier: Apache-2.0
#include "base/timeline.hpp"

#include <utility>

namespace tetrarch::base {

std::string_view name_of(Phase phase) {
  static constexpr std::string_view names[num_phases] = {
      "load",    "input",     "embed",     "norm",   "qkv",      "attention",
      "o_proj",  "tp_gather", "tp_reduce", "router", "dispatch", "experts",
      "combine", "pp_wait",   "head",      "output", "commit",   "other"};
  return names[static_cast<int>(phase)];
}

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
  record.start_s = entered_;
  return records_.emplace_back(record);
}

void Timeline::settle() {
  const double at = now();
  current().seconds += at - entered_;
  totals_[static_cast<int>(phase_)] += at - entered_;
  entered_ = at;
}

void Timeline::enter(Phase phase) {
  settle();
  phase_ = phase;
}

std::vector<PhaseRecord> Timeline::cut(std::int32_t microbatch) {
  settle();
  for (PhaseRecord& record : records_) {
    record.microbatch = microbatch;
    total_flops_ += record.flops;
  }
  return std::exchange(records_, {});
}

std::array<double, num_phases> Timeline::totals() const {
  auto result = totals_;
  result[static_cast<int>(phase_)] += now() - entered_;
  return result;
}

}  // namespace tetrarch::base
