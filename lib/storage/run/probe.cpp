// Opens a foreign HDF5 file and reads its attributes as its later reader will.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/probe.hpp"

#include <algorithm>
#include <array>
#include <filesystem>

#include <fmt/format.h>

#include "base/json.hpp"
#include "base/log.hpp"
#include "storage/files/durable.hpp"
#include "storage/files/file_kind.hpp"
#include "storage/h5/h5.hpp"
#include "storage/run/inspect.hpp"
#include "storage/run/merge.hpp"
#include "storage/run/run_folder.hpp"
#include "storage/weights/foreign_weights.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using Progress = std::function<void()>;

constexpr std::array<std::string_view, 5> words = {"weights", "inputs", "inspect", "verify",
                                                   "results"};

void probe_texts(const h5::Dataset& dataset, std::int64_t count, const Progress& progress) {
  constexpr std::int64_t block = 1 << 16;
  for (std::int64_t begin = 0; begin < count; begin += block) {
    dataset.read_texts(begin, std::min(block, count - begin));
    progress();
  }
}

void probe_inputs(const std::string& path, const Progress& progress) {
  const h5::File file = h5::File::open_to_read(path, ExitCode::input);
  file.text_attribute("format");
  file.integer_attribute("format_version");
  for (const char* name : {"/tokens", "/offsets", "/ids", "/score_from"}) {
    if (!file.has(name)) continue;
    const h5::Dataset dataset = file.dataset(name);
    const h5::Info info = dataset.info();
    dataset.check_written();
    if (info.is_variable_text && info.shape.size() == 1 && info.stored_bytes > 0)
      probe_texts(dataset, info.shape[0], progress);
  }
}

void probe_any(const std::string& path) {
  base::Log nobody(base::Log::Sink::none);
  inspect(path, nobody);
}

void probe_to_verify(const std::string& path, const Progress& progress) {
  refuse_other_kinds(path, code_of(path, Purpose::verify));
  std::string format;
  {
    const h5::File file = h5::File::open_to_read(path, code_of(path, Purpose::verify));
    format = file.text_attribute("format").value_or("");
  }
  if (format == "tetrarch-weights") {
    WeightsFile::open(path, WeightsLayout::any);
  } else if (format == "tetrarch-inputs") {
    probe_inputs(path, progress);
  } else if (format.starts_with("tetrarch-")) {
    probe_any(path);
  }
}

/// Reads what is needed to see whether results are complete. A file that cannot be opened is no
/// error here, because the results can be made again.
void probe_results(const std::string& path) try {
  const h5::File file = h5::File::open_to_read(path, ExitCode::input);
  file.text_attribute("status");
  file.text_attribute("run_uuid");
  if (file.has("/sequences/status")) file.dataset("/sequences/status").info();
  if (file.has("/timing")) file.number_attribute("tokens", "/timing");
} catch (const base::Refusal&) {
}

}  // namespace

std::string_view name_of(Purpose purpose) {
  return words[static_cast<std::size_t>(purpose)];
}

Purpose purpose_from(std::string_view word) {
  const auto found = std::ranges::find(words, word);
  if (found == words.end())
    throw base::Refusal(ExitCode::usage,
                        fmt::format("\"{}\" is no purpose of a file. Use weights, inputs, "
                                    "inspect, verify or results.",
                                    word));
  return static_cast<Purpose>(found - words.begin());
}

base::ExitCode code_of(const std::string& path, Purpose purpose) {
  const std::string name = std::filesystem::path(path).filename().string();
  const bool says_weights = name.find("weights") != std::string::npos;
  const bool is_weights =
      purpose == Purpose::weights ||
      (says_weights && (purpose == Purpose::inspect || purpose == Purpose::verify));
  return is_weights ? ExitCode::weights : ExitCode::input;
}

std::vector<std::string> inputs_of_run(const std::string& run_dir) {
  const base::Json run = read_run_json(run_dir);
  const std::string results = run_dir + "/results.h5";
  if (is_there(results)) try {
      const h5::File file = h5::File::open_to_read(results, ExitCode::input);
      if (file.text_attribute("status") == "complete") return {};
    } catch (const base::Refusal&) {  // reported when it is opened for use
    }
  return input_paths_of(run["facts"], run_dir + "/run.json");
}

void probe_file(const std::string& path, Purpose purpose, const Progress& progress) {
  switch (purpose) {
    case Purpose::weights:
      refuse_foreign_weights(path);
      WeightsFile::open(path);
      return;
    case Purpose::inputs:
      return probe_inputs(path, progress);
    case Purpose::inspect:
      return probe_any(path);
    case Purpose::verify:
      return probe_to_verify(path, progress);
    case Purpose::results:
      return probe_results(path);
  }
}

}  // namespace tetrarch::storage
