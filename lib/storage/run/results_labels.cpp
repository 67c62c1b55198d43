// Reads and checks what describes a results.h5: attributes, sequences, list of datasets, timing.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/results_labels.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "storage/files/checksum.hpp"
#include "storage/run/part_file.hpp"

namespace tetrarch::storage {

using base::DType;
using base::ExitCode;

ResultsLabels::ResultsLabels(const std::string& path)
    : path_(path), file_(h5::File::open_to_read(path, ExitCode::input)) {
  check_attributes();
  check_sequences();
}

void ResultsLabels::refuse(const std::string& object, const std::string& problem) const {
  throw base::Refusal(ExitCode::input,
                      fmt::format("{}:{}: {}. Make the results again.", path_, object, problem));
}

void ResultsLabels::check_attributes() {
  for (const char* key :
       {"format", "software_version", "git_sha", "run_uuid", "created_utc", "command_line",
        "config_json", "weights_xxh3", "inputs_xxh3", "status", "backend", "dtype"})
    if (!file_.text_attribute(key)) refuse("/", fmt::format("attribute {} is missing", key));
  for (const char* key : {"dp", "pp", "ep", "tp", "reproducible"})
    if (!file_.integer_attribute(key)) refuse("/", fmt::format("attribute {} is missing", key));
  const auto version = file_.integer_attribute("format_version");
  if (!version || version->empty() || version->front() != 1)
    refuse("/", "attribute format_version is not 1, 0");
  const std::string status = *file_.text_attribute("status");
  if (status != "complete" && status != "incomplete")
    refuse("/", fmt::format("status is \"{}\" (complete or incomplete was expected)", status));
  summary_.is_complete = status == "complete";
  summary_.run_uuid = *file_.text_attribute("run_uuid");
  try {
    spec_ = plan::parse_model_spec(*file_.text_attribute("config_json"), path_);
  } catch (const base::Refusal& error) {
    throw base::Refusal(ExitCode::input, error.what());
  }
}

void ResultsLabels::check_hash(const h5::Dataset& dataset, const std::string& path,
                               std::uint64_t found) const {
  const auto expected = dataset.text_attribute("xxh3");
  if (!expected) refuse(path, "attribute xxh3 is missing");
  if (*expected != hex_text(found))
    refuse(path, fmt::format("checksum is {}, expected {}: the data is damaged", hex_text(found),
                             *expected));
  if (!dataset.text_attribute("description")) refuse(path, "attribute description is missing");
}

std::vector<std::uint8_t> ResultsLabels::read_bytes(const std::string& path, DType dtype,
                                                    std::int64_t count) const {
  const h5::Dataset dataset = file_.dataset(path);
  const h5::Info info = dataset.info();
  const std::int64_t bytes = base::checked_mul(count, base::size_of(dtype));
  dataset.check_written();
  if (info.shape != base::Shape{count} || info.dtype != dtype || !info.can_hold(bytes))
    refuse(path,
           fmt::format("shape {} with {} bytes, expected [{}] of {}", base::to_string(info.shape),
                       info.stored_bytes, count, base::name_of(dtype)));
  std::vector<std::uint8_t> data(static_cast<std::size_t>(bytes));
  if (count > 0) dataset.read_all(dtype, data.data());
  check_hash(dataset, path, xxh3(std::as_bytes(std::span(data))));
  return data;
}

void ResultsLabels::check_texts(const std::string& path, std::int64_t count,
                                const VisitText& visit) const {
  const h5::Dataset dataset = file_.dataset(path);
  const h5::Info info = dataset.info();
  dataset.check_written();
  if (info.text_bytes <= 0 || info.shape.size() != 1 || (count >= 0 && info.shape[0] != count) ||
      !info.can_hold(base::checked_mul(info.shape[0], info.text_bytes)))
    refuse(path, fmt::format("shape {}, expected {} texts of fixed length",
                             base::to_string(info.shape), count));
  Xxh3 hash;
  dataset.visit_texts([&](std::int64_t i, std::string& text) {
    if (visit) visit(i, text);
    text.resize(static_cast<std::size_t>(info.text_bytes), '\0');
    hash.update(text);
  });
  check_hash(dataset, path, hash.digest());
}

void ResultsLabels::check_sequences() {
  const h5::Info info = file_.dataset("/sequences/offsets").info();
  if (info.shape.size() != 1 || info.shape[0] < 1)
    refuse("/sequences/offsets",
           fmt::format("has shape {}, expected one axis of at least one element",
                       base::to_string(info.shape)));
  count_ = info.shape[0] - 1;
  offsets_ = read<std::uint64_t>("/sequences/offsets", DType::u64, count_ + 1);
  if (offsets_.front() != 0 || !std::ranges::is_sorted(offsets_) ||
      offsets_.back() > static_cast<std::uint64_t>(INT64_MAX))
    refuse("/sequences/offsets", "does not rise from 0");
  status_ = read_bytes("/sequences/status", DType::u8, count_);
  if (file_.dataset("/sequences/id").info().dtype) {
    read_bytes("/sequences/id", DType::u64, count_);
  } else {
    check_texts("/sequences/id", count_);
  }
  // the first sequence whose status and error disagree
  std::pair<std::int64_t, std::string> contradiction{-1, ""};
  check_texts("/sequences/error", count_, [&](std::int64_t i, const std::string& error) {
    const auto status = static_cast<SequenceStatus>(status_[static_cast<std::size_t>(i)]);
    if (contradiction.first < 0 && (status == SequenceStatus::ok) != error.empty())
      contradiction = {i, error};
  });
  std::size_t num_files = 0;
  check_texts("/inputs/files", -1, [&](std::int64_t, const std::string&) { ++num_files; });
  const auto file = read<std::uint32_t>("/sequences/file", DType::u32, count_);
  for (std::int64_t i = 0; i < count_; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const auto status = static_cast<SequenceStatus>(status_[index]);
    const auto refuse_it = [&](const std::string& problem) {
      refuse("/sequences", fmt::format("sequence {} {}", i, problem));
    };
    if (name_of(status) == "unknown") refuse_it(fmt::format("has status {}", status_[index]));
    if (file[index] >= num_files)
      refuse_it(
          fmt::format("is of input file {}, but /inputs/files has {}", file[index], num_files));
    if (i == contradiction.first)
      refuse_it(
          fmt::format("has status {} and error \"{}\"", status_[index], contradiction.second));
    if (status == SequenceStatus::ok) {
      ++summary_.num_ok;
    } else if (status == SequenceStatus::not_done) {
      ++summary_.num_missing;
    } else {
      ++summary_.num_failed;
    }
  }
  if (summary_.is_complete != (summary_.num_missing == 0))
    refuse("/",
           fmt::format("status is \"{}\" with {} sequences not done",
                       summary_.is_complete ? "complete" : "incomplete", summary_.num_missing));
}

std::vector<DatasetPlan> ResultsLabels::layout() const {
  plan::Outputs outputs;
  outputs.logprobs = file_.has("/logprobs/token");
  outputs.last_logits = file_.has("/last_logits");
  outputs.kv = file_.has("/kv/00/k");
  outputs.routing = file_.has("/routing/tokens_per_expert");
  outputs.topk = file_.has("/topk/ids");
  if (outputs.topk) {
    const base::Shape shape = file_.dataset("/topk/ids").info().shape;
    if (shape.size() != 2 || shape[1] < 1 || shape[1] > spec_.vocab_size)
      refuse("/topk/ids", fmt::format("has shape {}, expected two axes, the second of 1 to {}",
                                      base::to_string(shape), spec_.vocab_size));
    outputs.top_k_logprobs = shape[1];
  }
  const std::vector<std::string> paths = file_.list();
  const auto has = [&](const std::string& path) { return std::ranges::count(paths, path) > 0; };
  for (std::int64_t layer = -1; layer <= spec_.num_layers; ++layer) {
    const std::string path = layer < 0                   ? "/hidden/embed"
                             : layer == spec_.num_layers ? "/hidden/final"
                                                         : numbered_path("hidden", layer);
    if (layer >= 0 && layer < spec_.num_layers && has(numbered_path("experts", layer)))
      outputs.experts = true;
    if (!has(path)) continue;
    outputs.hidden = true;
    outputs.hidden_layers.push_back(layer);
    const h5::Info info = file_.dataset(path).info();
    const base::Shape unpooled{static_cast<std::int64_t>(offsets_.back()), spec_.hidden_size};
    if (info.shape != unpooled || info.dtype != spec_.dtype) outputs.pooling = plan::Pooling::last;
  }
  std::vector<DatasetPlan> layout = results_layout(outputs, spec_);
  constexpr std::array others = {"/sequences/", "/inputs/", "/timing/"};
  for (const std::string& path : paths) {
    const bool is_other =
        std::ranges::any_of(others, [&](const char* prefix) { return path.starts_with(prefix); });
    if (!is_other && find_dataset(layout, path) < 0)
      refuse(path, "is not a dataset of results of this version");
  }
  return layout;
}

void ResultsLabels::check_timing() const {
  const h5::Dataset phases = file_.dataset("/timing/phases");
  const h5::Info info = phases.info();
  phases.check_written();
  if (info.shape.size() != 1) refuse("/timing/phases", "is not a list of records");
  if (!info.can_hold(base::checked_mul(info.shape[0], sizeof(TimingRow))))
    refuse("/timing/phases",
           fmt::format("{} bytes of data do not fit {} records", info.stored_bytes, info.shape[0]));
  constexpr std::int64_t block = 1 << 16;
  std::vector<TimingRow> rows;
  Xxh3 hash;
  for (std::int64_t begin = 0; begin < info.shape[0]; begin += block) {
    rows.resize(static_cast<std::size_t>(std::min(block, info.shape[0] - begin)));
    phases.read_records(begin, static_cast<std::int64_t>(rows.size()), timing_fields(),
                        sizeof(TimingRow), rows.data());
    hash.update(std::as_bytes(std::span(rows)));
  }
  check_hash(phases, "/timing/phases", hash.digest());
  for (const char* key : {"ttft_seconds", "wall_seconds", "startup_seconds", "tokens_per_second",
                          "tokens_per_ms_per_rank", "model_flops", "mfu", "joules"})
    if (!file_.number_attribute(key, "/timing"))
      refuse("/timing", fmt::format("attribute {} is missing", key));
  std::int64_t ok_tokens = 0;
  for (std::int64_t i = 0; i < count_; ++i)
    if (is_ok(i)) ok_tokens += offset(i + 1) - offset(i);
  const auto tokens = file_.integer_attribute("tokens", "/timing");
  if (!tokens || *tokens != std::vector<std::int64_t>{ok_tokens})
    refuse("/timing",
           fmt::format("attribute tokens is not {}, the tokens of all sequences that are ok",
                       ok_tokens));
}

}  // namespace tetrarch::storage
