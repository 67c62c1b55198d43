// The folder of a run: lock, settings, committed parts.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/run_folder.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include <fmt/ranges.h>
#include <unistd.h>

#include "base/build_info.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;
using base::ExitCode;
using base::Json;
using base::Refusal;

constexpr std::int64_t max_run_json_bytes = 64 << 20;

/// Appends every leaf of an object with its dotted key. Arrays count as leaves.
void flatten(const Json& json, const std::string& prefix,
             std::vector<std::pair<std::string, Json>>& leaves) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object() && !value.empty()) {
      flatten(value, name, leaves);
    } else {
      leaves.emplace_back(name, value);
    }
  }
}

struct Difference {
  std::string key, was, is;
};

std::vector<Difference> differences(const Json& was, const Json& is) {
  std::vector<std::pair<std::string, Json>> before, after;
  flatten(was, "", before);
  flatten(is, "", after);
  const auto find = [](const auto& leaves, const std::string& key) -> const Json* {
    for (const auto& [name, value] : leaves)
      if (name == key) return &value;
    return nullptr;
  };
  constexpr std::size_t most_shown = 200;
  const auto text = [](const Json* value) {
    return value ? base::shown(value->dump(), most_shown) : std::string("absent");
  };
  std::vector<Difference> found;
  for (const auto& [key, value] : before)
    if (const Json* now = find(after, key); !now || *now != value)
      found.push_back({key, text(&value), text(now)});
  for (const auto& [key, value] : after)
    if (!find(before, key)) found.push_back({key, "absent", text(&value)});
  return found;
}

ExitCode code_of(const std::string& key) {
  if (key == "weights" || key.starts_with("weights.")) return ExitCode::weights;
  if (key == "inputs" || key.starts_with("inputs.")) return ExitCode::input;
  return ExitCode::usage;
}

std::string list_text(const std::vector<Difference>& found) {
  std::string text;
  for (const Difference& each : found)
    text += fmt::format("\n  {}: was {}, is {}", base::shown(each.key), each.was, each.is);
  return text;
}

void refuse_changes(const std::string& path, const std::vector<Difference>& found,
                    const std::string& advice) {
  if (found.empty()) return;
  // the exit code is that of the most important difference: weights, then inputs, then settings
  ExitCode code = code_of(found.front().key);
  for (const Difference& each : found) {
    const ExitCode other = code_of(each.key);
    if (other == ExitCode::weights || (other == ExitCode::input && code != ExitCode::weights))
      code = other;
  }
  throw Refusal(code, fmt::format("{}: cannot be resumed (results of different settings would be "
                                  "mixed). {}{}",
                                  path, advice, list_text(found)));
}

std::string made_folder(std::string path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path, error))
    throw Refusal(ExitCode::resources,
                  fmt::format("{}: cannot be used as a folder of the run ({}). Check the path, "
                              "its permissions and the free space, or use another --out.",
                              path, error ? error.message() : "it is a file"));
  return path;
}

/// Removes a folder. Tries again while a rank of an earlier attempt, which is still ending, creates
/// files in it.
void remove_whole(const std::string& path) {
  constexpr int num_tries = 100;
  std::error_code error;
  for (int i = 0; i < num_tries; ++i) {
    fs::remove_all(path, error);
    if (error != std::errc::directory_not_empty) break;
  }
  if (error) fail_file(path, "removed", error.value());
}

bool has_integer(const Json& object, const char* key, std::int64_t largest) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() && found->get<std::int64_t>() >= 0 &&
         found->get<std::int64_t>() <= largest;
}

bool has_object(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object();
}

bool is_run_json(const Json& json) {
  constexpr std::int64_t most_attempts = 1'000'000'000, most_ranks = 1 << 20;
  if (!json.is_object() || json.value("format", Json()) != "tetrarch-run" ||
      !json.value("run_uuid", Json()).is_string() ||
      !json.value("is_mixed", Json(false)).is_boolean() || !has_object(json, "frozen") ||
      !has_object(json, "mixable") || !has_object(json, "facts"))
    return false;
  const Json& facts = json.at("facts");
  return has_integer(json, "attempt", most_attempts) &&
         (!facts.contains("ep_set") || has_integer(facts, "ep_set", most_ranks));
}

}  // namespace

