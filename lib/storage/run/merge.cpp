// Merges the part files of a run folder into one results.h5, in input order.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/merge.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include <fmt/format.h>
#include <unistd.h>

#include "base/build_info.hpp"
#include "base/error.hpp"
#include "base/stop_signal.hpp"
#include "base/text.hpp"
#include "storage/files/checksum.hpp"
#include "storage/files/disk_space.hpp"
#include "storage/files/temporary_file.hpp"
#include "storage/run/merge_check.hpp"
#include "storage/run/merge_copy.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using base::ExitCode;

/// The status of each sequence, and where its rows are.
struct Outcome {
  Sources sources;                             // null for sequences that are not ok
  std::vector<std::uint8_t> status;            // SequenceStatus
  std::map<std::int64_t, std::string> errors;  // of sequences that failed

  std::string error(std::int64_t sequence) const {
    if (const auto found = errors.find(sequence); found != errors.end()) return found->second;
    const auto not_done = static_cast<std::uint8_t>(SequenceStatus::not_done);
    return status[static_cast<std::size_t>(sequence)] == not_done ? "not done yet" : "";
  }
};

Outcome outcome_of(const Committed& committed, const InputSet& inputs) {
  const auto count = static_cast<std::size_t>(inputs.count());
  Outcome outcome{Sources(count, nullptr), std::vector<std::uint8_t>(count), committed.errors};
  const auto set = [&](std::int64_t sequence, SequenceStatus status) {
    outcome.status[static_cast<std::size_t>(sequence)] = static_cast<std::uint8_t>(status);
  };
  for (std::int64_t i = 0; i < inputs.count(); ++i) {
    const SequenceStatus status = inputs.status(i);
    set(i, status == SequenceStatus::ok ? SequenceStatus::not_done : status);
    if (status != SequenceStatus::ok) outcome.errors[i] = inputs.error(i);
  }
  for (const CommittedSequence& each : committed.sequences) {
    const PartEntry& entry = each.entry;
    const bool is_known = entry.sequence >= 0 && entry.sequence < inputs.count() &&
                          inputs.status(entry.sequence) == SequenceStatus::ok &&
                          inputs.length(entry.sequence) == entry.length;
    if (!is_known)
      throw base::Refusal(
          ExitCode::input,
          fmt::format("{}: holds sequence {} of {} tokens, which the inputs do not have. Start "
                      "again in another folder.",
                      committed.parts[static_cast<std::size_t>(each.part)], entry.sequence,
                      entry.length));
    set(entry.sequence, entry.status);
    if (entry.status == SequenceStatus::ok)
      outcome.sources[static_cast<std::size_t>(entry.sequence)] = &each;
  }
  return outcome;
}

template <class T>
void write_values(h5::File& file, const std::string& path, DType dtype, std::span<const T> values,
                  const std::string& description, const std::string& units = "") {
  h5::Create create;
  create.shape = {static_cast<std::int64_t>(values.size())};
  create.dtype = dtype;
  create.description = description;
  create.units = units;
  h5::Dataset dataset = file.create_dataset(path, create);
  if (!values.empty()) dataset.write_all(dtype, values.data());
  dataset.set_attribute("xxh3", hex_text(xxh3(std::as_bytes(values))));
}

void write_texts(h5::File& file, const std::string& path, std::int64_t count,
                 const h5::Dataset::TextOf& text_of, const std::string& description) {
  std::int64_t bytes = 1;
  for (std::int64_t i = 0; i < count; ++i)
    bytes = std::max(bytes, std::ssize(text_of(i)));
  Xxh3 hash;
  h5::Dataset dataset = file.create_texts(path, count, bytes, description);
  dataset.write_texts(count, bytes, [&](std::int64_t i) {
    std::string padded = text_of(i);
    padded.resize(static_cast<std::size_t>(bytes), '\0');
    hash.update(padded);
    return padded;
  });
  dataset.set_attribute("xxh3", hex_text(hash.digest()));
}

void write_sequences(h5::File& file, const InputSet& inputs, const Outcome& outcome) {
  if (inputs.is_numeric()) {
    write_values(file, "/sequences/id", DType::u64, std::span(inputs.numeric_ids()),
                 "the inputs' ids");
  } else {
    write_texts(
        file, "/sequences/id", inputs.count(), [&](std::int64_t i) { return inputs.id(i); },
        "the inputs' ids");
  }
  write_values(file, "/sequences/offsets", DType::u64, inputs.offsets(),
               "sequence i has rows offsets[i] .. offsets[i + 1] - 1 of datasets per token",
               "tokens");
  write_values(file, "/sequences/status", DType::u8, std::span(outcome.status),
               "0 ok, 1 empty, 2 token id, 3 longer than max_position, 4 non-finite, 5 bad record, "
               "255 not done yet");
  write_texts(
      file, "/sequences/error", inputs.count(), [&](std::int64_t i) { return outcome.error(i); },
      "what is wrong with the sequence");
  std::vector<std::uint32_t> files;
  files.reserve(static_cast<std::size_t>(inputs.count()));
  for (std::int64_t i = 0; i < inputs.count(); ++i)
    files.push_back(inputs.file(i));
  write_values(file, "/sequences/file", DType::u32, std::span(std::as_const(files)),
               "index into /inputs/files");
  write_texts(
      file, "/inputs/files", std::ssize(inputs.files()),
      [&](std::int64_t i) { return inputs.files()[static_cast<std::size_t>(i)]; },
      "paths of the input files");
}

