// One weight is broken. The reports name this weight, and they are the same on every grid.
// SPDX-License-Identifier: Apache-2.0
#include "model/not_finite.hpp"

#include <cstring>
#include <limits>
#include <map>
#include <optional>

#include <gtest/gtest.h>

#include "model/stage.hpp"
#include "model/transformer.hpp"

namespace tetrarch::model {
namespace {

using plan::Role;

constexpr std::int64_t num_layers = 3;  // the middle one is dense
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

plan::ModelSpec three_layers() {
  plan::ModelSpec spec = small_spec();
  spec.num_layers = num_layers;
  plan::set_derived(spec);
  spec.is_moe = {true, false, true};
  spec.dense_ffn = 40;
  return spec;
}

float whole_weight(const plan::TensorSpec& tensor, std::int64_t expert, std::int64_t row,
                   std::int64_t column) {
  const std::int64_t mixed =
      7 * expert + 3 * row + 5 * column + 11 * static_cast<int>(tensor.role) + row * column;
  return static_cast<float>(mixed % 17 - 8) / 16;
}

struct Broken {
  Role role;
  std::int64_t layer = -1, expert = 0, row = 0, column = 0;
  float value = nan;
};

WeightValue with(const Broken& broken) {
  return [=](const plan::TensorSpec& tensor, std::int64_t expert, std::int64_t row,
             std::int64_t column) {
    const bool is_it = tensor.role == broken.role && tensor.layer == broken.layer &&
                       expert == broken.expert && row == broken.row && column == broken.column;
    return is_it ? broken.value : whole_weight(tensor, expert, row, column);
  };
}

/// Keeps the earliest report of each sequence, and the chosen experts of each row.
struct Witness final : Observer {
  explicit Witness(const Stage& at) : stage(at) {}
  void hidden(std::int64_t, const PassRows&, const backend::Tensor&) override {}
  void kv(std::int64_t, const backend::Tensor&, const backend::Tensor&) override {}
  void experts(std::int64_t layer, const Routing& routing) override {
    expert_ids[layer] = integers_of(stage, routing.expert_id);
  }
  void last_logits(const PassRows&, std::span<const std::int64_t>,
                   const backend::Tensor&) override {}
  void likely(const PassRows&, std::int64_t, std::span<std::uint32_t>, std::span<float>) override {}
  void not_finite(const NotFinite& found) override {
    const auto [at, is_new] = first.try_emplace(found.sequence, found);
    if (!is_new && found.comes_before(at->second)) at->second = found;
  }

  const Stage& stage;
  std::map<std::int64_t, NotFinite> first;
  std::map<std::int64_t, std::vector<std::int32_t>> expert_ids;
};

/// A forward pass in which each EP rank has two sequences of 5 and 4 tokens.
struct Forward {
  Forward(const plan::Grid& grid, const Broken& broken)
      : stage(three_layers(), grid), shard(make_shard(stage, with(broken))), witness(stage) {
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 9; ++i)
      tokens.push_back((11 * i + 5) % 37);
    pass_rows = pass_rows_of({5, 4}, tokens);
    workspace.emplace(
        stage.memory(std::vector<std::int64_t>(static_cast<std::size_t>(grid.ep), 9), 2.0),
        *stage.backend);
    begin(stage, pass_rows, *workspace);
    home = workspace->home();
    const Transformer transformer(stage.context, shard, whole_depth(stage.spec), {0, num_layers},
                                  16, *stage.backend);
    transformer.embed(*workspace, witness);
    transformer.run_layers(*workspace, witness);
    transformer.finish({}, *workspace, witness);
  }
  /// The earliest report of each sequence of this EP rank, from all its tp ranks.
  std::vector<NotFinite> first_places() const {
    std::vector<NotFinite> mine(2);
    for (std::int64_t sequence = 0; sequence < 2; ++sequence) {
      mine[static_cast<std::size_t>(sequence)].layer = num_layers + 1;  // none
      if (const auto at = witness.first.find(sequence); at != witness.first.end())
        mine[static_cast<std::size_t>(sequence)] = at->second;
    }
    constexpr std::size_t width = sizeof(NotFinite) / sizeof(std::int32_t);
    const auto tp = static_cast<std::size_t>(stage.grid.tp);
    std::vector<std::int32_t> numbers(2 * width);
    std::memcpy(numbers.data(), mine.data(), 2 * sizeof(NotFinite));
    const backend::Uploaded send(*stage.backend, numbers, width);
    const backend::Uploaded received(*stage.backend, std::vector<std::int32_t>(2 * tp * width),
                                     width);
    stage.tp->all_gather_v(send.tensor(), std::vector<std::int64_t>(tp, 2), received.tensor());
    std::vector<NotFinite> all(2 * tp), least = mine;
    std::memcpy(static_cast<void*>(all.data()), received.values().data(),
                all.size() * sizeof(NotFinite));
    for (std::size_t i = 0; i < all.size(); ++i)
      if (all[i].comes_before(least[i % 2])) least[i % 2] = all[i];
    return least;
  }
  /// For each sequence, the first position that chose the expert; -1: none.
  std::vector<std::int64_t> first_choosing(std::int64_t layer, std::int32_t expert) const {
    std::vector<std::int64_t> first(2, -1);
    const std::vector<std::int32_t>& ids = witness.expert_ids.at(layer);
    std::vector<std::int32_t> mine(static_cast<std::size_t>(home.size()), 0);
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (ids[i] == expert) mine[i / 2] = 1;
    const backend::Uploaded send(*stage.backend, mine, 1);
    const backend::Uploaded received(*stage.backend, std::vector<std::int32_t>(9), 1);
    stage.tp->all_gather_v(send.tensor(), workspace->home_count(), received.tensor());
    const std::vector<std::int32_t> all = received.values();
    for (std::int64_t row = 8; row >= 0; --row)
      if (all[static_cast<std::size_t>(row)] != 0) first[row < 5 ? 0 : 1] = row < 5 ? row : row - 5;
    return first;
  }

