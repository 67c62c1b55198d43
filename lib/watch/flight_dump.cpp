// SPDX-License-Identifier: Apache-2.0
#include "watch/flight_dump.hpp"

#include <chrono>
#include <cmath>
#include <ctime>

#include <fmt/chrono.h>

namespace tetrarch::watch {
namespace {

using Clock = std::chrono::system_clock;

/// The UTC time `ago_s` seconds before `now`, for example "01:24:40.123".
std::string time_text(Clock::time_point now, double ago_s) {
  const auto at =
      now - std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(ago_s));
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(at).time_since_epoch().count();
  return fmt::format("{:%H:%M:%S}.{:03}", fmt::gmtime(Clock::to_time_t(at)), ms % 1000);
}

std::string number_or_dash(std::int64_t number) {
  return number < 0 ? "-" : std::to_string(number);
}

std::string line_of(const base::OperationRecord& operation, Clock::time_point now) {
  return fmt::format("{:12}  {:10} {:>5} {:>10}  {:22} {:12} {:>6} {:>12}  {}\n",
                     time_text(now, operation.ago_s), base::name_of(operation.phase),
                     number_or_dash(operation.layer), number_or_dash(operation.microbatch),
                     operation.name, operation.group, number_or_dash(operation.peer),
                     operation.bytes,
                     operation.seconds ? fmt::format("{:.6f}", *operation.seconds) : "running");
}

}  // namespace

std::string flight_dump(const std::string& head, const RankState& state) {
  std::string text = head;
  text += fmt::format("now: {}{}\n", state.text(),
                      state.is_waiting() ? fmt::format(", for {:.1f} s", state.waited_s) : "");
  text += fmt::format(
      "no operation began or ended, and no computation was seen, for {:.1f} s\n\ncollectives begun "
      "on each group:\n",
      state.quiet_s);
  for (const auto& [group, begun] : state.begun)
    text += fmt::format("{:>12}  {}\n", begun, group);
  text += fmt::format(
      "\nthe last operations, the newest last (times of their beginning, UTC):\n"
      "{:12}  {:10} {:>5} {:>10}  {:22} {:12} {:>6} {:>12}  {}\n",
      "time", "phase", "layer", "microbatch", "operation", "group", "peer", "bytes", "seconds");
  const Clock::time_point now = Clock::now();
  for (const base::OperationRecord& operation : base::flight_recorder().operations())
    text += line_of(operation, now);
  return text;
}

}  // namespace tetrarch::watch
