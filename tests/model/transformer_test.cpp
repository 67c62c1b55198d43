// With a layer that adds nothing, the observed rows are the embedding, on every grid.
// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

float embedding(std::int64_t token, std::int64_t column) {
  return static_cast<float>((token * 5 + column * 3) % 13 + 1) / 4;
}

/// Weights of a layer that adds nothing: o and down are zero, all others are not.
float silent_layer(const plan::TensorSpec& tensor, std::int64_t expert, std::int64_t row,
                   std::int64_t column) {
  if (tensor.role == plan::Role::embed) return embedding(row, column);
  if (tensor.role == plan::Role::o || tensor.role == plan::Role::down) return 0.0f;
  return static_cast<float>((expert + 3 * row + 5 * column + static_cast<int>(tensor.role)) % 9 -
                            4) /
         8;
}

/// Weights of a layer whose attention adds nothing and whose experts do.
float busy_experts(const plan::TensorSpec& tensor, std::int64_t expert, std::int64_t row,
                   std::int64_t column) {
  if (tensor.role != plan::Role::down) return silent_layer(tensor, expert, row, column);
  return static_cast<float>((2 * expert + row * row + 3 * column) % 7 - 3) / 16;
}

/// The input row of router and experts for a token, when attention adds nothing.
std::vector<double> normed_embedding(const std::vector<plan::TensorSpec>& tensors,
                                     std::int64_t token) {
  const auto norm = std::ranges::find(tensors, plan::Role::moe_norm, &plan::TensorSpec::role);
  double squares = 0;
  for (std::int64_t c = 0; c < 16; ++c)
    squares += std::pow(double{embedding(token, c)}, 2);
  std::vector<double> x;
  for (std::int64_t c = 0; c < 16; ++c)
    x.push_back(double{silent_layer(*norm, 0, 0, c)} * double{embedding(token, c)} /
                std::sqrt(squares / 16 + 1e-5));
  return x;
}

double router_weight(const std::vector<plan::TensorSpec>& tensors, std::int64_t expert,
                     std::int64_t column) {
  const auto router = std::ranges::find(tensors, plan::Role::router, &plan::TensorSpec::role);
  return double{silent_layer(*router, 0, expert, column)};
}

/// Records what it observes on this rank, in order.
struct Witness final : Observer {
  explicit Witness(const Stage& at) : stage(at) {}
  void hidden(std::int64_t layer, const PassRows& pass_rows, const backend::Tensor& home) override {
    EXPECT_EQ(pass_rows.home(stage.place.tp).size(), home.rows);
    seen.push_back("hidden " + std::to_string(layer));
    rows.push_back(floats_of(stage, home));
  }
  void kv(std::int64_t layer, const backend::Tensor& key, const backend::Tensor& value) override {
    seen.push_back("kv " + std::to_string(layer));
    keys = floats_of(stage, key);
    EXPECT_EQ(value.rows, key.rows);
  }
  void experts(std::int64_t layer, const Routing& routing) override {
    seen.push_back("experts " + std::to_string(layer));
    expert_ids = integers_of(stage, routing.expert_id);
  }
  void last_logits(const PassRows& pass_rows, std::span<const std::int64_t> runs,
                   const backend::Tensor& logits) override {
    EXPECT_EQ(std::ssize(runs), logits.rows);
    EXPECT_LT(runs.back(), std::ssize(pass_rows.rows));
    num_last += logits.rows;
  }
  void likely(const PassRows&, std::int64_t, std::span<std::uint32_t>, std::span<float>) override {
    ADD_FAILURE() << "nobody asked for them";
  }
  void not_finite(const NotFinite& found) override {
    ADD_FAILURE() << "all is finite, but for sequence " << found.sequence;
  }

  const Stage& stage;
  std::vector<std::string> seen;
  std::vector<std::vector<float>> rows;
  std::vector<float> keys;
  std::vector<std::int32_t> expert_ids;
  std::int64_t num_last = 0;
};

