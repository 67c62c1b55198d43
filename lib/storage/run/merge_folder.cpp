// Merges a run folder by what its run.json says.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "storage/run/merge.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using base::ExitCode;
using base::Json;

Json to_json(const ResultsHeader& header) {
  return {{"command_line", header.command_line},
          {"config_json", header.config_json},
          {"options_json", header.options_json},
          {"weights_xxh3", header.weights_xxh3},
          {"inputs_xxh3", header.inputs_xxh3},
          {"dp", header.grid.dp},
          {"pp", header.grid.pp},
          {"ep", header.grid.ep},
          {"tp", header.grid.tp},
          {"backend", header.backend},
          {"dtype", header.dtype},
          {"reproducible", header.reproducible}};
}

ResultsHeader header_from(const Json& json) {
  ResultsHeader header;
  header.command_line = json.at("command_line");
  header.config_json = json.at("config_json");
  header.options_json = json.at("options_json");
  header.weights_xxh3 = json.at("weights_xxh3");
  header.inputs_xxh3 = json.at("inputs_xxh3");
  const auto size = [&](const char* key) {
    constexpr std::int64_t most_ranks = 1 << 20;
    return static_cast<int>(base::whole_number(json.at(key), 1, most_ranks));
  };
  header.grid = {size("dp"), size("pp"), size("ep"), size("tp")};
  header.backend = json.at("backend");
  header.dtype = json.at("dtype");
  header.reproducible = json.at("reproducible");
  return header;
}

/// The report of a results.h5 that is already complete.
MergeReport report_of_file(const std::string& path) {
  const h5::File file = h5::File::open_to_read(path, ExitCode::input);
  const h5::Dataset states = file.dataset("/sequences/status");
  const h5::Info info = states.info();
  if (info.shape.size() != 1 || info.dtype != DType::u8 || !info.can_hold(info.shape[0]))
    throw base::Refusal(
        ExitCode::input,
        fmt::format("{}:/sequences/status: has shape {} with {} bytes of data (expected one byte "
                    "for each sequence). Remove the file; the command of the run makes it again.",
                    path, base::to_string(info.shape), info.stored_bytes));
  std::vector<std::uint8_t> status(static_cast<std::size_t>(info.shape[0]));
  states.read_all(DType::u8, status.data());
  MergeReport report;
  report.path = path;
  report.num_ok = std::ranges::count(status, static_cast<std::uint8_t>(SequenceStatus::ok));
  report.num_failed = static_cast<std::int64_t>(status.size()) - report.num_ok;
  report.ok_tokens =
      static_cast<std::int64_t>(file.number_attribute("tokens", "/timing").value_or(0));
  report.bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  return report;
}

MergeReport merge_parts(RunFolder& folder, const std::string& where, base::Log& log) {
  const Json& facts = folder.facts();
  const ResultsHeader header = header_from(facts.at("header"));
  const auto layout = layout_from_json(facts.at("layout"), where);
  const InputSet inputs = reopen_inputs(facts, where);
  TimingSummary timing;
  timing.num_ranks = header.grid.dp * header.grid.pp * header.grid.ep * header.grid.tp;
  // damaged results may still be repaired: only complete results may replace them
  const Missing missing = folder.has_damaged_results() ? Missing::refused : Missing::allowed;
  return merge(folder, inputs, layout, header, timing, {}, missing, log);
}

base::Refusal lacks(const std::string& where, const Json::exception& error) {
  return base::Refusal(ExitCode::input,
                       fmt::format("{}: has no complete record of the inputs and outputs ({}). "
                                   "Repeat the command of the run instead.",
                                   where, base::shown(error.what(), 200)));
}

}  // namespace

std::vector<std::string> input_paths_of(const base::Json& facts, const std::string& where) try {
  std::vector<std::string> paths;
  for (const Json& item : facts.at("input_files")) {
    const std::filesystem::path path = item.get<std::string>();
    const std::filesystem::path there = facts.at("working_folder").get<std::string>() / path;
    std::error_code error;  // if the working folder was moved, it may be the current folder
    const bool is_here =
        !std::filesystem::exists(there, error) || std::filesystem::equivalent(there, path, error);
    paths.push_back(is_here ? path.string() : there.string());
  }
  return paths;
} catch (const Json::exception& error) {
  throw lacks(where, error);
}

InputSet reopen_inputs(const base::Json& facts, const std::string& where) try {
  const std::string expected = facts.at("header").at("inputs_xxh3");
  const std::vector<std::string> paths = input_paths_of(facts, where);
  const bool is_scored = facts.value("last_token", "fed") == "only_scored";
  const bool is_bytes = facts.value("tokenizer", "none") == "bytes";
  constexpr std::int64_t most = std::int64_t{1} << 31;
  InputSet inputs = InputSet::open(paths, base::whole_number(facts.at("vocab_size"), 1, most),
                                   base::whole_number(facts.at("max_position"), 1, most),
                                   is_bytes ? plan::Tokenizer::bytes : plan::Tokenizer::none,
                                   is_scored ? LastToken::only_scored : LastToken::fed);
  if (inputs.identity() != expected)
    throw base::Refusal(ExitCode::input,
                        fmt::format("{}: the inputs have changed since the run began (checksum {}, "
                                    "was {}). Put back the original files.",
                                    where, inputs.identity(), expected));
  return inputs;
} catch (const Json::exception& error) {
  throw lacks(where, error);
}

base::Json merge_facts(const InputSet& inputs, const std::vector<DatasetPlan>& layout,
                       const ResultsHeader& header, const plan::ModelSpec& spec) {
  return {{"input_files", inputs.files()},
          {"working_folder", std::filesystem::current_path().string()},
          {"num_sequences", inputs.count()},
          {"tokenizer", inputs.tokenizer() == plan::Tokenizer::bytes ? "bytes" : "none"},
          {"vocab_size", spec.vocab_size},
          {"max_position", spec.max_position},
          {"last_token", inputs.last_token() == LastToken::fed ? "fed" : "only_scored"},
          {"layout", to_json(layout)},
          {"header", to_json(header)}};
}

MergeReport merge_run_folder(const std::string& run_dir, Parts parts, base::Log& log) {
  RunFolder folder = RunFolder::open_existing(run_dir, {}, log);
  MergeReport report;
  if (folder.is_complete()) {
    report = report_of_file(folder.results_path());
  } else {
    const std::string where = run_dir + "/run.json";
    try {
      report = merge_parts(folder, where, log);
    } catch (const Json::exception& error) {
      throw lacks(where, error);
    }
  }
  if (parts == Parts::remove && report.num_missing == 0) folder.remove_parts();
  return report;
}

}  // namespace tetrarch::storage
