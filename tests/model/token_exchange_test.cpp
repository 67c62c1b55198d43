// Expert e multiplies by e + 1, so the result of every token is known in closed form.
// SPDX-License-Identifier: Apache-2.0
#include "model/token_exchange.hpp"

#include <gtest/gtest.h>

#include "model/router.hpp"
#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

using plan::BufferName;

/// Small whole numbers; gate weights are quarters. With these and the shares below, every product
/// and sum is exact, in bf16 too.
float row_value(std::int64_t token, std::int64_t column) {
  return static_cast<float>((3 * token + column) % 7 - 3);
}
float residual_value(std::int64_t token, std::int64_t column) {
  return static_cast<float>((token + 2 * column) % 7 - 3);
}
float gate_weight(std::int64_t token, std::int64_t slot) {
  return 0.25f * static_cast<float>(1 + (token + 3 * slot) % 4);
}
/// Reduction shard s contributes share[s] times the expert's result; the sum of the shares is 1.
constexpr float share[] = {4, -2, 1, -2};

/// The expert in a slot of a token. Tokens are numbered over all EP ranks.
using Choice = std::function<std::int32_t(std::int64_t token, std::int64_t slot)>;

/// One exchange of tokens on every rank of the stage.
class Exchanging {
 public:
  /// `part_tokens`: number of tokens of each EP rank.
  Exchanging(const plan::ModelSpec& spec, const plan::Grid& grid,
             std::vector<std::int64_t> part_tokens, double round_factor)
      : stage_(spec, grid),
        part_tokens_(std::move(part_tokens)),
        workspace_(stage_.memory(part_tokens_, round_factor), *stage_.backend) {
    const auto ep = static_cast<std::size_t>(stage_.place.ep);
    const std::int64_t count = part_tokens_[ep];
    pass_rows_ = pass_rows_of({count}, std::vector<std::int32_t>(static_cast<std::size_t>(count)));
    begin(stage_, pass_rows_, workspace_);
    first_token_ = std::accumulate(part_tokens_.begin(), part_tokens_.begin() + stage_.place.ep,
                                   workspace_.home().begin);
    put(stage_, values(residual_value), workspace_.residual());
  }

  std::int64_t round_rows() const { return workspace_.round_rows(); }
  std::int64_t total_tokens() const {
    return std::accumulate(part_tokens_.begin(), part_tokens_.end(), std::int64_t{0});
  }

  void run(const Choice& choice) {
    const backend::Tensor normed =
        workspace_.tensor(BufferName::normed, stage_.spec.dtype, 1, home(), hidden());
    put(stage_, values(row_value), normed);
    route(choice);

    DispatchRecord record = begin_dispatch(stage_.context, normed, workspace_);
    num_rounds_ = record.num_rounds();
    for (std::int64_t round = 0; round < record.num_rounds(); ++round) {
      const backend::Tensor rows = dispatch_round(stage_.context, record, round, workspace_);
      EXPECT_LE(rows.rows, workspace_.round_rows());
      num_rows_ += rows.rows;
      return_round(stage_.context, record, experts(rows), workspace_);
    }
    combine(stage_.context, std::move(record), workspace_);
  }

  void expect_closed_form(const Choice& choice) {
    const std::vector<float> found = floats_of(stage_, workspace_.residual());
    const std::vector<float> expected = values([&](std::int64_t token, std::int64_t column) {
      float sum = residual_value(token, column);
      for (std::int64_t slot = 0; slot < stage_.spec.top_k; ++slot)
        sum += gate_weight(token, slot) * static_cast<float>(choice(token, slot) + 1) *
               row_value(token, column);
      return sum;
    });
    EXPECT_EQ(found, expected);
  }
  std::int64_t num_rounds() const { return num_rounds_; }
  /// Number of rows that the experts of all EP ranks have computed.
  std::int64_t num_rows() const { return stage_.world.sum(num_rows_) / stage_.grid.tp; }

 private:
  std::int64_t home() const { return workspace_.home().size(); }
  std::int64_t hidden() const { return stage_.spec.hidden_size; }

  template <class Value>
  std::vector<float> values(const Value& value) const {
    std::vector<float> all;
    for (std::int64_t token = first_token_; token < first_token_ + home(); ++token)
      for (std::int64_t column = 0; column < hidden(); ++column)
        all.push_back(value(token, column));
    return all;
  }