/// A forward pass in which EP rank e has two sequences of 3 + e and 4 tokens.
struct Forward {
  explicit Forward(const plan::Grid& grid, const WeightValue& value = silent_layer)
      : stage(small_spec(), grid), shard(make_shard(stage, value)), witness(stage) {
    std::vector<std::int64_t> parts;
    for (int ep = 0; ep < grid.ep; ++ep)
      parts.push_back(7 + ep);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 7 + stage.place.ep; ++i)
      tokens.push_back((11 * i + 5 * stage.place.ep) % 37);
    pass_rows = pass_rows_of({3 + stage.place.ep, 4}, tokens);
    workspace.emplace(stage.memory(parts, 2.0), *stage.backend);
    begin(stage, pass_rows, *workspace);
  }
  void run() {
    const Transformer transformer(stage.context, shard, depth, {0, 1}, 16, *stage.backend);
    transformer.embed(*workspace, witness);
    extra_rounds = transformer.run_layers(*workspace, witness);
    scores = transformer.finish({.logprobs = true, .last_logits = true, .top_k = 0}, *workspace,
                                witness);
  }
  std::int32_t token(std::int64_t home_row) const {
    return pass_rows.token[static_cast<std::size_t>(workspace->home().begin + home_row)];
  }

  std::int32_t expert(std::int64_t home_row, std::size_t slot) const {
    return witness.expert_ids[static_cast<std::size_t>(home_row) * 2 + slot];
  }

  Stage stage;
  plan::Depth depth = whole_depth(stage.spec);
  ModelShard shard;
  Witness witness;
  PassRows pass_rows;
  std::optional<Workspace> workspace;
  std::int64_t extra_rounds = 0;
  TokenScores scores;
};

template <class Test>
void on_every_grid(const Test& test) {
  for (const plan::Grid& grid : grids_of(mpi::everyone().size())) {
    SCOPED_TRACE(plan::to_string(grid));
    test(grid);
  }
}

using TransformerTest = backend::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, TransformerTest, backend::at_hand(), backend::name_of_param);

TEST_P(TransformerTest, AnEmptyLayerLeavesTheEmbedding) {
  on_every_grid([](const plan::Grid& grid) {
    Forward forward(grid);

    forward.run();

    const std::int64_t home = forward.workspace->home().size();
    ASSERT_EQ(forward.witness.rows.size(), 3u);
    ASSERT_EQ(std::ssize(forward.witness.rows[0]), home * 16);
    for (std::int64_t i = 0; i < home * 16; ++i)
      EXPECT_EQ(forward.witness.rows[0][static_cast<std::size_t>(i)],
                embedding(forward.token(i / 16), i % 16));
    EXPECT_EQ(forward.witness.rows[1], forward.witness.rows[0]);
  });
}

/// The result of one expert for a normed row, computed in double.
std::vector<double> expert_answer(const std::vector<plan::TensorSpec>& tensors, std::int64_t expert,
                                  const std::vector<double>& x) {
  const auto weight = [&](plan::Role role, std::int64_t row, std::int64_t column) {
    const auto at = std::ranges::find(tensors, role, &plan::TensorSpec::role);
    return double{busy_experts(*at, expert, row, column)};
  };
  std::vector<double> answer(16, 0.0);
  for (std::int64_t f = 0; f < 24; ++f) {
    double gate = 0, up = 0;
    for (std::int64_t c = 0; c < 16; ++c) {
      gate += weight(plan::Role::gate, f, c) * x[static_cast<std::size_t>(c)];
      up += weight(plan::Role::up, f, c) * x[static_cast<std::size_t>(c)];
    }
    const double activated = gate / (1 + std::exp(-gate)) * up;
    for (std::int64_t c = 0; c < 16; ++c)
      answer[static_cast<std::size_t>(c)] += weight(plan::Role::down, f, c) * activated;
  }
  return answer;
}

TEST_P(TransformerTest, ExpertsAddTheirWeightedAnswersToTheStream) {
  on_every_grid([](const plan::Grid& grid) {
    Forward forward(grid, busy_experts);
    const std::vector<plan::TensorSpec> tensors = plan::tensors_of(forward.stage.spec, 4);

    forward.run();

    for (std::int64_t row = 0; row < forward.workspace->home().size(); ++row) {
      const std::vector<double> x = normed_embedding(tensors, forward.token(row));
      double logit[2] = {0, 0};
      for (std::size_t slot = 0; slot < 2; ++slot)
        for (std::int64_t c = 0; c < 16; ++c)
          logit[slot] +=
              router_weight(tensors, forward.expert(row, slot), c) * x[static_cast<std::size_t>(c)];
      const double first = 1 / (1 + std::exp(logit[1] - logit[0]));
      const auto a = expert_answer(tensors, forward.expert(row, 0), x),
                 b = expert_answer(tensors, forward.expert(row, 1), x);
      for (std::size_t c = 0; c < 16; ++c) {
        const double expected = embedding(forward.token(row), static_cast<std::int64_t>(c)) +
                                first * a[c] + (1 - first) * b[c];
        EXPECT_NEAR(forward.witness.rows[1][static_cast<std::size_t>(row) * 16 + c], expected,
                    1e-5 * (1 + std::abs(expected)));
      }
    }
  });
}

TEST_P(TransformerTest, TheObserverSeesEachStepInOrder) {
  on_every_grid([](const plan::Grid& grid) {
    Forward forward(grid);

    forward.run();

    EXPECT_EQ(forward.witness.seen,
              (std::vector<std::string>{"hidden -1", "kv 0", "experts 0", "hidden 0", "hidden 1"}));
    EXPECT_EQ(forward.witness.num_last, 2);
  });
}

