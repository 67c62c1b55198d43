// Proves a results.h5 whole and consistent.
// SPDX-License-Identifier: Apache-2.0
#include "storage/verify_results.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "plan/model_spec.hpp"
#include "storage/checksum.hpp"
#include "storage/h5.hpp"
#include "storage/part_file.hpp"
#include "storage/results_layout.hpp"
#include "storage/verify_outputs.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using base::ExitCode;
using Per = DatasetPlan::Per;

constexpr std::int64_t window_bytes = 16 << 20;

bool is_nan_element(DType dtype, const std::byte* at) {
  if (dtype == DType::f64) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, at, sizeof bits);
    return (bits & 0x7fffffffffffffff) > 0x7ff0000000000000;
  }
  if (dtype == DType::f32) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, at, sizeof bits);
    return (bits & 0x7fffffff) > 0x7f800000;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return dtype == DType::bf16 && (bits & 0x7fff) > 0x7f80;
}

class ResultsVerifier {
 public:
  explicit ResultsVerifier(const std::string& path)
      : path_(path), file_(h5::File::open_to_read(path, ExitCode::input)) {}

  ResultsSummary run(base::Log& log);

 private:
  [[noreturn]] void refuse(const std::string& object, const std::string& problem) const {
    throw base::UsageError(
        ExitCode::input, fmt::format("{}:{}: {}. Make the results again.", path_, object, problem));
  }
  void check_attributes();
  void check_sequences();
  void read_counts();
  std::vector<DatasetPlan> layout() const;
  void check_dataset(const DatasetPlan& plan);
  void check_rows(const DatasetPlan& plan, std::int64_t begin, std::int64_t end);
  void check_row_order(const DatasetPlan& plan, std::int64_t sequence, std::int64_t row,
                       const std::byte* data);
  void begin_routing();
  void check_routing(const std::vector<DatasetPlan>& layout);
  void check_sequence_rows(const DatasetPlan& plan, std::int64_t sequence, std::int64_t first,
                           std::int64_t rows, const std::byte* data);
  void add_token(std::int64_t sequence, std::int64_t position, const std::byte* data);
  void check_sums();
  void check_timing();
  void check_hash(const h5::Dataset& dataset, const std::string& path, std::uint64_t found) const;
  std::vector<std::uint8_t> read_bytes(const std::string& path, DType dtype, std::int64_t count);
  void check_texts(const std::string& path, std::int64_t count,
                   std::vector<std::string>* texts = nullptr);
  void note(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
  }
  std::int64_t offset(std::int64_t i) const {
    return static_cast<std::int64_t>(offsets_[static_cast<std::size_t>(i)]);
  }
  bool is_ok(std::int64_t i) const { return status_[static_cast<std::size_t>(i)] == 0; }

  std::string path_;
  h5::File file_;
  plan::ModelSpec spec_;
  ResultsSummary summary_;
  std::int64_t count_ = 0;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::uint8_t> status_;
  std::vector<std::uint64_t> counted_;  // /logprobs/count
  std::vector<double> sums_;            // added again from /logprobs/token
  std::vector<std::byte> window_, fill_;
  std::vector<std::byte> topk_ids_;  // beside the rows of /topk/logprobs in window_
  std::optional<RoutingCheck> routing_;
  std::vector<std::uint64_t> expert_counts_, dropped_;
  std::int64_t sequence_ = 0;
  std::string problem_;  // the first contradiction that no checksum explains
};

void ResultsVerifier::check_attributes() {
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
  } catch (const base::UsageError& error) {
    throw base::UsageError(ExitCode::input, error.what());
  }
}

void ResultsVerifier::check_hash(const h5::Dataset& dataset, const std::string& path,
                                 std::uint64_t found) const {
  const auto expected = dataset.text_attribute("xxh3");
  if (!expected) refuse(path, "attribute xxh3 is missing");
  if (*expected != hex_text(found))
    refuse(path, fmt::format("checksum is {}, expected {}: the data is damaged", hex_text(found),
                             *expected));
  if (!dataset.text_attribute("description")) refuse(path, "attribute description is missing");
}

std::vector<std::uint8_t> ResultsVerifier::read_bytes(const std::string& path, DType dtype,
                                                      std::int64_t count) {
  const h5::Dataset dataset = file_.dataset(path);
  const h5::Info info = dataset.info();
  const std::int64_t bytes = base::checked_mul(count, base::size_of(dtype));
  if (info.shape != base::Shape{count} || info.dtype != dtype || info.stored_bytes != bytes)
    refuse(path,
           fmt::format("shape {} with {} bytes, expected [{}] of {}", base::to_string(info.shape),
                       info.stored_bytes, count, base::name_of(dtype)));
  std::vector<std::uint8_t> data(static_cast<std::size_t>(bytes));
  if (count > 0) dataset.read_all(dtype, data.data());
  check_hash(dataset, path, xxh3(std::as_bytes(std::span(data))));
  return data;
}

