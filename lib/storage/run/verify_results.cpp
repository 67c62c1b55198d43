// Verifies a results.h5.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/verify_results.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "storage/files/checksum.hpp"
#include "storage/run/results_labels.hpp"
#include "storage/run/results_layout.hpp"
#include "storage/run/verify_outputs.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
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

/// Checks every row of every output against the attributes and /sequences of the file.
class RowsVerifier {
 public:
  explicit RowsVerifier(const ResultsLabels& labels) : labels_(labels) {}

  /// The first contradiction between values; "" if there is none. Throws Refusal(input) for
  /// damaged data.
  std::string first_problem(const std::vector<DatasetPlan>& layout);

 private:
  void check_dataset(const DatasetPlan& plan);
  void check_rows(const DatasetPlan& plan, std::int64_t begin, std::int64_t end);
  void check_sequence_rows(const DatasetPlan& plan, std::int64_t sequence, std::int64_t first,
                           std::int64_t rows, const std::byte* data);
  void check_row_order(const DatasetPlan& plan, std::int64_t sequence, std::int64_t row,
                       const std::byte* data);
  void begin_routing();
  void check_routing(const std::vector<DatasetPlan>& layout);
  void read_counts();
  void add_token(std::int64_t sequence, std::int64_t position, const std::byte* data);
  void check_sums();
  void note(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
  }

  const ResultsLabels& labels_;
  std::vector<std::uint64_t> counted_;  // /logprobs/count
  std::vector<double> sums_;            // computed again from /logprobs/token
  std::vector<std::byte> window_, fill_;
  std::vector<std::byte> topk_ids_;  // of the rows of /topk/logprobs that are in window_
  std::optional<RoutingCheck> routing_;
  std::vector<std::uint64_t> expert_counts_, dropped_;
  std::int64_t sequence_ = 0;
  std::string problem_;
};

void RowsVerifier::check_dataset(const DatasetPlan& plan) {
  const h5::Dataset dataset = labels_.file().dataset(plan.path);
  const std::int64_t total = plan.total_rows(labels_.count(), labels_.offset(labels_.count()));
  const h5::Info info = dataset.info();
  dataset.check_written();
  if (info.shape != plan.shape(total) || info.dtype != plan.dtype)
    labels_.refuse(plan.path,
                   fmt::format("shape {} of {}, expected {} of {}", base::to_string(info.shape),
                               info.dtype ? base::name_of(*info.dtype) : "another type",
                               base::to_string(plan.shape(total)), base::name_of(plan.dtype)));
  if (!info.can_hold(base::checked_mul(total, plan.row_bytes())))
    labels_.refuse(plan.path, fmt::format("{} bytes of data do not fit its shape {}",
                                          info.stored_bytes, base::to_string(info.shape)));
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
      topk_ids_.resize(window_.size());  // u32 and f32 both have 4 bytes
      labels_.file().dataset("/topk/ids").read(slab, DType::u32, topk_ids_.data());
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
  labels_.check_hash(dataset, plan.path, hash.digest());
}

void RowsVerifier::check_rows(const DatasetPlan& plan, std::int64_t begin, std::int64_t end) {
  const auto row_of = [&](std::int64_t i) {
    return plan.per == Per::token ? labels_.offset(i) : i;
  };
  while (sequence_ < labels_.count() && row_of(sequence_ + 1) <= begin)
    ++sequence_;
  for (std::int64_t i = sequence_; i < labels_.count() && row_of(i) < end; ++i) {
    const std::int64_t first = std::max(row_of(i), begin);
    const std::int64_t rows = std::min(row_of(i + 1), end) - first;
    if (rows > 0)
      check_sequence_rows(plan, i, first - row_of(i), rows,
                          window_.data() + (first - begin) * plan.row_bytes());
  }
}