TEST_P(TransformerTest, EachTokenHasTwoDifferentExperts) {
  on_every_grid([](const plan::Grid& grid) {
    Forward forward(grid);

    forward.run();

    const std::vector<std::int32_t>& ids = forward.witness.expert_ids;
    ASSERT_EQ(std::ssize(ids), forward.workspace->home().size() * 2);
    for (std::size_t i = 0; i < ids.size(); i += 2) {
      EXPECT_NE(ids[i], ids[i + 1]);
      EXPECT_TRUE(ids[i] >= 0 && ids[i] < 8 && ids[i + 1] >= 0 && ids[i + 1] < 8);
    }
  });
}

TEST_P(TransformerTest, TheFinalStreamIsNormed) {
  on_every_grid([](const plan::Grid& grid) {
    Forward forward(grid);

    forward.run();

    const plan::TensorSpec norm = plan::tensors_of(forward.stage.spec, 4)
                                      .at(plan::tensors_of(forward.stage.spec, 4).size() - 2);
    ASSERT_EQ(norm.role, plan::Role::final_norm);
    for (std::int64_t row = 0; row < forward.workspace->home().size(); ++row) {
      double squares = 0;
      for (std::int64_t column = 0; column < 16; ++column)
        squares += std::pow(double{embedding(forward.token(row), column)}, 2);
      for (std::int64_t column = 0; column < 16; ++column)
        EXPECT_NEAR(forward.witness.rows[2][static_cast<std::size_t>(row * 16 + column)],
                    double{silent_layer(norm, 0, 0, column)} *
                        double{embedding(forward.token(row), column)} /
                        std::sqrt(squares / 16 + 1e-5),
                    1e-6);
    }
  });
}

TEST_P(TransformerTest, EachRowScoresTheTokenAfterIt) {
  on_every_grid([](const plan::Grid& grid) {
    Forward forward(grid);

    forward.run();

    const auto last = static_cast<std::size_t>(2 + forward.stage.place.ep);
    ASSERT_EQ(forward.scores.next_logprob.size(), last + 5);
    for (std::size_t i = 0; i < last + 5; ++i)
      EXPECT_EQ(std::isnan(forward.scores.next_logprob[i]), i == last || i == last + 4) << i;
  });
}

TEST_P(TransformerTest, OnlyWantedRowsPassTheDeepestLayer) {
  on_every_grid([](const plan::Grid& grid) {
    Forward whole(grid, busy_experts), narrow(grid, busy_experts);
    narrow.depth.rows = plan::RowsWanted::predicting;

    whole.run();
    narrow.run();

    // all keys, and all rows except the last one of each sequence
    EXPECT_EQ(narrow.witness.keys, whole.witness.keys);
    const std::int64_t first = whole.workspace->home().begin;
    std::vector<float> expected;
    for (std::int64_t row = 0; row < whole.workspace->home().size(); ++row) {
      const std::int64_t last = 2 + whole.stage.place.ep;
      if (first + row == last || first + row == last + 4) continue;
      expected.insert(expected.end(), whole.witness.rows[1].begin() + row * 16,
                      whole.witness.rows[1].begin() + (row + 1) * 16);
    }
    EXPECT_EQ(narrow.witness.rows[1], expected);
    EXPECT_EQ(narrow.scores.next_logprob.size(), whole.scores.next_logprob.size() - 2);
  });
}

TEST_P(TransformerTest, WhereNoRowIsWantedKeysAreAllThereIs) {
  on_every_grid([](const plan::Grid& grid) {
    Forward forward(grid);
    forward.depth = {1, plan::RowsWanted::none, false, false, false};

    forward.run();

    EXPECT_EQ(forward.witness.seen, (std::vector<std::string>{"hidden -1", "kv 0"}));
  });
}

TEST_P(TransformerTest, WorkIsBookedToItsPhases) {
  Forward forward({1, 1, mpi::everyone().size(), 1});

  forward.run();

  std::uint64_t experts = 0, head = 0;
  for (const base::PhaseRecord& record : forward.stage.timeline.cut(0)) {
    if (record.phase == base::Phase::experts) experts += record.flops;
    if (record.phase == base::Phase::head) head += record.flops;
  }
  const std::int64_t tokens = forward.pass_rows.num_tokens();
  const std::int64_t all_tokens = forward.stage.world.sum(tokens);
  EXPECT_EQ(forward.stage.world.sum(static_cast<std::int64_t>(experts)),
            2 * all_tokens * 2 * 3 * 16 * 24);  // two experts, three products each
  // includes the logits of 2 last tokens
  EXPECT_EQ(head, static_cast<std::uint64_t>(2 * tokens * 16 * 37));
}

}  // namespace
}  // namespace tetrarch::model