  Stage stage;
  ModelShard shard;
  Witness witness;
  PassRows pass_rows;
  std::optional<Workspace> workspace;
  plan::Range home;
};

struct Case {
  Broken broken;
  Origin origin;
};

template <class Test>
void on_every_grid(const Test& test) {
  for (const plan::Grid& grid : grids_of(mpi::everyone().size())) {
    SCOPED_TRACE(plan::to_string(grid));
    test(grid);
  }
}

using NotFiniteTest = backend::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, NotFiniteTest, backend::at_hand(), backend::name_of_param);

TEST_P(NotFiniteTest, AWeightOfAllTokensIsNamedAtPositionZero) {
  const Case cases[] = {
      {{Role::attn_norm, 1, 0, 0, 3}, Origin::attention},
      {{Role::q, 2, 0, 9, 3}, Origin::attention},
      {{Role::k, 1, 0, 9, 3, infinity}, Origin::attention},
      {{Role::v, 0, 0, 9, 3}, Origin::attention},
      {{Role::o, 2, 0, 9, 3, infinity}, Origin::attention},
      {{Role::moe_norm, 0, 0, 0, 3}, Origin::ffn_norm},
      {{Role::moe_norm, 1, 0, 0, 3, infinity}, Origin::ffn_norm},
      {{Role::router, 2, 0, 5, 3}, Origin::router},
      {{Role::router, 0, 0, 7, 3, -infinity}, Origin::router},
      {{Role::down, 1, 0, 33, 3}, Origin::dense},
      {{Role::up, 1, 0, 7, 3}, Origin::dense},
  };
  on_every_grid([&](const plan::Grid& grid) {
    for (const Case& each : cases) {
      SCOPED_TRACE("role " + std::to_string(static_cast<int>(each.broken.role)) + " of layer " +
                   std::to_string(each.broken.layer));
      const Forward forward(grid, each.broken);

      for (const NotFinite& first : forward.first_places()) {
        EXPECT_EQ(first.layer, each.broken.layer);
        EXPECT_EQ(first.origin, each.origin);
        EXPECT_EQ(first.position, 0);
        EXPECT_EQ(first.number, -1);
      }
    }
  });
}

TEST_P(NotFiniteTest, AnExpertIsNamedAtTheFirstTokenThatChoseIt) {
  on_every_grid([&](const plan::Grid& grid) {
    std::int64_t num_found = 0;
    for (const Role role : {Role::gate, Role::up, Role::down})
      for (const std::int64_t layer : {0, 2})
        for (std::int32_t expert = 0; expert < 8; ++expert) {
          SCOPED_TRACE("layer " + std::to_string(layer) + ", expert " + std::to_string(expert));
          const Forward forward(grid, {role, layer, expert, 13, 5, nan});

          const auto first = forward.first_places();
          const auto position = forward.first_choosing(layer, expert);
          for (std::size_t sequence = 0; sequence < 2; ++sequence) {
            if (position[sequence] < 0) {
              EXPECT_EQ(first[sequence].layer, num_layers + 1);
              continue;
            }
            ++num_found;
            EXPECT_EQ(first[sequence].layer, layer);
            EXPECT_EQ(first[sequence].origin, Origin::expert);
            EXPECT_EQ(first[sequence].number, expert);
            EXPECT_EQ(first[sequence].position, position[sequence]);
          }
        }
    EXPECT_GT(num_found, 12);
  });
}

TEST_P(NotFiniteTest, ATokenIsNamedInItsOwnSequenceAlone) {
  on_every_grid([](const plan::Grid& grid) {
    // token 2 of the first sequence
    const Forward forward(grid, {Role::embed, -1, 0, 27, 2, infinity});

    const auto first = forward.first_places();
    EXPECT_EQ(first[0].layer, -1);
    EXPECT_EQ(first[0].origin, Origin::embedding);
    EXPECT_EQ(first[0].number, 27);
    EXPECT_EQ(first[0].position, 2);
    EXPECT_EQ(first[1].layer, num_layers + 1);
  });
}

TEST_P(NotFiniteTest, TheFinalNormComesAfterAllLayers) {
  on_every_grid([](const plan::Grid& grid) {
    const Forward forward(grid, {Role::final_norm, -1, 0, 0, 15, nan});

    for (const NotFinite& first : forward.first_places()) {
      EXPECT_EQ(first.layer, num_layers);
      EXPECT_EQ(first.origin, Origin::final_norm);
      EXPECT_EQ(first.position, 0);
    }
  });
}

TEST_P(NotFiniteTest, WhatIsFiniteIsNotTold) {
  on_every_grid([](const plan::Grid& grid) {
    const Forward forward(grid, {Role::head, -1, 0, 0, 0, nan});  // no logits are requested

    EXPECT_TRUE(forward.witness.first.empty());
  });
}

TEST(NotFinite, LayersThenStepsThenPositionsAreInOrder) {
  const NotFinite router{0, 1, 5, Origin::router}, norm{0, 1, 4, Origin::ffn_norm};
  const NotFinite expert{0, 1, 0, Origin::expert, 3}, attention{0, 2, 0, Origin::attention};

  EXPECT_TRUE(norm.comes_before(router));
  EXPECT_FALSE(router.comes_before(norm));
  EXPECT_TRUE(router.comes_before(expert));
  EXPECT_TRUE(expert.comes_before(attention));
  EXPECT_FALSE(expert.comes_before(expert));
}

}  // namespace
}  // namespace tetrarch::model
