// SPDX-License-Identifier: Apache-2.0
#include "model/head.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "model/row_operations.hpp"

namespace tetrarch::model {

using backend::SliceStats;
using base::DType;
using base::Phase;
using plan::BufferName;

namespace {

constexpr std::int64_t stats_columns = sizeof(SliceStats) / sizeof(std::int32_t);

/// Selects the given rows of `pass` and computes their logits [rows, local vocabulary] f32.
backend::Tensor logits_of(const Context& context, const ModelShard& shard,
                          const backend::Tensor& pass, std::span<const std::int32_t> rows,
                          Workspace& workspace) {
  const auto count = static_cast<std::int64_t>(rows.size());
  const backend::Tensor index = workspace.tensor(BufferName::token_ids, DType::i32, 1, count, 1);
  const backend::Tensor selected =
      workspace.tensor(BufferName::head_normed, pass.dtype, 1, count, pass.columns);
  const backend::Tensor logits =
      workspace.tensor(BufferName::head_logits, DType::f32, 1, count, shard.head->outputs());
  context.compute.upload(rows.data(), index);
  context.compute.permute_rows(pass, index, selected);
  product(context, selected, *shard.head, logits);
  return logits;
}

/// The token ids of each vocabulary slice, 0 .. reduction shards - 1.
std::vector<plan::Range> vocabulary_slices(const Context& context) {
  std::vector<plan::Range> slices;
  for (std::int64_t slice = 0; slice < context.reduction_shards; ++slice)
    slices.push_back(plan::even_range(context.spec.vocab_size, context.reduction_shards, slice));
  return slices;
}

/// The index of the vocabulary slice that holds a token id.
std::int64_t slice_of(std::span<const plan::Range> slices, std::int32_t token) {
  for (std::int64_t slice = 0; slice < std::ssize(slices); ++slice)
    if (slices[slice].contains(token)) return slice;
  throw base::InternalError("a token id below the vocabulary size");
}

/// A row whose logits are needed, and for which output.
struct HeadRow {
  std::int32_t row = 0;          // row of workspace.pass_rows()
  std::int32_t next_token = -1;  // the token whose log-probability is wanted; -1: none
  std::int64_t last_of = -1;     // the run whose sequence ends at this row; -1: none
};

/// Statistics of some rows over all vocabulary slices, [row][slice]; the same on every tp rank.
/// Collective over tp.
std::vector<SliceStats> gather_stats(const Context& context, const backend::Tensor& logits,
                                     std::span<const HeadRow> rows, Workspace& workspace) {
  const std::int64_t count = logits.rows, local = context.local.slices.size();
  const int tp = context.tp.size();
  std::vector<std::int64_t> slice_size;
  for (const plan::Range& range : context.local.vocab)
    slice_size.push_back(range.size());
  const backend::Tensor targets = workspace.tensor(BufferName::token_ids, DType::i32, 1, count, 1);
  std::vector<std::int32_t> target;
  for (const HeadRow& head : rows)
    target.push_back(head.next_token);
  context.compute.upload(target.data(), targets);
  backend::Tensor stats =
      workspace.tensor(BufferName::head_stats, DType::i32, 1, count, stats_columns * local);
  context.compute.vocabulary_stats(logits, slice_size, context.local.vocab.front().begin, targets,
                                   stats);
  backend::Tensor all = stats;
  if (tp > 1) {
    all = workspace.tensor(BufferName::head_stats_all, DType::i32, 1, tp * count,
                           stats_columns * local);
    context.tp.all_gather_v(stats, std::vector<std::int64_t>(tp, count), all);
  }
  std::vector<SliceStats> by_rank(count * local * tp), by_row(by_rank.size());
  context.compute.download(all, by_rank.data());
  for (int rank = 0; rank < tp; ++rank)
    for (std::int64_t row = 0; row < count; ++row)
      std::copy_n(&by_rank[(rank * count + row) * local], local,
                  &by_row[row * local * tp + rank * local]);
  return by_row;
}

/// The most likely tokens of each row in the vocabulary of every tp rank: [rank][row][2 * tops], in
/// the format of Compute::largest_logits(). Collective over tp.
backend::Tensor gather_tops(const Context& context, const backend::Tensor& logits,
                            std::int64_t tops, Workspace& workspace) {
  const int tp = context.tp.size();
  const backend::Tensor own =
      workspace.tensor(BufferName::head_top, DType::i32, 1, logits.rows, 2 * tops);
  context.compute.largest_logits(logits, context.local.vocab.front().begin, own);
  if (tp == 1) return own;
  const backend::Tensor all =
      workspace.tensor(BufferName::head_top_all, DType::i32, 1, tp * logits.rows, 2 * tops);
  context.tp.all_gather_v(own, std::vector<std::int64_t>(tp, logits.rows), all);
  return all;
}

struct Likely {
  std::int32_t id;
  float logit, logprob;
};

/// Reduces `likely` to the top_k most likely tokens. They are chosen by logit, so that every
/// vocabulary sharding chooses the same tokens. Then they are sorted by log-probability.
void merge_tops(std::vector<Likely>& likely, std::int64_t top_k, const LogSumExp& total) {
  std::erase_if(likely, [](const Likely& each) { return each.id < 0; });
  std::ranges::sort(likely, [](const Likely& a, const Likely& b) {
    const bool is_a = !std::isnan(a.logit), is_b = !std::isnan(b.logit);
    if (is_a != is_b) return is_a;
    if (is_a && a.logit != b.logit) return a.logit > b.logit;
    return a.id < b.id;
  });
  likely.resize(std::min<std::size_t>(likely.size(), static_cast<std::size_t>(top_k)));
  for (Likely& each : likely)
    each.logprob = total.logprob(each.logit);
  std::ranges::stable_sort(likely, [](const Likely& a, const Likely& b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
  });
}

std::vector<HeadRow> head_rows_of(const PassRows& pass_rows, const HeadRequest& request) {
  std::vector<HeadRow> wanted;
  std::int32_t row = 0;
  for (std::int64_t run = 0; run < std::ssize(pass_rows.rows); ++run) {
    const SequenceRows& rows = pass_rows.rows[run];
    for (std::int64_t i = 0; i < rows.count; ++i, ++row) {
      HeadRow head{row, -1, -1};
      if (request.logprobs)
        head.next_token = i + 1 < rows.count ? pass_rows.token[row + 1] : rows.next_token;
      if (request.last_logits && i + 1 == rows.count && rows.span().is_last()) head.last_of = run;
      if (head.next_token >= 0 || head.last_of >= 0 || request.top_k > 0) wanted.push_back(head);
    }
  }
  return wanted;
}

/// Stores the log-probability of the next token of each row, and whether it is the greedy choice.
void score_rows(const Context& context, std::span<const HeadRow> rows,
                std::span<const SliceStats> stats, TokenScores& scores) {
  const std::int64_t num_slices = context.reduction_shards;
  const std::vector<plan::Range> vocabulary = vocabulary_slices(context);
  for (std::int64_t i = 0; i < std::ssize(rows); ++i) {
    const HeadRow& head = rows[i];
    if (head.next_token < 0) continue;
    const auto slices = stats.subspan(i * num_slices, num_slices);
    const auto best =
        std::max_element(slices.begin(), slices.end(),
                         [](const SliceStats& a, const SliceStats& b) { return a.max < b.max; });
    scores.next_logprob[head.row] = log_probability(slices, slice_of(vocabulary, head.next_token));
    scores.is_greedy[head.row] = best->best_id == head.next_token ? 1 : 0;
  }
}

/// The most likely tokens of one row, merged from the candidates of all tp ranks.
std::vector<Likely> likely_of(const Context& context, const backend::Tensor& tops, std::int64_t row,
                              const LogSumExp& total, std::int64_t top_k) {
  const int tp = context.tp.size();
  const std::int64_t rows = tops.rows / tp, each = tops.columns / 2;
  std::vector<std::int32_t> host(static_cast<std::size_t>(tops.columns));
  std::vector<Likely> likely;
  likely.reserve(static_cast<std::size_t>(tp * each));
  for (int rank = 0; rank < tp; ++rank) {
    context.compute.download(tops.row_range(rank * rows + row, 1), host.data());
    for (std::int64_t k = 0; k < each; ++k)
      likely.push_back({host[k], std::bit_cast<float>(host[each + k]), 0});
  }
  merge_tops(likely, top_k, total);
  return likely;
}

/// Passes the most likely tokens of consecutive rows to `sink`, a few rows at a time: with top_k
/// near the vocabulary size they take as much memory as the logits. Collective over tp.
void send_likely(const Context& context, const backend::Tensor& logits,
                 std::span<const HeadRow> rows, std::span<const SliceStats> stats,
                 std::int64_t top_k, const LikelyTokens& sink, Workspace& workspace) {
  constexpr std::int64_t ids_at_once = 1 << 16;
  const std::int64_t num_slices = context.reduction_shards, count = logits.rows;
  const std::int64_t rows_at_once = std::clamp<std::int64_t>(ids_at_once / top_k, 1, count);
  const backend::Tensor tops =
      gather_tops(context, logits,
                  plan::tops_of_rank(context.spec.vocab_size, context.tp.size(), top_k), workspace);
  std::vector<std::uint32_t> top_id;
  std::vector<float> top_logprob;
  for (std::int64_t begin = 0; begin < count; begin += rows_at_once) {
    const std::int64_t end = std::min(begin + rows_at_once, count);
    top_id.assign(static_cast<std::size_t>((end - begin) * top_k), 0xffffffff);
    top_logprob.assign(top_id.size(), base::failed_value());
    for (std::int64_t i = begin; i < end; ++i) {
      const LogSumExp total = log_sum_exp(stats.subspan(i * num_slices, num_slices));
      const std::vector<Likely> likely = likely_of(context, tops, i, total, top_k);
      for (std::int64_t k = 0; k < std::ssize(likely); ++k) {
        top_id[(i - begin) * top_k + k] = static_cast<std::uint32_t>(likely[k].id);
        top_logprob[(i - begin) * top_k + k] = likely[k].logprob;
      }
    }
    sink(rows[begin].row, top_id, top_logprob);
  }
}

/// Passes the logits of rows at which sequences end to `last_logits`, in groups of consecutive
/// rows.
void send_last_logits(const backend::Tensor& logits, std::span<const HeadRow> rows,
                      const LastLogits& last_logits) {
  std::vector<std::int64_t> runs;
  for (std::int64_t begin = 0; begin < std::ssize(rows);
       begin += std::max<std::int64_t>(1, std::ssize(runs))) {
    runs.clear();
    for (std::int64_t i = begin; i < std::ssize(rows) && rows[i].last_of >= 0; ++i)
      runs.push_back(rows[i].last_of);
    if (!runs.empty()) last_logits(runs, logits.row_range(begin, std::ssize(runs)));
  }
}

}  // namespace

LogSumExp log_sum_exp(std::span<const SliceStats> slices) {
  double max = -std::numeric_limits<double>::infinity();
  for (const SliceStats& slice : slices)
    max = std::max(max, static_cast<double>(slice.max));
  std::array<double, 8> sum{};
  base::expects_in_debug(slices.size() <= sum.size(), "at most 8 vocabulary slices");
  for (std::size_t i = 0; i < slices.size(); ++i)
    sum[i] = slices[i].sum_exp * std::exp(static_cast<double>(slices[i].max) - max);
  for (std::size_t step = 1; step < slices.size(); step *= 2)
    for (std::size_t i = 0; i + step < slices.size(); i += 2 * step)
      sum[i] += sum[i + step];
  return {max, std::log(sum[0])};
}

float log_probability(std::span<const SliceStats> slices, std::int64_t owner) {
  return log_sum_exp(slices).logprob(slices[owner].target);
}

backend::Tensor final_norm_step(const Context& context, const ModelShard& shard,
                                Workspace& workspace) {
  context.timeline.enter(Phase::norm);
  const backend::Tensor normed = workspace.tensor(
      BufferName::normed, context.spec.dtype, 1, workspace.home().size(), context.spec.hidden_size);
  context.compute.rms_norm(workspace.residual(), shard.final_norm.tensor,
                           static_cast<float>(context.spec.norm_eps), normed);
  return normed;
}

TokenScores head_step(const Context& context, const ModelShard& shard,
                      const backend::Tensor& normed, const HeadRequest& request,
                      const HeadSinks& sinks, Workspace& workspace) {
  TokenScores scores;
  if (!request.logprobs && !request.last_logits && request.top_k == 0) return scores;
  context.timeline.enter(Phase::tp_gather);
  const backend::Tensor pass = gather_pass(context, workspace, normed);

  context.timeline.enter(Phase::head);
  if (request.logprobs) {
    scores.next_logprob.assign(pass.rows, base::failed_value());
    scores.is_greedy.assign(pass.rows, 1);
  }
  const std::vector<HeadRow> wanted = head_rows_of(workspace.pass_rows(), request);
  std::vector<std::int32_t> index;
  for (const HeadRow& head : wanted)
    index.push_back(head.row);
  for (std::int64_t begin = 0; begin < std::ssize(wanted); begin += workspace.head_chunk()) {
    const std::int64_t count = std::min(workspace.head_chunk(), std::ssize(wanted) - begin);
    const auto rows = std::span(wanted).subspan(begin, count);
    const backend::Tensor logits =
        logits_of(context, shard, pass, std::span(index).subspan(begin, count), workspace);
    if (request.logprobs || request.top_k > 0) {
      const std::vector<SliceStats> stats = gather_stats(context, logits, rows, workspace);
      if (request.logprobs) score_rows(context, rows, stats, scores);
      if (request.top_k > 0)
        send_likely(context, logits, rows, stats, request.top_k, sinks.likely, workspace);
    }
    send_last_logits(logits, rows, sinks.last_logits);
    context.timeline.enter(Phase::head);
  }
  return scores;
}

}  // namespace tetrarch::model