template <class T>
std::vector<T> as(const std::vector<std::uint8_t>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void ResultsVerifier::check_texts(const std::string& path, std::int64_t count,
                                  std::vector<std::string>* texts) {
  const h5::Dataset dataset = file_.dataset(path);
  const h5::Info info = dataset.info();
  if (info.text_bytes <= 0 || info.shape.size() != 1 || (count >= 0 && info.shape[0] != count) ||
      info.stored_bytes != base::checked_mul(info.shape[0], info.text_bytes))
    refuse(path, fmt::format("shape {}, expected {} texts of fixed length",
                             base::to_string(info.shape), count));
  std::vector<std::string> found = dataset.read_texts(0, info.shape[0]);
  Xxh3 hash;
  for (std::string padded : found) {
    padded.resize(static_cast<std::size_t>(info.text_bytes), '\0');
    hash.update(padded);
  }
  check_hash(dataset, path, hash.digest());
  if (texts) *texts = std::move(found);
}

void ResultsVerifier::check_sequences() {
  const h5::Info info = file_.dataset("/sequences/offsets").info();
  if (info.shape.size() != 1 || info.shape[0] < 1)
    refuse("/sequences/offsets", fmt::format("shape {}", base::to_string(info.shape)));
  count_ = info.shape[0] - 1;
  offsets_ = as<std::uint64_t>(read_bytes("/sequences/offsets", DType::u64, count_ + 1));
  if (offsets_.front() != 0 || !std::ranges::is_sorted(offsets_) ||
      offsets_.back() > static_cast<std::uint64_t>(INT64_MAX))
    refuse("/sequences/offsets", "not rising from 0");
  status_ = read_bytes("/sequences/status", DType::u8, count_);
  if (file_.dataset("/sequences/id").info().dtype) {
    read_bytes("/sequences/id", DType::u64, count_);
  } else {
    check_texts("/sequences/id", count_);
  }
  std::vector<std::string> errors, files;
  check_texts("/sequences/error", count_, &errors);
  check_texts("/inputs/files", -1, &files);
  const auto file = as<std::uint32_t>(read_bytes("/sequences/file", DType::u32, count_));
  for (std::int64_t i = 0; i < count_; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const auto status = static_cast<SequenceStatus>(status_[index]);
    const auto refuse_it = [&](const std::string& problem) {
      refuse("/sequences", fmt::format("sequence {} {}", i, problem));
    };
    if (name_of(status) == "unknown") refuse_it(fmt::format("has status {}", status_[index]));
    if (file[index] >= files.size()) refuse_it(fmt::format("is of file {}", file[index]));
    if ((status == SequenceStatus::ok) != errors[index].empty())
      refuse_it(fmt::format("has status {} and error \"{}\"", status_[index], errors[index]));
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

/// The datasets that this file should have, from those that it has.
std::vector<DatasetPlan> ResultsVerifier::layout() const {
  plan::Outputs outputs;
  outputs.logprobs = file_.has("/logprobs/token");
  outputs.last_logits = file_.has("/last_logits");
  outputs.kv = file_.has("/kv/00/k");
  outputs.routing = file_.has("/routing/tokens_per_expert");
  outputs.topk = file_.has("/topk/ids");
  if (outputs.topk) {
    const base::Shape shape = file_.dataset("/topk/ids").info().shape;
    if (shape.size() != 2 || shape[1] < 1 || shape[1] > spec_.vocab_size)
      refuse("/topk/ids", fmt::format("shape {}", base::to_string(shape)));
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
      refuse(path, "not a dataset of results of this version");
  }
  return layout;
}

void ResultsVerifier::check_dataset(const DatasetPlan& plan) {
  const h5::Dataset dataset = file_.dataset(plan.path);
  const std::int64_t total = plan.total_rows(count_, offset(count_));
  const h5::Info info = dataset.info();
  if (info.shape != plan.shape(total) || info.dtype != plan.dtype)
    refuse(plan.path, fmt::format("shape {} of {}, expected {} of {}", base::to_string(info.shape),
                                  info.dtype ? base::name_of(*info.dtype) : "another type",
                                  base::to_string(plan.shape(total)), base::name_of(plan.dtype)));
  const std::int64_t step = std::max<std::int64_t>(1, window_bytes / plan.row_bytes());
  window_.resize(static_cast<std::size_t>(std::min(step, total) * plan.row_bytes()));
  fill_.resize(static_cast<std::size_t>(plan.row_bytes()));
  fill_rows(plan, 1, fill_.data());
  sequence_ = 0;
  Xxh3 hash;
  for (std::int64_t begin = 0; begin < total; begin += step) {
    const std::int64_t end = std::min(begin + step, total);
    const h5::Hyperslab slab{plan.offset(begin), plan.shape(end - begin)};
    dataset.read(slab, plan.dtype, window_.data());
    hash.update({window_.data(), static_cast<std::size_t>((end - begin) * plan.row_bytes())});
    if (plan.path == "/topk/logprobs") {
      topk_ids_.resize(window_.size());  // u32 and f32 alike have 4 bytes
      file_.dataset("/topk/ids").read(slab, DType::u32, topk_ids_.data());
    }
    if (plan.per != Per::run) {
      check_rows(plan, begin, end);
      continue;
    }
    std::vector<std::uint64_t>& counts =
        plan.path == "/routing/dropped" ? dropped_ : expert_counts_;
    counts.resize(static_cast<std::size_t>(plan.columns * total));
    std::memcpy(counts.data() + begin * plan.columns, window_.data(),
                static_cast<std::size_t>((end - begin) * plan.row_bytes()));
  }
  check_hash(dataset, plan.path, hash.digest());
}

void ResultsVerifier::check_rows(const DatasetPlan& plan, std::int64_t begin, std::int64_t end) {
  const auto row_of = [&](std::int64_t i) { return plan.per == Per::token ? offset(i) : i; };
  while (sequence_ < count_ && row_of(sequence_ + 1) <= begin)
    ++sequence_;
  for (std::int64_t i = sequence_; i < count_ && row_of(i) < end; ++i) {
    const std::int64_t first = std::max(row_of(i), begin);
    const std::int64_t rows = std::min(row_of(i + 1), end) - first;
    if (rows > 0)
      check_sequence_rows(plan, i, first - row_of(i), rows,
                          window_.data() + (first - begin) * plan.row_bytes());
  }
}

/// Rows `first`, `first` + 1 ... of a sequence: fill values where it failed, else no NaN, but for
/// the log-prob of position 0, which is one.
void ResultsVerifier::check_sequence_rows(const DatasetPlan& plan, std::int64_t sequence,
                                          std::int64_t first, std::int64_t rows,
                                          const std::byte* data) {
  const bool is_token_logprob = plan.path == "/logprobs/token";
  const std::int64_t size = base::size_of(plan.dtype);
  for (std::int64_t row = 0; row < rows; ++row, data += plan.row_bytes()) {
    if (!is_ok(sequence)) {
      if (std::memcmp(data, fill_.data(), fill_.size()) != 0)
        note(fmt::format("{}: sequence {} failed, but row {} of it is not the fill value",
                         plan.path, sequence, first + row));
      continue;
    }
    for (std::int64_t column = 0; column < plan.columns; ++column)
      if (is_nan_element(plan.dtype, data + column * size) !=
          (is_token_logprob && first + row == 0))
        note(fmt::format("{}: sequence {} is ok, but row {}, column {} of it {}", plan.path,
                         sequence, first + row, column,
                         is_token_logprob && first + row == 0 ? "is a number" : "is NaN"));
    if (is_token_logprob) add_token(sequence, first + row, data);
    check_row_order(plan, sequence, first + row, data);
  }
}

/// Of /topk/logprobs with its ids, and of /experts.
void ResultsVerifier::check_row_order(const DatasetPlan& plan, std::int64_t sequence,
                                      std::int64_t row, const std::byte* data) {
  const auto columns = static_cast<std::size_t>(plan.columns);
  std::string problem;
  if (plan.path == "/topk/logprobs") {
    const std::byte* ids = topk_ids_.data() + (data - window_.data());
    problem = topk_problem({reinterpret_cast<const std::uint32_t*>(ids), columns},
                           {reinterpret_cast<const float*>(data), columns}, spec_.vocab_size);
  } else if (plan.path.starts_with("/experts/")) {
    const std::int64_t layer = std::stoll(plan.path.substr(std::strlen("/experts/")));
    problem = routing_->add(layer, {reinterpret_cast<const std::uint16_t*>(data), columns});
  }
  if (!problem.empty())
    note(fmt::format("{}: row {} of sequence {} {}", plan.path, row, sequence, problem));
}

void ResultsVerifier::begin_routing() {
  std::int64_t num_ok_tokens = 0, num_tokens = 0;
  for (std::int64_t i = 0; i < count_; ++i) {
    const auto status = static_cast<SequenceStatus>(status_[static_cast<std::size_t>(i)]);
    const std::int64_t length = offset(i + 1) - offset(i);
    if (status == SequenceStatus::ok) num_ok_tokens += length;
    if (status == SequenceStatus::ok || status == SequenceStatus::not_finite) num_tokens += length;
  }
  routing_.emplace(spec_, num_ok_tokens, num_tokens);
}

void ResultsVerifier::check_routing(const std::vector<DatasetPlan>& layout) {
  if (find_dataset(layout, "/routing/dropped") < 0) return;
  const bool has_experts = find_dataset(layout, numbered_path("experts", 0)) >= 0;
  const std::string problem = routing_->problem(expert_counts_, dropped_, has_experts);
  if (!problem.empty()) note("/routing: " + problem);
}

void ResultsVerifier::read_counts() {
  counted_ = as<std::uint64_t>(read_bytes("/logprobs/count", DType::u64, count_));
  sums_.assign(static_cast<std::size_t>(count_), 0.0);
  for (std::int64_t i = 0; i < count_; ++i) {
    const auto length = static_cast<std::uint64_t>(offset(i + 1) - offset(i));
    const std::uint64_t most = is_ok(i) ? length - 1 : 0;
    if (is_ok(i) && length == 0)
      refuse("/sequences", fmt::format("sequence {} is ok without tokens", i));
    if (counted_[static_cast<std::size_t>(i)] > most)
      note(fmt::format("/logprobs/count: sequence {} has {}, at most {} can be", i,
                       counted_[static_cast<std::size_t>(i)], most));
  }
}

/// The positions that count are the last ones of a sequence.
void ResultsVerifier::add_token(std::int64_t sequence, std::int64_t position,
                                const std::byte* data) {
  const auto i = static_cast<std::size_t>(sequence);
  const std::int64_t length = offset(sequence + 1) - offset(sequence);
  if (position < length - static_cast<std::int64_t>(counted_[i])) return;
  float value = 0;
  std::memcpy(&value, data, sizeof value);
  sums_[i] += static_cast<double>(value);
}

void ResultsVerifier::check_sums() {
  const auto stored = as<double>(read_bytes("/logprobs/sum", DType::f64, count_));
  for (std::int64_t i = 0; i < count_; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const bool is_equal =
        std::bit_cast<std::uint64_t>(stored[index]) == std::bit_cast<std::uint64_t>(sums_[index]);
    if (is_ok(i) && !is_equal && !(stored[index] == 0 && sums_[index] == 0))
      note(fmt::format("/logprobs/sum: sequence {} has {}, its {} tokens add up to {}", i,
                       stored[index], counted_[index], sums_[index]));
  }
}

void ResultsVerifier::check_timing() {
  const h5::Dataset phases = file_.dataset("/timing/phases");
  const h5::Info info = phases.info();
  if (info.shape.size() != 1) refuse("/timing/phases", "not a list of records");
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
    refuse("/timing", fmt::format("attribute tokens is not {}", ok_tokens));
}

ResultsSummary ResultsVerifier::run(base::Log& log) {
  check_attributes();
  check_sequences();
  const std::vector<DatasetPlan> plans = layout();
  const bool has_logprobs = find_dataset(plans, "/logprobs/token") >= 0;
  if (has_logprobs) read_counts();
  begin_routing();
  for (const DatasetPlan& plan : plans)
    check_dataset(plan);
  check_routing(plans);
  if (has_logprobs) check_sums();
  check_timing();
  if (!problem_.empty())
    throw base::UsageError(ExitCode::numerical,
                           fmt::format("{}:{}. Make the results again.", path_, problem_));
  log.say(
      "{}: {} datasets, {} sequences ({} ok, {} failed, {} not done), {} tokens: checksums, "
      "shapes, fill values{} agree",
      path_, plans.size(), base::count_text(count_), base::count_text(summary_.num_ok),
      base::count_text(summary_.num_failed), base::count_text(summary_.num_missing),
      base::count_text(offset(count_)), has_logprobs ? ", log-prob sums" : "");
  return summary_;
}

}  // namespace

ResultsSummary verify_results(const std::string& path, base::Log& log) {
  return ResultsVerifier(path).run(log);
}

}  // namespace tetrarch::storage
