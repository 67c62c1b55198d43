// Log-probabilities are compared with a log-softmax over the whole vocabulary in double.
// SPDX-License-Identifier: Apache-2.0
#include "model/head.hpp"

#include <bit>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

double log_softmax(const std::vector<double>& logits, std::size_t target) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits)
    sum += std::exp(logit - max);
  return logits[target] - max - std::log(sum);
}

/// The statistics that a backend computes for `logits`, cut into `slices` slices.
std::vector<backend::SliceStats> stats_of(const std::vector<float>& logits, std::int64_t slices,
                                          std::int64_t target) {
  std::vector<backend::SliceStats> stats;
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    const plan::Range range = plan::even_range(std::ssize(logits), slices, slice);
    const auto begin = logits.begin() + range.begin, end = logits.begin() + range.end;
    backend::SliceStats s{*std::max_element(begin, end), 0, 0, 0};
    for (auto at = begin; at != end; ++at)
      s.sum_exp += std::exp(*at - s.max);
    if (range.contains(target)) s.target = logits[static_cast<std::size_t>(target)];
    stats.push_back(s);
  }
  return stats;
}

void expect_log_softmax(const std::vector<float>& logits) {
  const std::vector<double> wide(logits.begin(), logits.end());
  for (const std::int64_t slices : {1, 2, 4, 8})
    for (std::int64_t target = 0; target < std::ssize(logits); ++target) {
      std::int64_t owner = 0;
      while (!plan::even_range(std::ssize(logits), slices, owner).contains(target))
        ++owner;
      const double expected = log_softmax(wide, static_cast<std::size_t>(target));

      const float found = log_probability(stats_of(logits, slices, target), owner);

      EXPECT_NEAR(found, expected, 3e-7 * (1 + std::abs(expected))) << slices << " " << target;
    }
}

TEST(LogProbability, IsTheLogSoftmaxOfModerateLogits) {
  std::vector<float> logits;
  for (int i = 0; i < 37; ++i)
    logits.push_back(static_cast<float>((i * 29) % 37) / 8 - 2);

  expect_log_softmax(logits);
}

TEST(LogProbability, NeitherOverflowsNorVanishes) {
  std::vector<float> high(16, 88.0f), far(16, -10000.0f), near(16, 0.0f);
  high[3] = 90;
  far[9] = 10000;
  near[0] = 1e-6f;
  std::vector<float> low(16, -30000.0f);
  low[5] = -30001;

  expect_log_softmax(high);
  expect_log_softmax(far);
  expect_log_softmax(near);
  expect_log_softmax(low);
}

TEST(LogProbability, CertaintyIsZero) {
  std::vector<float> logits(8, -1e30f);
  logits[6] = 5;

  EXPECT_EQ(log_probability(stats_of(logits, 4, 6), 3), 0.0f);
}

TEST(LogProbability, SlicesAreSummedByTheTree) {
  // (1 + 0) + (2^-53 + 2^-53) = 1 + 2^-52; a running sum would lose both small values
  const float tiny = 0x1p-53f;
  const std::vector<backend::SliceStats> stats{
      {0, 1, 0, 0}, {0, 0, 0, 0}, {0, tiny, 0, 0}, {0, tiny, 0, 0}};

  const float found = log_probability(stats, 0);

  EXPECT_EQ(found, static_cast<float>(-std::log(1.0 + 0x1p-52)));
  EXPECT_LT(found, 0.0f);
}

TEST(LogProbability, MoreThanEightSlicesAreRefusedInDebugBuilds) {
  if (!base::has_debug_checks) return;

  EXPECT_THROW(log_probability(std::vector<backend::SliceStats>(9), 0), base::InternalError);
}

float logit_weight(std::int64_t token, std::int64_t column) {
  return static_cast<float>((7 * token + 3 * column) % 11) - 5;
}

