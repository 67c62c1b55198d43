// SPDX-License-Identifier: Apache-2.0
#include "watch/rank_state.hpp"

#include <charconv>
#include <string_view>

#include <fmt/format.h>

#include "base/json.hpp"

namespace tetrarch::watch {
namespace {

/// A run of ranks at equal distances: number of ranks, and distance.
struct Run {
  std::size_t count = 1;
  int distance = 1;
};
Run first_run(std::span<const int> ranks) {
  if (ranks.size() < 2 || ranks[1] <= ranks[0]) return {};
  Run run{2, ranks[1] - ranks[0]};
  while (run.count < ranks.size() && ranks[run.count] - ranks[run.count - 1] == run.distance)
    ++run.count;
  return run.count >= 3 || run.distance == 1 ? run : Run{};
}

/// Removes the character `before` and a number from the front of `text`. Returns false and changes
/// nothing if `text` does not begin so.
bool take_number(std::string_view& text, char before, int& number) {
  std::string_view left = text;
  if (before != 0 && (left.empty() || left.front() != before)) return false;
  if (before != 0) left.remove_prefix(1);
  int found = 0;
  const auto [end, error] = std::from_chars(left.data(), left.data() + left.size(), found);
  if (error != std::errc() || found < 0) return false;
  left.remove_prefix(static_cast<std::size_t>(end - left.data()));
  text = left;
  number = found;
  return true;
}

}  // namespace

std::string ranks_text(std::span<const int> ranks) {
  std::string text;
  while (!ranks.empty()) {
    const Run run = first_run(ranks);
    if (!text.empty()) text += ',';
    text += std::to_string(ranks.front());
    if (run.count > 1) text += fmt::format("-{}", ranks[run.count - 1]);
    if (run.count > 1 && run.distance > 1) text += fmt::format(":{}", run.distance);
    ranks = ranks.subspan(run.count);
  }
  return text;
}

std::vector<int> ranks_in(const std::string& text) {
  std::vector<int> ranks;
  std::string_view left = text;
  while (!left.empty()) {
    int first = 0, last = 0, distance = 1;
    if (!take_number(left, ranks.empty() ? '\0' : ',', first)) return {};
    if (!take_number(left, '-', last)) last = first;
    if (take_number(left, ':', distance) && distance < 1) return {};
    for (int rank = first; rank <= last; rank += distance)
      ranks.push_back(rank);
  }
  return ranks;
}

std::vector<int> RankState::awaited() const {
  if (!is_waiting()) return {};
  if (peer >= 0) return {peer};
  std::vector<int> ranks = ranks_in(group.substr(group.find(' ') + 1));
  std::erase(ranks, rank);
  return ranks;
}

std::string RankState::text() const {
  std::string said = is_waiting() ? fmt::format("in {} on {}", operation, group)
                                  : std::string("not in an exchange");
  if (is_waiting() && peer >= 0) said += fmt::format(" with rank {}", peer);
  said += fmt::format(", phase {}", phase);
  if (layer >= 0) said += fmt::format(", layer {}", layer);
  if (microbatch >= 0) said += fmt::format(", microbatch {}", microbatch);
  return said;
}

std::string RankState::to_json() const {
  const base::Json json = {{"rank", rank},           {"quiet_s", quiet_s},
                           {"phase", phase},         {"microbatch", microbatch},
                           {"layer", layer},         {"steps", steps},
                           {"operation", operation}, {"group", group},
                           {"peer", peer},           {"waited_s", waited_s},
                           {"begun", begun}};
  return json.dump();
}

RankState RankState::from_json(const std::string& text) {
  const std::string what = "answer of a watchdog";
  const base::Json json = base::parse_json(text, what, base::ExitCode::communication);
  try {
    RankState state;
    json.at("rank").get_to(state.rank);
    json.at("quiet_s").get_to(state.quiet_s);
    json.at("phase").get_to(state.phase);
    json.at("microbatch").get_to(state.microbatch);
    json.at("layer").get_to(state.layer);
    json.at("steps").get_to(state.steps);
    json.at("operation").get_to(state.operation);
    json.at("group").get_to(state.group);
    json.at("peer").get_to(state.peer);
    json.at("waited_s").get_to(state.waited_s);
    json.at("begun").get_to(state.begun);
    return state;
  } catch (const base::Json::exception& error) {
    throw base::Refusal(base::ExitCode::communication,
                        fmt::format("{}: incomplete ({}).", what, error.what()));
  }
}

RankState own_state(int rank, double quiet_s, const base::FlightStatus& status) {
  RankState state;
  state.rank = rank;
  state.quiet_s = quiet_s;
  state.phase = base::name_of(status.phase);
  state.microbatch = status.microbatch;
  state.layer = status.layer;
  state.steps = status.steps;
  if (status.running) {
    state.operation = status.running->name;
    state.group = fmt::format("{} {}", status.running->group, ranks_text(status.running->ranks));
    state.peer = status.running->peer;
    state.waited_s = status.running->ago_s;
  }
  for (const auto& group : base::flight_recorder().groups())
    state.begun[fmt::format("{} {}", group.name, ranks_text(group.ranks))] += group.begun;
  return state;
}

}  // namespace tetrarch::watch