/// Checks rows [first, first + rows) of a sequence. A failed sequence must have fill values. Others
/// must have no NaN, except the log-prob of position 0, which must be NaN.
void RowsVerifier::check_sequence_rows(const DatasetPlan& plan, std::int64_t sequence,
                                       std::int64_t first, std::int64_t rows,
                                       const std::byte* data) {
  const bool is_token_logprob = plan.path == "/logprobs/token";
  const std::int64_t size = base::size_of(plan.dtype);
  for (std::int64_t row = 0; row < rows; ++row, data += plan.row_bytes()) {
    if (!labels_.is_ok(sequence)) {
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

/// Checks a row of /topk/logprobs together with its ids, or a row of /experts.
void RowsVerifier::check_row_order(const DatasetPlan& plan, std::int64_t sequence, std::int64_t row,
                                   const std::byte* data) {
  const auto columns = static_cast<std::size_t>(plan.columns);
  std::string problem;
  if (plan.path == "/topk/logprobs") {
    const std::byte* ids = topk_ids_.data() + (data - window_.data());
    problem =
        topk_problem({reinterpret_cast<const std::uint32_t*>(ids), columns},
                     {reinterpret_cast<const float*>(data), columns}, labels_.spec().vocab_size);
  } else if (plan.path.starts_with("/experts/")) {
    const std::int64_t layer = std::stoll(plan.path.substr(std::strlen("/experts/")));
    problem = routing_->add(layer, {reinterpret_cast<const std::uint16_t*>(data), columns});
  }
  if (!problem.empty())
    note(fmt::format("{}: row {} of sequence {} {}", plan.path, row, sequence, problem));
}

void RowsVerifier::begin_routing() {
  std::int64_t num_ok_tokens = 0, num_tokens = 0;
  for (std::int64_t i = 0; i < labels_.count(); ++i) {
    const auto status = labels_.status(i);
    const std::int64_t length = labels_.offset(i + 1) - labels_.offset(i);
    if (status == SequenceStatus::ok) num_ok_tokens += length;
    if (status == SequenceStatus::ok || status == SequenceStatus::not_finite) num_tokens += length;
  }
  routing_.emplace(labels_.spec(), num_ok_tokens, num_tokens);
}

void RowsVerifier::check_routing(const std::vector<DatasetPlan>& layout) {
  if (find_dataset(layout, "/routing/dropped") < 0) return;
  const bool has_experts = find_dataset(layout, numbered_path("experts", 0)) >= 0;
  const std::string problem = routing_->problem(expert_counts_, dropped_, has_experts);
  if (!problem.empty()) note("/routing: " + problem);
}

void RowsVerifier::read_counts() {
  counted_ = labels_.read<std::uint64_t>("/logprobs/count", DType::u64, labels_.count());
  sums_.assign(static_cast<std::size_t>(labels_.count()), 0.0);
  for (std::int64_t i = 0; i < labels_.count(); ++i) {
    const auto length = static_cast<std::uint64_t>(labels_.offset(i + 1) - labels_.offset(i));
    const std::uint64_t most = labels_.is_ok(i) ? length - 1 : 0;
    if (labels_.is_ok(i) && length == 0)
      labels_.refuse("/sequences", fmt::format("sequence {} is ok but has no tokens", i));
    if (counted_[static_cast<std::size_t>(i)] > most)
      note(fmt::format("/logprobs/count: sequence {} has {}, expected at most {}", i,
                       counted_[static_cast<std::size_t>(i)], most));
  }
}

/// Adds a log-prob to the sum of its sequence, if its position counts: the last counted_ positions
/// of a sequence do.
void RowsVerifier::add_token(std::int64_t sequence, std::int64_t position, const std::byte* data) {
  const auto i = static_cast<std::size_t>(sequence);
  const std::int64_t length = labels_.offset(sequence + 1) - labels_.offset(sequence);
  if (position < length - static_cast<std::int64_t>(counted_[i])) return;
  float value = 0;
  std::memcpy(&value, data, sizeof value);
  sums_[i] += static_cast<double>(value);
}

void RowsVerifier::check_sums() {
  const auto stored = labels_.read<double>("/logprobs/sum", DType::f64, labels_.count());
  for (std::int64_t i = 0; i < labels_.count(); ++i) {
    const auto index = static_cast<std::size_t>(i);
    const bool is_equal =
        std::bit_cast<std::uint64_t>(stored[index]) == std::bit_cast<std::uint64_t>(sums_[index]);
    if (labels_.is_ok(i) && !is_equal && !(stored[index] == 0 && sums_[index] == 0))
      note(fmt::format("/logprobs/sum: sequence {} has {}, but its {} tokens add up to {}", i,
                       stored[index], counted_[index], sums_[index]));
  }
}

std::string RowsVerifier::first_problem(const std::vector<DatasetPlan>& layout) {
  const bool has_logprobs = find_dataset(layout, "/logprobs/token") >= 0;
  if (has_logprobs) read_counts();
  begin_routing();
  for (const DatasetPlan& plan : layout)
    check_dataset(plan);
  check_routing(layout);
  if (has_logprobs) check_sums();
  return problem_;
}

}  // namespace

ResultsSummary verify_results(const std::string& path, base::Log& log) {
  const ResultsLabels labels(path);
  const std::vector<DatasetPlan> layout = labels.layout();
  const std::string problem = RowsVerifier(labels).first_problem(layout);
  labels.check_timing();
  if (!problem.empty())
    throw base::Refusal(base::ExitCode::numerical,
                        fmt::format("{}:{}. Make the results again.", path, problem));
  const ResultsSummary& summary = labels.summary();
  log.say(
      "{}: {}, {} ({} ok, {} failed, {} not done), {}: checksums, "
      "shapes, fill values{} agree",
      path, base::counted(std::ssize(layout), "dataset"), base::counted(labels.count(), "sequence"),
      base::count_text(summary.num_ok), base::count_text(summary.num_failed),
      base::count_text(summary.num_missing), base::counted(labels.offset(labels.count()), "token"),
      find_dataset(layout, "/logprobs/token") >= 0 ? ", log-prob sums" : "");
  return summary;
}

}  // namespace tetrarch::storage