  /// Writes to the workspace what the router would write.
  void route(const Choice& choice) {
    const std::int64_t k = stage_.spec.top_k;
    std::vector<std::int32_t> ids;
    std::vector<float> weights;
    for (std::int64_t token = first_token_; token < first_token_ + home(); ++token)
      for (std::int64_t slot = 0; slot < k; ++slot) {
        ids.push_back(choice(token, slot));
        weights.push_back(gate_weight(token, slot));
      }
    const auto tensor = [&](BufferName name, base::DType dtype, std::int64_t rows,
                            std::int64_t columns) {
      return workspace_.tensor(name, dtype, 1, rows, columns);
    };
    Routing& routing = workspace_.routing;
    routing.expert_id = tensor(BufferName::expert_ids, base::DType::i32, home(), k);
    routing.gate_weight = tensor(BufferName::gate_weights, base::DType::f32, home(), k);
    routing.num_copies = home() * k;
    routing.order = tensor(BufferName::send_order, base::DType::i32, home() * k, 1);
    routing.position = tensor(BufferName::send_position, base::DType::i32, home(), k);
    routing.count =
        tensor(BufferName::counts, base::DType::i32, stage_.world.size(), stage_.spec.num_experts)
            .row_range(stage_.all->rank(), 1);
    backend::Compute& compute = stage_.context.compute;
    compute.upload(ids.data(), routing.expert_id);
    compute.upload(weights.data(), routing.gate_weight);
    compute.group_by_expert(routing.expert_id, routing.order, routing.position, routing.count);
  }

  /// The partial products [local slices][n][D]: each slice is its share of (expert + 1) * row.
  backend::Tensor experts(const backend::Tensor& rows) {
    const ExchangeRound& round = workspace_.exchange.round;
    const plan::Range local = stage_.context.local.experts, slices = stage_.context.local.slices;
    EXPECT_EQ(round.num_rows(), rows.rows);
    EXPECT_EQ(std::ssize(round.expert_offset), local.size() + 1);
    const std::vector<float> x = floats_of(stage_, rows);
    std::vector<float> partial;
    for (std::int64_t slice = slices.begin; slice < slices.end; ++slice)
      for (std::int64_t expert = 0; expert < local.size(); ++expert)
        for (std::int64_t i = round.expert_offset[static_cast<std::size_t>(expert)] * hidden();
             i < round.expert_offset[static_cast<std::size_t>(expert + 1)] * hidden(); ++i)
          partial.push_back(share[slice] * static_cast<float>(local.begin + expert + 1) *
                            x[static_cast<std::size_t>(i)]);
    const backend::Tensor to = workspace_.tensor(BufferName::expert_partial, stage_.spec.dtype,
                                                 slices.size(), rows.rows, hidden());
    put(stage_, partial, to);
    return to;
  }

  Stage stage_;
  std::vector<std::int64_t> part_tokens_;
  PassRows pass_rows_;
  Workspace workspace_;
  std::int64_t first_token_ = 0, num_rounds_ = 0, num_rows_ = 0;
};

std::int32_t spread(std::int64_t token, std::int64_t slot) {
  return static_cast<std::int32_t>((5 * token + token * token + 3 * slot) % 8);
}

int num_ranks() {
  return mpi::everyone().size();
}

/// Calls test(spec, grid) for both dtypes and every grid of the available ranks.
template <class Test>
void on_every_stage(const Test& test) {
  for (const base::DType dtype : {base::DType::f32, base::DType::bf16})
    for (const plan::Grid& grid : grids_of(num_ranks())) {
      SCOPED_TRACE(testing::Message() << plan::to_string(grid) << " " << base::name_of(dtype));
      test(small_spec(dtype), grid);
    }
}

/// 7, 10, 13 ... tokens: a different number on every EP rank, and 7 is divisible neither by 2 nor
/// by 4.
std::vector<std::int64_t> uneven_parts(const plan::Grid& grid) {
  std::vector<std::int64_t> parts;
  for (int ep = 0; ep < grid.ep; ++ep)
    parts.push_back(7 + 3 * ep);
  return parts;
}

using TokenExchangeTest = backend::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, TokenExchangeTest, backend::at_hand(), backend::name_of_param);

TEST_P(TokenExchangeTest, CombineReturnsEveryTokenHome) {
  on_every_stage([](const plan::ModelSpec& spec, const plan::Grid& grid) {
    Exchanging exchanging(spec, grid, uneven_parts(grid), 2.0);

    exchanging.run(spread);

    exchanging.expect_closed_form(spread);
    EXPECT_EQ(exchanging.num_rows(), exchanging.total_tokens() * spec.top_k);
  });
}

TEST_P(TokenExchangeTest, SmallRoundsChangeNothing) {
  on_every_stage([](const plan::ModelSpec& spec, const plan::Grid& grid) {
    Exchanging exchanging(spec, grid, uneven_parts(grid), 0.3);

    exchanging.run(spread);

    exchanging.expect_closed_form(spread);
    if (grid.ep > 1) {
      EXPECT_GE(exchanging.num_rounds(), 3);
    } else {
      EXPECT_EQ(exchanging.num_rounds(), 1);
    }
  });
}

