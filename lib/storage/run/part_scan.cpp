// Finds which parts of a run folder count, and which sequences they hold.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <unordered_set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "storage/files/durable.hpp"
#include "storage/run/run_folder.hpp"

namespace tetrarch::storage {
namespace {

struct ScannedPart {
  std::string path;
  PartName name;
  PartList list;
};

/// Parts that count together: a single part, or with PartRules::ep_set those of all ep ranks.
using Unit = std::vector<const ScannedPart*>;

std::vector<ScannedPart> read_all(const std::string& run_dir, const std::string& run_uuid,
                                  const PartFindings& findings) {
  std::vector<ScannedPart> parts;
  for (const std::string& name : names_in(run_dir + "/parts")) {
    // hidden files are not yet committed, or belong to the file system (.nfs...)
    if (name.starts_with('.') || name.starts_with("damaged-")) continue;
    const std::string path = run_dir + "/parts/" + name;
    try {
      ScannedPart part;
      part.path = path;
      part.list = read_part(path, run_uuid);
      part.name = *parse_part_name(name);  // read_part() refuses other names
      parts.push_back(std::move(part));
      // A SystemError passes on: a part that cannot be read at the moment may be undamaged.
    } catch (const base::Refusal& problem) {
      findings.damaged(path, problem.what());
    }
  }
  return parts;
}

/// Groups parts into units, in the order of their first parts.
std::vector<Unit> units_of(const std::vector<ScannedPart>& parts, const PartRules& rules,
                           const PartFindings& findings) {
  std::vector<Unit> units;
  if (rules.ep_set == 0) {
    for (const ScannedPart& part : parts)
      units.push_back({&part});
    return units;
  }
  std::map<std::tuple<int, int, int>, Unit> sets;
  for (const ScannedPart& part : parts) {
    if (part.name.ep >= rules.ep_set) {
      findings.damaged(
          part.path, fmt::format("{}: is of expert-parallel rank {}, but the run has {} "
                                 "expert-parallel ranks. Its sequences have to be computed again.",
                                 part.path, part.name.ep, rules.ep_set));
      continue;
    }
    sets[{part.name.dp, part.name.attempt, part.name.number}].push_back(&part);
  }
  for (const auto& [key, unit] : sets) {
    std::set<int> found;
    for (const ScannedPart* part : unit)
      found.insert(part->name.ep);
    if (std::ssize(found) == rules.ep_set) {
      units.push_back(unit);
      continue;
    }
    for (const ScannedPart* part : unit)
      findings.uncounted(
          part->path,
          fmt::format("{}: counts only if the parts of all {} expert-parallel ranks are there, but "
                      "only {} are. Its sequences have to be computed again.",
                      part->path, rules.ep_set, found.size()));
  }
  return units;
}

/// The units that count, in the given order. If parts hold sums, a unit counts only if earlier
/// counting units have all or none of its sequences; else all units count.
std::vector<Unit> counting(const std::vector<Unit>& units, const PartRules& rules,
                           const PartFindings& findings) {
  if (!rules.holds_sums) return units;
  std::vector<Unit> kept;
  std::unordered_set<std::int64_t> taken;
  for (const Unit& unit : units) {
    std::size_t num_taken = 0, count = 0;
    for (const ScannedPart* part : unit) {
      count += part->list.entries.size();
      num_taken += static_cast<std::size_t>(std::ranges::count_if(
          part->list.entries,
          [&](const PartEntry& entry) { return taken.contains(entry.sequence); }));
    }
    if (num_taken > 0 && num_taken < count) {
      for (const ScannedPart* part : unit)
        findings.spare(
            part->path,
            fmt::format("{}: does not count, because some of its sequences are also in other "
                        "parts, and its sums over all its sequences cannot be divided.",
                        part->path));
      continue;
    }
    for (const ScannedPart* part : unit)
      for (const PartEntry& entry : part->list.entries)
        taken.insert(entry.sequence);
    kept.push_back(unit);
  }
  return kept;
}

/// The sequences of all units, taken in the given order. If a sequence is in two parts, the first
/// one counts.
Committed take(const std::vector<Unit>& units) {
  Committed committed;
  std::vector<CommittedSequence>& sequences = committed.sequences;
  std::vector<const ScannedPart*> parts;
  std::size_t count = 0;
  for (const Unit& unit : units)
    for (const ScannedPart* part : unit) {
      parts.push_back(part);
      committed.parts.push_back(part->path);
      count += part->list.entries.size();
    }
  committed.is_whole.assign(parts.size(), true);
  sequences.reserve(count);
  for (std::size_t i = 0; i < parts.size(); ++i)
    for (const PartEntry& entry : parts[i]->list.entries)
      sequences.push_back({entry, static_cast<int>(i)});
  std::ranges::sort(sequences, {}, [](const CommittedSequence& each) {
    return std::tuple(each.entry.sequence, each.part, each.entry.row);
  });
  std::size_t num_kept = 0;
  for (const CommittedSequence& each : sequences) {
    if (num_kept > 0 && sequences[num_kept - 1].entry.sequence == each.entry.sequence) {
      committed.is_whole[static_cast<std::size_t>(each.part)] = false;
      ++committed.num_twice;
    } else {
      sequences[num_kept++] = each;
    }
  }
  sequences.resize(num_kept);
  for (std::size_t i = 0; i < parts.size(); ++i)
    for (const auto& [sequence, error] : parts[i]->list.errors) {
      const CommittedSequence& kept = *committed.find(sequence);
      if (kept.part == static_cast<int>(i) && kept.entry.status != SequenceStatus::ok)
        committed.errors[sequence] = error;
    }
  return committed;
}

PartFindings silent() {
  const auto tell = [](const std::string&, const std::string&) {};
  return {tell, tell, tell};
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
  const std::vector<ScannedPart> parts = read_all(run_dir, run_uuid, findings);
  std::vector<Unit> units = units_of(parts, rules, findings);
  if (rules.holds_sums) {
    // If a later attempt did not see a part, it computed that part's sequences again. Then the
    // parts of the later attempt count, unless fewer sequences would count in that order.
    std::vector<Unit> latest_first = units;
    std::ranges::stable_sort(latest_first, std::greater(),
                             [](const Unit& unit) { return unit.front()->name.attempt; });
    const auto num_taken = [&](const std::vector<Unit>& order) {
      return take(counting(order, rules, silent())).sequences.size();
    };
    if (num_taken(latest_first) >= num_taken(units)) units = std::move(latest_first);
  }
  return take(counting(units, rules, findings));
}

}  // namespace tetrarch::storage