void write_root(h5::File& file, const RunFolder& folder, const ResultsHeader& header,
                bool is_complete) {
  const auto text = [&](const char* key, const std::string& value) {
    file.set_attribute(key, value);
  };
  const auto number = [&](const char* key, int value) {
    file.set_attribute(key, static_cast<std::uint64_t>(value));
  };
  text("format", "tetrarch-results");
  file.set_attribute("format_version", std::vector<std::uint32_t>{1, 0});
  text("software_version", base::build_info().version);
  text("git_sha", base::build_info().git_sha);
  text("run_uuid", folder.run_uuid());
  text("created_utc", base::utc_now());
  text("command_line", header.command_line);
  text("config_json", header.config_json);
  text("options_json", header.options_json);
  text("weights_xxh3", header.weights_xxh3);
  text("inputs_xxh3", header.inputs_xxh3);
  text("status", is_complete ? "complete" : "incomplete");
  text("backend", header.backend);
  text("dtype", header.dtype);
  number("dp", header.grid.dp);
  number("pp", header.grid.pp);
  number("ep", header.grid.ep);
  number("tp", header.grid.tp);
  file.set_attribute("reproducible",
                     static_cast<std::uint8_t>(header.reproducible && !folder.is_mixed()));
}

/// Wall time of each attempt of which parts have records: from the start of its first microbatch to
/// the end of its last record.
class AttemptWalls {
 public:
  void add(std::span<const TimingRow> rows) {
    for (const TimingRow& row : rows) {
      if (row.microbatch < 0) continue;
      const auto [at, is_new] = spans_.try_emplace(row.attempt, row.start_s, row.start_s);
      at->second.first = std::min(at->second.first, row.start_s);
      at->second.second = std::max(at->second.second, row.start_s + row.seconds);
    }
  }
  /// Sum over all attempts in seconds; NaN if nothing is known. For the attempt of `summary`, its
  /// wall_seconds count instead of its records, if they are known.
  double total(const TimingSummary& summary) const {
    double seconds = std::isnan(summary.wall_seconds) ? 0 : summary.wall_seconds;
    for (const auto& [attempt, span] : spans_)
      if (attempt != summary.attempt || std::isnan(summary.wall_seconds))
        seconds += span.second - span.first;
    return seconds > 0 ? seconds : TimingSummary::unknown;
  }

 private:
  std::map<int, std::pair<double, double>> spans_;
};

void write_timing(h5::File& file, const Committed& committed, std::span<const TimingRow> rows,
                  const TimingSummary& summary, std::int64_t ok_tokens) {
  h5::Dataset phases =
      file.create_records("/timing/phases", timing_fields(), sizeof(TimingRow), timing_description);
  Xxh3 hash;
  AttemptWalls walls;
  const auto append = [&](std::span<const TimingRow> more) {
    walls.add(more);
    phases.append_records(static_cast<std::int64_t>(more.size()), timing_fields(),
                          sizeof(TimingRow), more.data());
    hash.update(std::as_bytes(more));
  };
  constexpr std::int64_t block = 1 << 16;
  std::vector<TimingRow> buffer;
  for (const std::string& path : committed.parts) {
    const h5::File part = h5::File::open_to_read(path, ExitCode::input);
    const h5::Dataset from = part.dataset("/timing/phases");
    const std::int64_t count = from.info().shape.at(0);
    for (std::int64_t begin = 0; begin < count; begin += block) {
      buffer.resize(static_cast<std::size_t>(std::min(block, count - begin)));
      from.read_records(begin, static_cast<std::int64_t>(buffer.size()), timing_fields(),
                        sizeof(TimingRow), buffer.data());
      append(buffer);
    }
  }
  append(rows);
  phases.set_attribute("xxh3", hex_text(hash.digest()));
  const auto number = [&](const std::string& key, double value) {
    file.set_attribute(key, value, "/timing");
  };
  file.set_attribute("tokens", static_cast<std::uint64_t>(ok_tokens), "/timing");
  const double wall = walls.total(summary);
  const double rate = static_cast<double>(ok_tokens) / wall;
  number("ttft_seconds", summary.ttft_seconds);
  number("wall_seconds", wall);
  number("startup_seconds", summary.startup_seconds);
  number("tokens_per_second", rate);
  number("tokens_per_ms_per_rank", rate / 1e3 / summary.num_ranks);
  number("model_flops", summary.model_flops);
  number("mfu", summary.model_flops / wall / summary.num_ranks / (summary.peak_tflops * 1e12));
  number("peak_tflops", summary.peak_tflops);
  number("joules", summary.joules);
  for (const auto& [key, value] : summary.predicted)
    number(key, value);
}

