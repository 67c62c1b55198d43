// SPDX-License-Identifier: Apache-2.0
#include "watch/verdict.hpp"

#include <algorithm>
#include <iterator>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tetrarch::watch {
namespace {

using Answers = std::span<const std::optional<RankState>>;

/// Ranks that will wait for ever: they and all ranks that they wait for, directly or through
/// others, have been quiet for limit_s. A rank without an answer counts as working.
std::vector<const RankState*> hopeless_ranks(Answers answers, double limit_s) {
  std::vector<char> has_hope(answers.size(), 0);
  for (std::size_t rank = 0; rank < answers.size(); ++rank)
    has_hope[rank] = !answers[rank] || answers[rank]->quiet_s < limit_s;
  const auto is_at_work = [&](int rank) {
    return rank < std::ssize(has_hope) && has_hope[static_cast<std::size_t>(rank)] != 0;
  };
  for (bool is_changed = true; is_changed;) {
    is_changed = false;
    for (std::size_t rank = 0; rank < answers.size(); ++rank)
      if (!has_hope[rank] && std::ranges::any_of(answers[rank]->awaited(), is_at_work))
        has_hope[rank] = is_changed = true;
  }
  std::vector<const RankState*> found;
  for (std::size_t rank = 0; rank < answers.size(); ++rank)
    if (!has_hope[rank]) found.push_back(&*answers[rank]);
  return found;
}

/// The ranks that `asker` waits for, directly or through others, and `asker` itself.
std::vector<char> awaited_by(Answers answers, int asker) {
  std::vector<char> is_reached(answers.size(), 0);
  std::vector<int> left = {asker};
  while (!left.empty()) {
    const auto rank = static_cast<std::size_t>(left.back());
    left.pop_back();
    if (rank >= answers.size() || is_reached[rank]) continue;
    is_reached[rank] = 1;
    if (answers[rank]) std::ranges::copy(answers[rank]->awaited(), std::back_inserter(left));
  }
  return is_reached;
}

/// Seconds until all ranks that `asker` waits for could have been quiet for limit_s.
double seconds_of_hope(Answers answers, int asker, double limit_s) {
  const std::vector<char> is_awaited = awaited_by(answers, asker);
  double seconds = 0;
  for (std::size_t rank = 0; rank < answers.size(); ++rank)
    if (is_awaited[rank] && answers[rank])
      seconds = std::max(seconds, limit_s - answers[rank]->quiet_s);
  return seconds > 0 ? seconds : limit_s;
}

std::string named(std::span<const int> ranks, std::span<const std::string> hosts) {
  std::vector<std::string> names;
  for (const int rank : ranks)
    names.push_back(fmt::format("rank {} (host {})", rank, hosts[static_cast<std::size_t>(rank)]));
  constexpr std::size_t most = 8;
  const std::size_t more = names.size() > most ? names.size() - most : 0;
  names.resize(names.size() - more);
  const std::string text = fmt::format("{}", fmt::join(names, ", "));
  return more == 0 ? text : fmt::format("{} and {} more", text, more);
}

/// The state of the rank that has waited longest for one of `ranks`. If no rank waits for those, of
/// the rank that has waited longest for any rank; null if no rank waits.
const RankState* who_waits(Answers answers, std::span<const int> ranks) {
  const RankState* found = nullptr;
  bool is_for_them = false;
  for (const std::optional<RankState>& state : answers) {
    if (!state || !state->is_waiting()) continue;
    const std::vector<int> awaited = state->awaited();
    const bool waits =
        std::ranges::any_of(awaited, [&](int rank) { return std::ranges::count(ranks, rank) > 0; });
    if (!found || (waits && !is_for_them) ||
        (waits == is_for_them && state->waited_s > found->waited_s)) {
      found = &*state;
      is_for_them = waits;
    }
  }
  return found;
}

Verdict silent(Answers answers, std::span<const std::string> hosts, std::vector<int> ranks) {
  const RankState* waits = who_waits(answers, ranks);
  Verdict verdict;
  verdict.problem = fmt::format("{} {} not answer (stopped, or the node is lost",
                                named(ranks, hosts), ranks.size() == 1 ? "does" : "do");
  if (waits)
    verdict.problem += fmt::format("; rank {} has waited {:.0f} s {}", waits->rank, waits->waited_s,
                                   waits->text());
  verdict.problem += ")";
  verdict.ranks = std::move(ranks);
  return verdict;
}

/// Is `other` further in the run than `state`? The ranks of an ep, tp or stage group do the same
/// microbatches in the same order. The ranks of other groups may be at different microbatches
/// without a fault.
bool is_ahead(const RankState& other, const RankState& state) {
  if (other.microbatch == state.microbatch) return other.steps > state.steps;
  const bool is_in_step = state.group.starts_with("ep ") || state.group.starts_with("tp ") ||
                          state.group.starts_with("stage ");
  return is_in_step && other.microbatch > state.microbatch;
}

/// True if `other` is further in the run than the collective that `state` waits in, and has not
/// taken part in it.
bool has_left_out(const RankState& other, const RankState& state) {
  if (state.peer >= 0 || !state.is_waiting() || !is_ahead(other, state)) return false;
  const auto mine = state.begun.find(state.group), theirs = other.begun.find(state.group);
  if (mine == state.begun.end() || theirs == other.begun.end()) return false;
  return theirs->second < mine->second ||
         (theirs->second == mine->second &&
          (other.group != state.group || other.operation != state.operation));
}

struct Blame {
  const RankState* rank = nullptr;
  const RankState* by = nullptr;  // the rank that waits for it
  int count = 0;
};

Blame most_blamed(std::span<const RankState* const> hopeless) {
  std::map<int, const RankState*> by_rank;
  for (const RankState* state : hopeless)
    by_rank[state->rank] = state;
  std::map<int, Blame> blames;
  for (const RankState* state : hopeless)
    for (const int rank : state->awaited())
      if (const auto other = by_rank.find(rank);
          other != by_rank.end() && has_left_out(*other->second, *state)) {
        Blame& blame = blames[rank];
        blame = {other->second, state, blame.count + 1};
      }
  Blame most;
  for (const auto& [rank, blame] : blames)
    if (blame.count > most.count) most = blame;
  return most;
}

/// Takes the collective that most of the ranks wait in. Returns a member of its group that is not
/// in it.
Blame odd_one(std::span<const RankState* const> hopeless) {
  std::map<std::string, std::vector<const RankState*>> waiting;  // by group and operation
  for (const RankState* state : hopeless)
    if (state->is_waiting() && state->peer < 0)
      waiting[state->group + " " + state->operation].push_back(state);
  const auto most =
      std::ranges::max_element(waiting, {}, [](const auto& entry) { return entry.second.size(); });
  if (most == waiting.end()) return {};
  const RankState& one = *most->second.front();
  const std::vector<int> members = one.awaited();
  for (const RankState* state : hopeless)
    if (std::ranges::count(members, state->rank) > 0 &&
        std::ranges::count(most->second, state) == 0)
      return {state, &one, 1};
  return {};
}

Verdict out_of_step(std::span<const RankState* const> hopeless,
                    std::span<const std::string> hosts) {
  Blame blame = most_blamed(hopeless);
  if (!blame.rank) blame = odd_one(hopeless);
  Verdict verdict;
  if (blame.rank) {
    verdict.ranks = {blame.rank->rank};
    verdict.problem =
        fmt::format("{} is out of step (it is {}, while rank {} has waited for it {:.0f} s {})",
                    named(verdict.ranks, hosts), blame.rank->text(), blame.by->rank,
                    blame.by->waited_s, blame.by->text());
    return verdict;
  }
  for (const RankState* state : hopeless)
    verdict.ranks.push_back(state->rank);
  const RankState& first = *hopeless.front();
  verdict.problem =
      fmt::format("{} wait for each other (rank {} has waited {:.0f} s {})",
                  named(verdict.ranks, hosts), first.rank, first.waited_s, first.text());
  return verdict;
}

}  // namespace

Verdict judge(Answers answers, std::span<const std::string> hosts, int asker, double limit_s,
              Silence silence) {
  std::vector<int> missing;
  for (int rank = 0; rank < std::ssize(answers); ++rank)
    if (!answers[static_cast<std::size_t>(rank)]) missing.push_back(rank);
  if (!missing.empty() && silence == Silence::judged) return silent(answers, hosts, missing);

  const std::vector<const RankState*> hopeless = hopeless_ranks(answers, limit_s);
  if (hopeless.empty()) return {{}, "", seconds_of_hope(answers, asker, limit_s)};
  for (const RankState* state : hopeless)
    if (!state->is_waiting())
      return {{state->rank},
              fmt::format("{} has done nothing for {:.0f} s ({})",
                          named(std::vector{state->rank}, hosts), state->quiet_s, state->text()),
              0};
  return out_of_step(hopeless, hosts);
}

}  // namespace tetrarch::watch
