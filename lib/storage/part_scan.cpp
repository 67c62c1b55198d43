// Which parts of a run folder count, and what they hold.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "storage/durable.hpp"
#include "storage/run_folder.hpp"

namespace tetrarch::storage {
namespace {

struct Part {
  std::string path;
  PartName name;
  std::vector<PartEntry> entries;
};

/// Parts that count together: one, or with PartRules::ep_set those of all ep ranks.
using Unit = std::vector<const Part*>;

std::vector<Part> read_all(const std::string& run_dir, const std::string& run_uuid,
                           const PartFindings& findings) {
  std::vector<Part> parts;
  for (const std::string& name : names_in(run_dir + "/parts")) {
    // hidden ones are in the making, or a file system's own (.nfs...)
    if (name.starts_with('.') || name.starts_with("damaged-")) continue;
    const std::string path = run_dir + "/parts/" + name;
    try {
      Part part;
      part.path = path;
      part.entries = read_part(path, run_uuid);
      part.name = *parse_part_name(name);  // read_part() has refused other names
      parts.push_back(std::move(part));
    } catch (const base::UsageError& problem) {  // one that cannot be read now may be sound
      findings.damaged(path, problem.what());
    }
  }
  return parts;
}

/// In the order of their first parts.
std::vector<Unit> units_of(const std::vector<Part>& parts, const PartRules& rules,
                           const PartFindings& findings) {
  std::vector<Unit> units;
  if (rules.ep_set == 0) {
    for (const Part& part : parts)
      units.push_back({&part});
    return units;
  }
  std::map<std::tuple<int, int, int>, Unit> sets;
  for (const Part& part : parts) {
    if (part.name.ep >= rules.ep_set) {
      findings.damaged(part.path,
                       fmt::format("{}: is of expert-parallel rank {}, but the run has {} of them. "
                                   "Its sequences have to be done again.",
                                   part.path, part.name.ep, rules.ep_set));
      continue;
    }
    sets[{part.name.dp, part.name.attempt, part.name.number}].push_back(&part);
  }
  for (const auto& [key, unit] : sets) {
    std::set<int> found;
    for (const Part* part : unit)
      found.insert(part->name.ep);
    if (std::ssize(found) == rules.ep_set) {
      units.push_back(unit);
      continue;
    }
    for (const Part* part : unit)
      findings.uncounted(
          part->path,
          fmt::format("{}: of the {} parts that count together, one of each expert-parallel rank, "
                      "{} are there. Its sequences have to be done again.",
                      part->path, rules.ep_set, found.size()));
  }
  return units;
}

/// Where each sequence has been found first.
using Taken = std::unordered_map<std::int64_t, const Part*>;

/// Some, but not all, of the unit's sequences are taken.
bool is_half_taken(const Unit& unit, const Taken& taken) {
  std::size_t num_taken = 0, count = 0;
  for (const Part* part : unit) {
    count += part->entries.size();
    num_taken += static_cast<std::size_t>(std::ranges::count_if(
        part->entries, [&](const PartEntry& entry) { return taken.contains(entry.sequence); }));
  }
  return num_taken > 0 && num_taken < count;
}

/// What counts where units are taken in this order.
Committed take(const std::vector<Unit>& units, const PartRules& rules,
               const PartFindings& findings) {
  Committed committed;
  Taken taken;
  for (const Unit& unit : units) {
    if (rules.holds_sums && is_half_taken(unit, taken)) {
      for (const Part* part : unit)
        findings.spare(
            part->path,
            fmt::format("{}: some of its sequences are also in other parts, and its sums "
                        "are over all of them. It does not count.",
                        part->path));
      continue;
    }
    for (const Part* part : unit) {
      const auto index = static_cast<int>(committed.parts.size());
      committed.parts.push_back(part->path);
      std::size_t num_new = 0;
      for (const PartEntry& entry : part->entries) {
        const auto [at, is_new] = taken.try_emplace(entry.sequence, part);
        if (is_new) {
          committed.sequences.push_back({entry, index});
          ++num_new;
        } else {
          findings.twice(entry.sequence, at->second->path, part->path);
        }
      }
      committed.is_whole.push_back(num_new == part->entries.size());
    }
  }
  std::ranges::sort(committed.sequences, {},
                    [](const CommittedSequence& each) { return each.entry.sequence; });
  return committed;
}

PartFindings silent() {
  const auto tell = [](const std::string&, const std::string&) {};
  return {tell, tell, tell, [](std::int64_t, const std::string&, const std::string&) {}};
}

}  // namespace

const CommittedSequence* Committed::find(std::int64_t sequence) const {
  const auto found = std::ranges::lower_bound(
      sequences, sequence, {}, [](const CommittedSequence& each) { return each.entry.sequence; });
  return found != sequences.end() && found->entry.sequence == sequence ? &*found : nullptr;
}

PartRules part_rules(const base::Json& facts) {
  PartRules rules;
  if (const auto found = facts.find("ep_set"); found != facts.end() && found->is_number_integer())
    rules.ep_set = *found;
  for (const base::Json& dataset : facts.value("layout", base::Json::array()))
    if (dataset.is_object() && dataset.value("per", base::Json()) == "run") rules.holds_sums = true;
  return rules;
}

Committed scan_parts(const std::string& run_dir, const std::string& run_uuid,
                     const PartRules& rules, const PartFindings& findings) {
  const std::vector<Part> parts = read_all(run_dir, run_uuid, findings);
  std::vector<Unit> units = units_of(parts, rules, findings);
  if (rules.holds_sums) {
    // A part that a later attempt did not see may share sequences with the later one's: what the
    // later ones have done counts, unless they did not come as far.
    std::vector<Unit> latest_first = units;
    std::ranges::stable_sort(latest_first, std::greater(),
                             [](const Unit& unit) { return unit.front()->name.attempt; });
    const auto num_taken = [&](const std::vector<Unit>& order) {
      return take(order, rules, silent()).sequences.size();
    };
    if (num_taken(latest_first) >= num_taken(units)) units = std::move(latest_first);
  }
  return take(units, rules, findings);
}

}  // namespace tetrarch::storage
