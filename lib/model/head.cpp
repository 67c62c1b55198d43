// SPDX-License-Identifier: Apache-2.0
#include "model/head.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "model/attention.hpp"

namespace tetrarch::model {

using backend::SliceStats;
using base::DType;
using base::Phase;
using plan::BufferName;

namespace {

constexpr std::int64_t stats_columns = sizeof(SliceStats) / sizeof(std::int32_t);

/// Rows of `part` at the given places, and their logits.
backend::Tensor logits_of(const Context& context, const ModelShard& shard,
                          const backend::Tensor& part, std::span<const std::int32_t> rows,
                          Workspace& workspace) {
  const auto count = static_cast<std::int64_t>(rows.size());
  const backend::Tensor index = workspace.tensor(BufferName::token_ids, DType::i32, 1, count, 1);
  const backend::Tensor selected =
      workspace.tensor(BufferName::head_normed, part.dtype, 1, count, part.columns);
  const backend::Tensor logits =
      workspace.tensor(BufferName::head_logits, DType::f32, 1, count, shard.head->outputs());
  context.compute.upload(rows.data(), index);
  context.compute.permute_rows(part, index, selected);
  product(context, selected, *shard.head, logits);
  return logits;
}

/// The slice of the vocabulary, of all reduction shards, that holds a token id.
std::int64_t slice_of(const Context& context, std::int32_t token) {
  for (std::int64_t slice = 0; slice < context.reduction_shards; ++slice)
    if (plan::even_range(context.spec.vocab_size, context.reduction_shards, slice).contains(token))
      return slice;
  throw base::InternalError("a token id below the vocabulary size");
}

/// The statistics of some rows over all vocabulary slices: [row][slice], on every tp rank.
std::vector<SliceStats> gather_stats(const Context& context, const backend::Tensor& logits,
                                     std::span<const std::int32_t> target, Workspace& workspace) {
  const std::int64_t count = logits.rows, local = context.local.slices.size();
  const int tp = context.tp.size();
  std::vector<std::int64_t> slice_size;
  for (const plan::Range& range : context.local.vocab)
    slice_size.push_back(range.size());
  const backend::Tensor targets = workspace.tensor(BufferName::token_ids, DType::i32, 1, count, 1);
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

/// Rows that predict a token of the part, and the row of that token.
struct Predictions {
  std::vector<std::int32_t> row, target_row;
};

Predictions predictions_of(const MicroBatch& batch) {
  Predictions predictions;
  std::int32_t row = 0;
  for (const SequenceRows& rows : batch.rows) {
    for (std::int64_t i = 0; i + 1 < rows.count; ++i) {
      predictions.row.push_back(row + static_cast<std::int32_t>(i));
      predictions.target_row.push_back(row + static_cast<std::int32_t>(i) + 1);
    }
    row += static_cast<std::int32_t>(rows.count);
  }
  return predictions;
}

void score_rows(const Context& context, const ModelShard& shard, const backend::Tensor& part,
                Workspace& workspace, TokenScores& scores) {
  const MicroBatch& batch = workspace.batch();
  const Predictions predictions = predictions_of(batch);
  const std::int64_t num_slices = context.reduction_shards;
  const auto total = static_cast<std::int64_t>(predictions.row.size());
  for (std::int64_t begin = 0; begin < total; begin += workspace.head_chunk()) {
    const std::int64_t count = std::min(workspace.head_chunk(), total - begin);
    std::vector<std::int32_t> target(count);
    for (std::int64_t i = 0; i < count; ++i)
      target[i] = batch.token[predictions.target_row[begin + i]];
    const backend::Tensor logits = logits_of(
        context, shard, part, std::span(predictions.row).subspan(begin, count), workspace);
    const std::vector<SliceStats> stats = gather_stats(context, logits, target, workspace);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::span<const SliceStats> slices =
          std::span(stats).subspan(i * num_slices, num_slices);
      const auto best =
          std::max_element(slices.begin(), slices.end(),
                           [](const SliceStats& a, const SliceStats& b) { return a.max < b.max; });
      const std::int32_t row = predictions.target_row[begin + i];
      scores.logprob[row] = log_probability(slices, slice_of(context, target[i]));
      scores.is_greedy[row] = best->best_id == target[i] ? 1 : 0;
    }
  }
}

void send_last_logits(const Context& context, const ModelShard& shard, const backend::Tensor& part,
                      const LastLogits& last_logits, Workspace& workspace) {
  std::vector<std::int32_t> rows;
  std::int32_t end = 0;
  for (const SequenceRows& run : workspace.batch().rows) {
    end += static_cast<std::int32_t>(run.count);
    rows.push_back(end - 1);
  }
  const auto total = static_cast<std::int64_t>(rows.size());
  for (std::int64_t begin = 0; begin < total; begin += workspace.head_chunk()) {
    const std::int64_t count = std::min(workspace.head_chunk(), total - begin);
    last_logits(begin,
                logits_of(context, shard, part, std::span(rows).subspan(begin, count), workspace));
  }
}

}  // namespace

float log_probability(std::span<const SliceStats> slices, std::int64_t owner) {
  double max = -std::numeric_limits<double>::infinity();
  for (const SliceStats& slice : slices)
    max = std::max(max, static_cast<double>(slice.max));
  std::array<double, 8> sum{};
  base::expects(slices.size() <= sum.size(), "at most 8 vocabulary slices");
  for (std::size_t i = 0; i < slices.size(); ++i)
    sum[i] = slices[i].sum_exp * std::exp(static_cast<double>(slices[i].max) - max);
  for (std::size_t step = 1; step < slices.size(); step *= 2)
    for (std::size_t i = 0; i + step < slices.size(); i += 2 * step)
      sum[i] += sum[i + step];
  return static_cast<float>(static_cast<double>(slices[owner].target) - max - std::log(sum[0]));
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
                      const LastLogits& last_logits, Workspace& workspace) {
  TokenScores scores;
  if (!request.logprobs && !request.last_logits) return scores;
  context.timeline.enter(Phase::tp_gather);
  const backend::Tensor part = gather_part(context, workspace, normed);

  context.timeline.enter(Phase::head);
  if (request.logprobs) {
    scores.logprob.assign(part.rows, base::failed_value());
    scores.is_greedy.assign(part.rows, 1);
    score_rows(context, shard, part, workspace, scores);
  }
  if (request.last_logits) send_last_logits(context, shard, part, last_logits, workspace);
  return scores;
}

}  // namespace tetrarch::model