struct HeadStep {
  explicit HeadStep(const std::vector<std::int64_t>& lengths, std::int64_t head_chunk = 0)
      : stage(small_spec(), {1, 1, 1, mpi::everyone().size()}),
        shard(make_shard(stage, [](const plan::TensorSpec& tensor, std::int64_t, std::int64_t row,
                                   std::int64_t column) {
          return tensor.role == plan::Role::head ? logit_weight(row, column) : 1.0f;
        })) {
    const std::int64_t count = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < count; ++i)
      tokens.push_back(static_cast<std::int32_t>((i * 17 + 3) % 37));
    pass_rows = pass_rows_of(lengths, tokens);
    plan::MemoryPlan memory = stage.memory({std::max<std::int64_t>(1, count)}, 2.0);
    if (head_chunk > 0) memory.head_chunk = head_chunk;
    workspace.emplace(memory, *stage.backend);
    begin(stage, pass_rows, *workspace);
  }

  /// The value of a row of the pass: half of a small whole number that depends on the column.
  static float row_value(std::int64_t row, std::int64_t column) {
    return static_cast<float>((row * 5 + column * (row + 1)) % 7 - 3) / 2;
  }
  std::vector<double> logits(std::int64_t row, double size = 1) const {
    std::vector<double> all(37, 0.0);
    for (std::int64_t token = 0; token < 37; ++token)
      for (std::int64_t column = 0; column < 16; ++column)
        all[static_cast<std::size_t>(token)] +=
            size * double{row_value(row, column)} * double{logit_weight(token, column)};
    return all;
  }

  TokenScores run(const HeadRequest& request, float size = 1) {
    const backend::Tensor normed = workspace->tensor(plan::BufferName::normed, stage.spec.dtype, 1,
                                                     workspace->home().size(), 16);
    std::vector<float> rows;
    for (std::int64_t row = workspace->home().begin; row < workspace->home().end; ++row)
      for (std::int64_t column = 0; column < 16; ++column)
        rows.push_back(size * row_value(row, column));
    put(stage, rows, normed);
    return head_step(
        stage.context, shard, normed, request,
        {[&](std::span<const std::int64_t> runs, const backend::Tensor& logits) {
           const std::vector<float> values = floats_of(stage, logits);
           for (std::int64_t i = 0; i < logits.rows; ++i)
             last[runs[static_cast<std::size_t>(i)]].assign(
                 values.begin() + i * logits.columns, values.begin() + (i + 1) * logits.columns);
         },
         [&](std::int64_t first_row, std::span<std::uint32_t> ids, std::span<float> logprobs) {
           EXPECT_EQ(first_row * request.top_k, std::ssize(top_id));
           top_id.insert(top_id.end(), ids.begin(), ids.end());
           top_logprob.insert(top_logprob.end(), logprobs.begin(), logprobs.end());
         }},
        *workspace);
  }

  Stage stage;
  ModelShard shard;
  PassRows pass_rows;
  std::optional<Workspace> workspace;
  std::vector<std::uint32_t> top_id;
  std::vector<float> top_logprob;
  std::map<std::int64_t, std::vector<float>> last;  // by run: the logits of the local columns
};

void expect_scores(HeadStep& step, const TokenScores& scores, double size = 1) {
  ASSERT_EQ(std::ssize(scores.next_logprob), step.pass_rows.num_tokens());
  std::int64_t row = 0;
  for (const SequenceRows& run : step.pass_rows.rows)
    for (std::int64_t i = 0; i < run.count; ++i, ++row) {
      const auto at = static_cast<std::size_t>(row);
      const std::int32_t next = i + 1 < run.count ? step.pass_rows.token[at + 1] : run.next_token;
      if (next < 0) {
        EXPECT_TRUE(std::isnan(scores.next_logprob[at]));
        EXPECT_EQ(scores.is_greedy[at], 1);
        continue;
      }
      const std::vector<double> logits = step.logits(row, size);
      const double expected = log_softmax(logits, static_cast<std::size_t>(next));
      EXPECT_NEAR(scores.next_logprob[at], expected, 1e-6 * (1 + std::abs(expected))) << row;
      const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
      EXPECT_EQ(scores.is_greedy[at], best == next) << row;
    }
}

using HeadTest = backend::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, HeadTest, backend::at_hand(), backend::name_of_param);

TEST_P(HeadTest, ScoresAreTheLogSoftmaxAtTheNextToken) {
  HeadStep step({5, 1, 9, 2});

  const TokenScores scores = step.run({.logprobs = true, .last_logits = false, .top_k = 0});

  expect_scores(step, scores);
  EXPECT_TRUE(step.last.empty());
}

TEST_P(HeadTest, LargeLogitsKeepTheirPrecision) {
  HeadStep step({11});

  const TokenScores scores = step.run({.logprobs = true, .last_logits = false, .top_k = 0}, 1024);

  expect_scores(step, scores, 1024);
}

TEST_P(HeadTest, ChunksOfAnySizeGiveTheSameBits) {
  HeadStep whole({5, 1, 9, 2});
  const TokenScores expected = whole.run({.logprobs = true, .last_logits = true, .top_k = 3});
  for (const std::int64_t chunk : {1, 2, 5}) {
    HeadStep step({5, 1, 9, 2}, chunk);

    const TokenScores found = step.run({.logprobs = true, .last_logits = true, .top_k = 3});

    EXPECT_EQ(step.top_id, whole.top_id);
    EXPECT_EQ(step.top_logprob, whole.top_logprob);
    for (std::size_t i = 0; i < expected.next_logprob.size(); ++i)
      EXPECT_EQ(std::bit_cast<std::uint32_t>(found.next_logprob[i]),
                std::bit_cast<std::uint32_t>(expected.next_logprob[i]));
    EXPECT_EQ(found.is_greedy, expected.is_greedy);
    EXPECT_EQ(step.last, whole.last);
  }
}