TEST_P(TokenExchangeTest, AllTokensMayGoToOneExpert) {
  for (const std::int32_t expert : {0, 5, 7})
    on_every_stage([&](plan::ModelSpec spec, const plan::Grid& grid) {
      spec.top_k = 1;
      const Choice choice = [&](std::int64_t, std::int64_t) { return expert; };
      Exchanging exchanging(spec, grid, uneven_parts(grid), 1.0);

      exchanging.run(choice);

      exchanging.expect_closed_form(choice);
      const std::int64_t rows = exchanging.total_tokens(), most = exchanging.round_rows();
      EXPECT_EQ(exchanging.num_rounds(), (rows + most - 1) / most);
      EXPECT_GE(exchanging.num_rounds(), grid.ep > 1 ? 2 : 1);
      EXPECT_EQ(exchanging.num_rows(), rows);
    });
}

TEST_P(TokenExchangeTest, BothChoicesMayLieOnOneRank) {
  const Choice choice = [](std::int64_t token, std::int64_t slot) {
    return static_cast<std::int32_t>(token % 2 == 0 ? slot : 1 - slot);
  };
  on_every_stage([&](const plan::ModelSpec& spec, const plan::Grid& grid) {
    Exchanging exchanging(spec, grid, uneven_parts(grid), 1.0);

    exchanging.run(choice);

    exchanging.expect_closed_form(choice);
  });
}

TEST_P(TokenExchangeTest, RanksWithoutTokensTakePartToo) {
  on_every_stage([](const plan::ModelSpec& spec, const plan::Grid& grid) {
    // in turn, one EP rank has no token and the others have one: fewer tokens than tp ranks
    for (std::size_t empty = 0; empty < static_cast<std::size_t>(grid.ep); ++empty) {
      std::vector<std::int64_t> parts(static_cast<std::size_t>(grid.ep), 1);
      parts[empty] = 0;
      if (grid.ep == 1) parts = {1};
      Exchanging exchanging(spec, grid, parts, 2.0);

      exchanging.run(spread);

      exchanging.expect_closed_form(spread);
    }
  });
}

TEST_P(TokenExchangeTest, OneRankMayHaveAllTokens) {
  on_every_stage([](const plan::ModelSpec& spec, const plan::Grid& grid) {
    std::vector<std::int64_t> parts(static_cast<std::size_t>(grid.ep), 0);
    parts.back() = 23;
    Exchanging exchanging(spec, grid, parts, 2.0);

    exchanging.run(spread);

    exchanging.expect_closed_form(spread);
  });
}

TEST_P(TokenExchangeTest, NoTokensAnywhereIsNoRound) {
  on_every_stage([](const plan::ModelSpec& spec, const plan::Grid& grid) {
    Exchanging exchanging(spec, grid,
                          std::vector<std::int64_t>(static_cast<std::size_t>(grid.ep), 0), 2.0);

    exchanging.run(spread);

    EXPECT_EQ(exchanging.num_rounds(), 0);
    exchanging.expect_closed_form(spread);
  });
}

// The router scores are all equal: ties go to experts 0 and 1 of EP rank 0, with equal weights.
TEST_P(TokenExchangeTest, TiedTokensGoToTheLowestExperts) {
  for (const plan::Grid& grid : grids_of(num_ranks())) {
    Stage stage(small_spec(), grid);
    const std::vector<std::int64_t> parts = uneven_parts(grid);
    const ModelShard shard = make_shard(
        stage, [](const plan::TensorSpec& tensor, std::int64_t, std::int64_t, std::int64_t) {
          return tensor.role == plan::Role::router ? 0.0f : 1.0f;
        });
    Workspace workspace(stage.memory(parts, 1.0), *stage.backend);
    const std::int64_t count = parts[static_cast<std::size_t>(stage.place.ep)];
    PassRows pass_rows =
        pass_rows_of({count}, std::vector<std::int32_t>(static_cast<std::size_t>(count)));
    begin(stage, pass_rows, workspace);
    put(stage, std::vector<float>(static_cast<std::size_t>(workspace.residual().elements()), 2.0f),
        workspace.residual());

    const backend::Tensor normed = router_step(stage.context, shard.layers[0], workspace);
    const DispatchRecord record = begin_dispatch(stage.context, normed, workspace);
    const ExchangeCounts& counts = workspace.exchange.counts;

    const std::int64_t total = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
    EXPECT_EQ(record.num_rounds(), counts.num_rounds(workspace.round_rows()));
    const auto copies_of = [&](std::int64_t expert) {
      std::int64_t copies = 0;
      for (int source = 0; source < counts.ep() * counts.tp(); ++source)
        copies += counts.copies(source / counts.tp(), source % counts.tp(), expert);
      return copies;
    };
    EXPECT_EQ(copies_of(0), total);
    EXPECT_EQ(copies_of(1), total);
    for (std::int64_t expert = 2; expert < 8; ++expert)
      EXPECT_EQ(copies_of(expert), 0);
    for (const float weight : floats_of(stage, workspace.routing.gate_weight))
      EXPECT_EQ(weight, 0.5f);
  }
}

}  // namespace
}  // namespace tetrarch::model