void refuse_foreign_folder(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error) || is_there(path + "/run.json")) return;
  constexpr std::size_t most_named = 3;
  std::vector<std::string> foreign;
  for (const std::string& name : names_in(path)) {
    const bool is_ours = name == "lock" || name == "parts" || name == "watchdog" ||
                         name == "stop" || name == "results.h5" || name.starts_with(".tmp-") ||
                         name.starts_with("synth-");
    if (!is_ours) foreign.push_back(base::shown(name));
  }
  // another job may have begun in this folder since the first look
  if (foreign.empty() || is_there(path + "/run.json")) return;
  std::ranges::sort(foreign);
  const std::size_t num_foreign = foreign.size();
  foreign.resize(std::min(num_foreign, most_named));
  throw Refusal(
      ExitCode::usage,
      fmt::format("--out {}: is not empty and is no run folder (it has {}{}, but no run.json). Use "
                  "another folder, or an empty one.",
                  path, fmt::join(foreign, ", "), num_foreign > most_named ? ", ..." : ""));
}

base::Json read_run_json(const std::string& run_dir) {
  const std::string path = run_dir + "/run.json";
  std::error_code error;
  if (fs::is_directory(run_dir, error) &&
      fs::symlink_status(path, error).type() == fs::file_type::not_found)
    throw Refusal(ExitCode::input, fmt::format("{}: is no run folder (it has no run.json). Give "
                                               "a file, or the folder that --out named.",
                                               run_dir));
  Json json = base::parse_json(read_text_file(path, max_run_json_bytes), path, ExitCode::input);
  if (!is_run_json(json))
    throw Refusal(ExitCode::input,
                  fmt::format("{}: is not the record of a run (its format is not \"tetrarch-run\", "
                              "or entries are missing or wrong). Use another folder.",
                              path));
  return json;
}

RunFolder::RunFolder(std::string path, const RunFolderOptions& options, base::Log& log)
    : path_(made_folder(std::move(path))),
      lock_(path_ + "/lock", options.lock_wait_s, log),
      parts_wait_s_(options.parts_wait_s) {
  if (!is_there(path_ + "/run.json")) return;
  json_ = read_run_json(path_);
  run_uuid_ = json_["run_uuid"];
  attempt_ = json_["attempt"];
  is_mixed_ = json_.value("is_mixed", false);
  look_at_results(log);
}

RunFolder RunFolder::open(const std::string& path, const RunSettings& settings,
                          const RunFolderOptions& options, base::Log& log) {
  refuse_foreign_folder(path);
  RunFolder folder(path, options, log);
  if (folder.json_.is_null()) {
    if (is_there(folder.results_path()))
      throw Refusal(ExitCode::usage,
                    fmt::format("{}: holds a results.h5 but no run.json (another run's results "
                                "would be overwritten). Use another --out.",
                                path));
    folder.run_uuid_ = base::make_uuid();
    folder.json_ = {{"format", "tetrarch-run"},
                    {"format_version", {1, 0}},
                    {"software_version", base::build_info().version},
                    {"git_sha", base::build_info().git_sha},
                    {"run_uuid", folder.run_uuid_},
                    {"created_utc", base::utc_now()},
                    {"attempt", 0},
                    {"is_mixed", false},
                    {"frozen", settings.frozen},
                    {"mixable", settings.mixable},
                    {"facts", settings.facts}};
  } else {
    folder.compare(settings, options, log);
  }
  if (!folder.is_complete()) made_folder(path + "/parts");
  folder.remove_temporary();
  std::error_code error;
  fs::remove(path + "/stop", error);
  if (folder.is_complete()) {
    // an attempt that was killed after it had written the results has left its parts
    if (!options.keep_parts) folder.remove_parts();
    return folder;
  }
  folder.json_["attempt"] = ++folder.attempt_;
  folder.json_["is_mixed"] = folder.is_mixed_;
  folder.json_["facts"] = settings.facts;
  folder.save();
  folder.attempt_folder_ = made_folder(attempt_folder(path, folder.attempt_));
  return folder;
}

RunFolder RunFolder::open_existing(const std::string& path, const RunFolderOptions& options,
                                   base::Log& log) {
  read_run_json(path);
  RunFolder folder(path, options, log);
  folder.remove_temporary();
  return folder;
}

void RunFolder::compare(const RunSettings& settings, const RunFolderOptions& options,
                        base::Log& log) {
  refuse_changes(path_, differences(json_["frozen"], settings.frozen),
                 "Give the same settings as at the start, or use another --out.");
  const std::vector<Difference> mixed = differences(json_["mixable"], settings.mixable);
  if (mixed.empty()) return;
  if (!options.allow_mixed)
    refuse_changes(path_, mixed,
                   "Use the settings that the run began with, or another --out, or --allow-mixed "
                   "(results are then not reproducible bit for bit).");
  is_mixed_ = true;
  log.note(
      fmt::format("{}: goes on with other settings than at its start; results are not "
                  "reproducible bit for bit{}",
                  path_, list_text(mixed)));
}

void RunFolder::remove_temporary() {
  for (const std::string& folder : {path_, path_ + "/parts"})
    for (const std::string& name : names_in(folder))
      if (name.starts_with(".tmp-")) remove_whole(folder + "/" + name);
}