TEST_P(HeadTest, LastLogitsAreThoseAfterEachSequencesEnd) {
  HeadStep step({5, 1, 9});

  const TokenScores scores = step.run({.logprobs = false, .last_logits = true, .top_k = 0});

  EXPECT_TRUE(scores.next_logprob.empty());
  ASSERT_EQ(step.last.size(), 3u);
  const std::int64_t first = step.stage.context.local.vocab.front().begin;
  std::int64_t end = 0;
  for (std::int64_t run = 0; run < 3; ++run) {
    end += step.pass_rows.rows[static_cast<std::size_t>(run)].count;
    const std::vector<double> logits = step.logits(end - 1);
    ASSERT_EQ(std::ssize(step.last[run]), step.stage.context.local.vocab_count());
    for (std::size_t i = 0; i < step.last[run].size(); ++i)
      EXPECT_EQ(step.last[run][i], static_cast<float>(logits[static_cast<std::size_t>(first) + i]));
  }
}

TEST_P(HeadTest, EqualLogitsAreGreedyForTheLowestIdAlone) {
  HeadStep step({4});
  step.pass_rows.token = {5, 0, 1, 36};  // a row of zeros gives every token the same probability
  begin(step.stage, step.pass_rows, *step.workspace);

  const TokenScores scores = step.run({.logprobs = true, .last_logits = false, .top_k = 0}, 0);

  EXPECT_EQ(scores.is_greedy, (std::vector<std::uint8_t>{1, 0, 0, 1}));
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_FLOAT_EQ(scores.next_logprob[i], static_cast<float>(-std::log(37.0)));
}

TEST_P(HeadTest, LikelyTokensComeByFallingLogProbabilityThenRisingId) {
  HeadStep step({5, 1, 9});
  constexpr std::int64_t k = 6;

  const TokenScores scores = step.run({.logprobs = false, .last_logits = false, .top_k = k});

  EXPECT_TRUE(scores.next_logprob.empty());
  ASSERT_EQ(std::ssize(step.top_id), 15 * k);
  for (std::int64_t row = 0; row < 15; ++row) {
    const std::vector<double> logits = step.logits(row);
    std::vector<std::uint32_t> order(37);
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::stable_sort(
        order, [&](std::uint32_t a, std::uint32_t b) { return logits[a] > logits[b]; });
    for (std::int64_t i = 0; i < k; ++i) {
      const auto at = static_cast<std::size_t>(row * k + i);
      EXPECT_EQ(step.top_id[at], order[static_cast<std::size_t>(i)]) << row << " " << i;
      EXPECT_NEAR(step.top_logprob[at], log_softmax(logits, step.top_id[at]), 1e-5);
    }
  }
}

TEST_P(HeadTest, AllTokensCanBeAskedFor) {
  HeadStep step({3});

  step.run({.logprobs = false, .last_logits = false, .top_k = 37});

  ASSERT_EQ(step.top_id.size(), 3u * 37);
  for (std::size_t row = 0; row < 3; ++row) {
    std::vector<std::uint32_t> ids(
        step.top_id.begin() + static_cast<std::ptrdiff_t>(row * 37),
        step.top_id.begin() + static_cast<std::ptrdiff_t>(row * 37 + 37));
    std::ranges::sort(ids);
    for (std::uint32_t id = 0; id < 37; ++id)
      EXPECT_EQ(ids[id], id);
  }
}

TEST_P(HeadTest, ARunInTheMiddleScoresTheTokenThatComesNext) {
  HeadStep step({4, 3});
  step.pass_rows.rows[0].length = 9;
  step.pass_rows.rows[0].next_token = 21;
  begin(step.stage, step.pass_rows, *step.workspace);

  const TokenScores scores = step.run({.logprobs = true, .last_logits = true, .top_k = 0});

  expect_scores(step, scores);
  EXPECT_FALSE(std::isnan(scores.next_logprob[3]));
  EXPECT_EQ(step.last.size(), 1u);  // the first run does not end its sequence
  EXPECT_EQ(step.last.count(1), 1u);
}

TEST_P(HeadTest, NothingWantedIsNothingDone) {
  HeadStep step({4});

  const TokenScores scores = step.run({});

  EXPECT_TRUE(scores.next_logprob.empty() && scores.is_greedy.empty() && step.last.empty());
}

TEST_P(HeadTest, NoTokensAreNoScores) {
  HeadStep step({});

  const TokenScores scores = step.run({.logprobs = true, .last_logits = true, .top_k = 0});

  EXPECT_TRUE(scores.next_logprob.empty() && step.last.empty());
}

TEST_P(HeadTest, TheFinalNormDividesByTheRootMeanSquare) {
  HeadStep step({6});
  put(step.stage,
      std::vector<float>(static_cast<std::size_t>(step.workspace->residual().elements()), -3.0f),
      step.workspace->residual());

  const backend::Tensor normed = final_norm_step(step.stage.context, step.shard, *step.workspace);

  EXPECT_EQ(normed.rows, step.workspace->home().size());
  for (const float value : floats_of(step.stage, normed))
    EXPECT_NEAR(value, -1.0, 1e-5);
}

}  // namespace
}  // namespace tetrarch::model
