// Verifies a file or run folder.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/verify.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "storage/files/file_kind.hpp"
#include "storage/inputs/error_reasons.hpp"
#include "storage/inputs/inputs_file.hpp"
#include "storage/run/merge.hpp"
#include "storage/run/part_file.hpp"
#include "storage/run/probe.hpp"
#include "storage/run/run_folder.hpp"
#include "storage/run/verify_results.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;
using base::ExitCode;
using base::Refusal;

constexpr int max_listed = 10;

void verify_weights(const std::string& path, base::Log& log) {
  const WeightsFile weights = WeightsFile::open(path, WeightsLayout::any);
  weights.verify_all({});
  log.say("{}: {} tensors, {}: every block's checksum agrees (identity {})", path,
          weights.tensors().size(), base::bytes_text(weights.total_bytes()), weights.identity());
  if (!weights.is_contiguous())
    log.note(
        fmt::format("its tensors are stored in chunks or compressed. A run needs them contiguous. "
                    "Rewrite the file first: h5repack -l CONTI -f NONE {} NEW.h5",
                    path));
}

void verify_inputs(const std::string& path, base::Log& log) {
  constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max();
  const InputSet inputs = InputSet::open({path}, any, any, plan::Tokenizer::bytes);
  std::int64_t num_bad = 0;
  for (std::int64_t i = 0; i < inputs.count(); ++i)
    num_bad += inputs.status(i) != SequenceStatus::ok;
  log.say("{}: {}, {}: types, shapes, offsets and ids agree (identity {})", path,
          base::counted(inputs.count(), "sequence"), base::counted(inputs.total_tokens(), "token"),
          inputs.identity());
  for (const std::string& note : inputs.notes())
    log.note(note);
  if (num_bad > 0) log.note(fmt::format("a run makes {}", error_summary(inputs)));
}

void verify_part(const std::string& path, const std::string& run_uuid, base::Log& log) {
  const PartList list = read_part(path, run_uuid);
  log.say("{}: a part of run {} with {}: its checksum agrees", path, run_uuid,
          base::counted(std::ssize(list.entries), "sequence"));
}

[[noreturn]] void not_complete(const std::string& path, std::int64_t num_missing,
                               const std::string& list) {
  throw Refusal(
      ExitCode::stopped_early,
      fmt::format("{}: undamaged, but {} {} not done yet. Run the same command again.{}", path,
                  base::counted(num_missing, "sequence"), num_missing == 1 ? "is" : "are", list));
}

/// The sequences in the parts of a run folder. Throws Refusal(input) if parts are damaged or
/// foreign; one message counts them and lists the first ten.
Committed sound_parts(const std::string& path, const base::Json& run, base::Log& log) {
  int num_problems = 0;
  std::string list;
  const auto add = [&](const std::string& problem) {
    if (++num_problems <= max_listed) list += "\n  " + problem;
  };
  PartFindings findings;
  findings.damaged = [&](const std::string&, const std::string& problem) { add(problem); };
  // left by a killed attempt, and removed by the next one
  findings.uncounted = [&](const std::string&, const std::string& problem) { log.note(problem); };
  findings.spare = findings.uncounted;
  Committed committed = scan_parts(path, run["run_uuid"], part_rules(run["facts"]), findings);
  if (committed.num_twice > 0)  // no error: the bits are equal
    log.note(fmt::format("{}: {} found in more than one part; the first one counts", path,
                         base::counted(committed.num_twice, "sequence")));
  if (num_problems > 0)
    throw Refusal(
        ExitCode::input,
        fmt::format(
            "{}: {} with its parts. Run the same command again; it computes what is missing.{}",
            path, base::counted(num_problems, "problem"), list));
  return committed;
}

void verify_run_folder(const std::string& path, base::Log& log) {
  const base::Json json = read_run_json(path);
  const std::string run_uuid = json["run_uuid"];
  const Committed committed = sound_parts(path, json, log);
  log.say("{}: run {}, {} with {}: every checksum agrees", path, run_uuid,
          base::counted(std::ssize(committed.parts), "part"),
          base::counted(std::ssize(committed.sequences), "sequence"));
  if (const std::string results = path + "/results.h5"; is_there(results)) {
    const ResultsSummary summary = verify_results(results, log);
    if (summary.run_uuid != run_uuid)
      throw Refusal(
          ExitCode::input,
          fmt::format("{}: belongs to run {}, but run.json is of run {}. Move one of them away.",
                      results, summary.run_uuid, run_uuid));
    if (summary.is_complete) return;
  }
  const InputSet inputs = reopen_inputs(json["facts"], path + "/run.json");
  std::int64_t num_missing = 0;
  std::string list;
  for (const plan::SequenceLength& each : inputs.lengths_ok()) {
    if (committed.has(each.sequence)) continue;
    if (++num_missing <= max_listed)
      list += fmt::format("\n  id {} ({} tokens)", inputs.id(each.sequence),
                          inputs.length(each.sequence));
  }
  if (num_missing > 0) not_complete(path, num_missing, list);
  throw Refusal(ExitCode::stopped_early,
                fmt::format("{}: every sequence is done, but results.h5 is not made yet. Run the "
                            "same command again, or tetrarch merge.",
                            path));
}

}  // namespace

void verify(const std::string& path, base::Log& log) {
  std::error_code error;
  if (fs::is_directory(path, error)) return verify_run_folder(path, log);
  if (holds_lines(path)) return verify_inputs(path, log);
  refuse_other_kinds(path, code_of(path, Purpose::verify));
  std::string format, run_uuid;
  {
    const h5::File file = h5::File::open_to_read(path, code_of(path, Purpose::verify));
    format = file.text_attribute("format").value_or("");
    run_uuid = file.text_attribute("run_uuid").value_or("");
  }
  if (format == "tetrarch-weights") return verify_weights(path, log);
  if (format == "tetrarch-inputs") return verify_inputs(path, log);
  if (format == "tetrarch-part") return verify_part(path, run_uuid, log);
  if (format != "tetrarch-results")
    throw Refusal(code_of(path, Purpose::verify),
                  fmt::format("{}: its attribute format is \"{}\" (none of Tetrarch's formats). "
                              "Give weights, inputs, results or a run folder.",
                              path, format));
  const ResultsSummary summary = verify_results(path, log);
  if (!summary.is_complete) not_complete(path, summary.num_missing, "");
}

}  // namespace tetrarch::storage