MergeReport report_of(const Outcome& outcome, const InputSet& inputs) {
  MergeReport report;
  for (std::int64_t i = 0; i < inputs.count(); ++i) {
    const auto status = static_cast<SequenceStatus>(outcome.status[static_cast<std::size_t>(i)]);
    if (status == SequenceStatus::ok) {
      ++report.num_ok;
      report.ok_tokens += inputs.length(i);
    } else if (status == SequenceStatus::not_done) {
      ++report.num_missing;
    } else {
      ++report.num_failed;
    }
  }
  return report;
}

/// What the parts contain, and the status of each sequence; `outcome` points into `committed`.
struct Found {
  Committed committed;
  Outcome outcome;
  MergeReport report;
  std::vector<std::string> problems;  // messages about parts that do not count
};

/// Reads the parts and changes nothing. A network file system may list a part, or a part that
/// counts together with it, only later; a later call then finds it.
Found find(RunFolder& folder, const InputSet& inputs) {
  Found found;
  found.committed = folder.look_at_parts(found.problems);
  found.outcome = outcome_of(found.committed, inputs);
  found.report = report_of(found.outcome, inputs);
  return found;
}

[[noreturn]] void refuse_missing(const std::string& path, const InputSet& inputs,
                                 const Outcome& outcome, std::int64_t num_missing) {
  constexpr int max_listed = 10;
  int num_listed = 0;
  std::string list;
  for (std::int64_t i = 0; i < inputs.count() && num_listed < max_listed; ++i) {
    const auto status = static_cast<SequenceStatus>(outcome.status[static_cast<std::size_t>(i)]);
    if (status != SequenceStatus::not_done) continue;
    list += fmt::format("\n  id {} ({} tokens)", inputs.id(i), inputs.length(i));
    ++num_listed;
  }
  throw base::Refusal(
      ExitCode::resources,
      fmt::format("{}: no part holds {} (a part was removed or damaged after it was written). Run "
                  "the same command again; it computes what is missing.{}{}",
                  path, base::counted(num_missing, "sequence"), list,
                  num_missing > num_listed ? "\n  ..." : ""));
}

}  // namespace

std::int64_t merge_bytes(std::int64_t num_sequences, const std::vector<DatasetPlan>& layout) {
  constexpr std::int64_t of_sequence = 116;   // two entries of parts, its source, its file index
  constexpr std::int64_t of_files = 6 << 20;  // timing records, and HDF5's memory of open files
  std::int64_t row_bytes = 0;
  for (const DatasetPlan& plan : layout)
    row_bytes = std::max(row_bytes, plan.row_bytes());
  return num_sequences * of_sequence + of_files +
         2 * std::max(DatasetCopier::window_bytes, row_bytes);
}

MergeReport merge(RunFolder& folder, const InputSet& inputs, const std::vector<DatasetPlan>& layout,
                  const ResultsHeader& header, const TimingSummary& timing,
                  std::span<const TimingRow> rows, Missing missing, base::Log& log) {
  Found found = find(folder, inputs);
  MergeReport& report = found.report;
  if (missing == Missing::refused)
    while (report.num_missing > 0 && folder.wait_for_parts(log))
      found = find(folder, inputs);
  for (const std::string& problem : found.problems)
    log.note(problem);
  if (missing == Missing::refused && report.num_missing > 0)
    refuse_missing(folder.path(), inputs, found.outcome, report.num_missing);
  report.path = folder.results_path();
  TemporaryFile temporary(report.path, folder.path() + "/.tmp-results.h5");
  const std::int64_t bytes = payload_bytes(layout, inputs.count(), inputs.total_tokens());
  with_space(temporary.path(), bytes, [&] {
    {
      h5::File file = h5::File::create(temporary.path());
      write_root(file, folder, header, report.num_missing == 0);
      write_sequences(file, inputs, found.outcome);
      DatasetCopier copier(found.committed, inputs, found.outcome.sources);
      for (const DatasetPlan& plan : layout)
        copier.copy(plan, file);
      write_timing(file, found.committed, rows, timing, report.ok_tokens);
      file.close();
    }
    check_written(temporary.path());
    temporary.publish();
  });
  report.bytes = static_cast<std::int64_t>(std::filesystem::file_size(report.path));
  return report;
}

}  // namespace tetrarch::storage