RunFolder::~RunFolder() {
  std::error_code error;
  if (lock_.is_held() && !attempt_folder_.empty()) fs::remove(attempt_folder_, error);
}

void RunFolder::save() const {
  write_atomically(path_ + "/run.json",
                   json_.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string RunFolder::results_path() const {
  return path_ + "/results.h5";
}
std::string RunFolder::log_path() const {
  return path_ + "/log.txt";
}

/// Sets the state of results.h5 if there is one: complete, unfinished or damaged. Throws
/// SystemError(resources) if its bytes cannot be read: then it is unknown whether they are damaged.
void RunFolder::look_at_results(base::Log& log) {
  if (!is_there(results_path())) return;
  prove_readable(results_path());
  std::string uuid;
  try {
    const h5::File file = h5::File::open_to_read(results_path(), ExitCode::input);
    uuid = file.text_attribute("run_uuid").value_or("");
    results_ =
        file.text_attribute("status") == "complete" ? Results::complete : Results::unfinished;
  } catch (const Refusal& problem) {
    results_ = Results::damaged;
    log.note(fmt::format("{} It is kept until new results can replace it.", problem.what()));
    return;
  }
  if (uuid != run_uuid_)
    throw Refusal(ExitCode::usage,
                  fmt::format("{}: is not of run {}, which run.json beside it describes (its "
                              "run_uuid is \"{}\"). Move one of them away, or use another --out.",
                              results_path(), run_uuid_, base::shown(uuid, 40)));
}

/// Lists parts/. Creates and removes a folder in it first: after a change of its own, an NFS client
/// reads the list of entries again from the server.
void RunFolder::list_parts() {
  const std::string probe = path_ + "/parts/.tmp-probe";
  std::error_code error;
  fs::create_directory(probe, error);
  fs::remove(probe, error);
  listed_ = names_in(path_ + "/parts");
}

Committed RunFolder::committed(base::Log& log) {
  const auto done = [](const std::string& path, const std::error_code& error) {
    if (error)
      throw base::SystemError(
          ExitCode::resources,
          fmt::format("{}: cannot be renamed or removed ({}). Remove it.", path, error.message()));
  };
  PartFindings findings;
  findings.damaged = [&](const std::string& path, const std::string& problem) {
    const fs::path from(path);
    const fs::path to = from.parent_path() / ("damaged-" + from.filename().string());
    std::error_code error;
    fs::rename(from, to, error);
    done(path, error);
    log.note(fmt::format("{} It is now {}.", problem, to.string()));
  };
  findings.uncounted = [&](const std::string& path, const std::string& problem) {
    std::error_code error;
    fs::remove(path, error);
    done(path, error);
    log.note(fmt::format("{} It is removed.", problem));
  };
  findings.spare = [&](const std::string&, const std::string& problem) { log.note(problem); };
  list_parts();
  Committed found = scan_parts(path_, run_uuid_, part_rules(facts()), findings);
  if (found.num_twice > 0)
    log.note(fmt::format("{}: {} found in more than one part; the first one counts", path_,
                         base::counted(found.num_twice, "sequence")));
  return found;
}

Committed RunFolder::look_at_parts(std::vector<std::string>& problems) {
  problems.clear();
  PartFindings findings;
  findings.damaged = findings.uncounted = findings.spare =
      [&](const std::string&, const std::string& problem) { problems.push_back(problem); };
  list_parts();
  return scan_parts(path_, run_uuid_, part_rules(facts()), findings);
}

bool RunFolder::wait_for_parts(base::Log& log) {
  constexpr double pause_s = 0.25;
  if (!std::exchange(has_said_wait_, true) && parts_wait_s_ > 0)
    log.say(
        "{}/parts: committed parts are missing (a network file system may list them later); "
        "waiting up to {:.0f} s",
        path_, parts_wait_s_);
  for (; parts_wait_s_ > 0; parts_wait_s_ -= pause_s) {
    std::this_thread::sleep_for(std::chrono::duration<double>(pause_s));
    const std::vector<std::string> before = listed_;
    list_parts();
    if (listed_ != before) return true;
  }
  return false;
}

bool RunFolder::stop_requested() const {
  return ::access((path_ + "/stop").c_str(), F_OK) == 0;
}

void RunFolder::remove_parts() {
  std::error_code error;
  for (const std::string& name : names_in(path_ + "/parts"))
    if (parse_part_name(name)) fs::remove(path_ + "/parts/" + name, error);
  if (!attempt_folder_.empty()) fs::remove(attempt_folder_, error);
  fs::remove(path_ + "/parts", error);  // succeeds only if it is empty
}

}  // namespace tetrarch::storage
