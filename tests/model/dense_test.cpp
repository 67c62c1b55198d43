// A layer without experts adds its FFN to the residual stream, with the same bits on every grid.
// SPDX-License-Identifier: Apache-2.0
#include "model/dense.hpp"

#include <cmath>
#include <optional>

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

constexpr std::int64_t hidden = 16, ffn = 40;

plan::ModelSpec dense_spec(plan::ExpertKind kind) {
  plan::ModelSpec spec = small_spec();
  spec.expert_kind = kind;
  spec.is_moe = {false};
  spec.dense_ffn = ffn;
  return spec;
}

float weight(const plan::TensorSpec& tensor, std::int64_t, std::int64_t row, std::int64_t column) {
  return static_cast<float>((7 * row + 3 * column + 2 * static_cast<int>(tensor.role)) % 11 - 5) /
         8;
}

float stream(std::int64_t row, std::int64_t column) {
  return static_cast<float>((5 * row + 3 * column) % 13 - 4) / 4;
}

std::vector<float> stream_rows(plan::Range rows) {
  std::vector<float> values;
  for (std::int64_t row = rows.begin; row < rows.end; ++row)
    for (std::int64_t c = 0; c < hidden; ++c)
      values.push_back(stream(row, c));
  return values;
}

float weight_of(plan::Role role, std::int64_t row, std::int64_t column) {
  plan::TensorSpec tensor;
  tensor.role = role;
  return weight(tensor, 0, row, column);
}

/// One row after the layer, computed in double.
std::vector<double> answer(std::int64_t row, plan::ExpertKind kind) {
  double squares = 0;
  for (std::int64_t c = 0; c < hidden; ++c)
    squares += std::pow(double{stream(row, c)}, 2);
  std::vector<double> x, sum;
  for (std::int64_t c = 0; c < hidden; ++c) {
    x.push_back(weight_of(plan::Role::moe_norm, 0, c) * stream(row, c) /
                std::sqrt(squares / hidden + 1e-5));
    sum.push_back(stream(row, c));
  }
  const auto product = [&](plan::Role role, std::int64_t f) {
    double y = 0;
    for (std::int64_t c = 0; c < hidden; ++c)
      y += weight_of(role, f, c) * x[static_cast<std::size_t>(c)];
    return y;
  };
  const auto silu = [](double y) { return y / (1 + std::exp(-y)); };
  for (std::int64_t f = 0; f < ffn; ++f) {
    const double up = product(plan::Role::up, f);
    const double inner =
        kind == plan::ExpertKind::glu ? silu(product(plan::Role::gate, f)) * up : silu(up);
    for (std::int64_t c = 0; c < hidden; ++c)
      sum[static_cast<std::size_t>(c)] += weight_of(plan::Role::down, f, c) * inner;
  }
  return sum;
}

/// Parts of 7 + ep_rank tokens. The memory plan has room for fewer copies than tokens, so the dense
/// layer decides the sizes of the buffers.
struct Dense {
  Dense(const plan::Grid& grid, plan::ExpertKind kind)
      : stage(dense_spec(kind), grid), shard(make_shard(stage, weight)) {
    std::vector<std::int64_t> parts;
    for (int ep = 0; ep < grid.ep; ++ep)
      parts.push_back(7 + ep);
    pass_rows =
        pass_rows_of({7 + stage.place.ep},
                     std::vector<std::int32_t>(static_cast<std::size_t>(7 + stage.place.ep)));
    workspace.emplace(stage.memory(parts, 0.01), *stage.backend);
    begin(stage, pass_rows, *workspace);
    put(stage, stream_rows(workspace->home()), workspace->residual());
  }
  std::vector<float> run() {
    dense_step(stage.context, shard.layers[0], *workspace);
    return floats_of(stage, workspace->residual());
  }

  Stage stage;
  ModelShard shard;
  PassRows pass_rows;
  std::optional<Workspace> workspace;
};

template <class Test>
void on_every_grid(const Test& test) {
  for (const plan::Grid& grid : grids_of(mpi::everyone().size()))
    for (const plan::ExpertKind kind : {plan::ExpertKind::glu, plan::ExpertKind::mlp}) {
      SCOPED_TRACE(plan::to_string(grid));
      test(grid, kind);
    }
}

using DenseTest = backend::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, DenseTest, backend::at_hand(), backend::name_of_param);

TEST_P(DenseTest, TheFfnIsAddedToTheStream) {
  on_every_grid([](const plan::Grid& grid, plan::ExpertKind kind) {
    Dense dense(grid, kind);
    const plan::Range home = dense.workspace->home();

    const std::vector<float> found = dense.run();

    ASSERT_EQ(std::ssize(found), home.size() * hidden);
    for (std::int64_t row = 0; row < home.size(); ++row) {
      const std::vector<double> expected = answer(home.begin + row, kind);
      for (std::int64_t c = 0; c < hidden; ++c)
        EXPECT_NEAR(found[static_cast<std::size_t>(row * hidden + c)],
                    expected[static_cast<std::size_t>(c)], 1e-4);
    }
  });
}

/// The result of a single rank that computes the whole pass and the whole FFN. Collective.
std::vector<float> rows_alone(const Dense& dense) {
  const plan::ModelSpec& spec = dense.stage.spec;
  const std::int64_t pass = dense.pass_rows.num_tokens();
  const mpi::Communicator alone = dense.stage.world.split(dense.stage.world.rank(), 0);
  const auto backend = backend::EachBackend::GetParam().make(alone);
  const std::vector<int> self = {0};
  const auto one = backend->make_communicator(self, "alone");
  base::Timeline timeline;
  const plan::LocalSizes local = plan::local_sizes(spec, 4, {}, {});
  const Context context{spec, 4, local, backend->compute(), *one, *one, *one, timeline};
  ShardBuilder builder(spec, local, plan::held_by(whole_depth(spec), 1, 0), *backend);
  for (const plan::TensorSpec& tensor : plan::tensors_of(spec, 4))
    builder.add(tensor, 0, local_bytes(tensor, plan::shard_of(tensor, {}, {}), 0, weight));
  const ModelShard shard = builder.take();
  plan::MemoryRequest request;
  request.extents = {pass, pass, pass, 0, pass, 0};
  request.depth = whole_depth(spec);
  Workspace workspace(plan::plan_memory(spec, 4, {}, {}, request), *backend);
  PassRows pass_rows = dense.pass_rows;
  spread_evenly(pass_rows, 1);
  workspace.begin(pass_rows, hidden, spec.dtype, 0);
  put(dense.stage, stream_rows(workspace.home()), workspace.residual());
  dense_step(context, shard.layers[0], workspace);
  return floats_of(dense.stage, workspace.residual());
}

TEST_P(DenseTest, TheBitsAreThoseOfOneRank) {
  on_every_grid([](const plan::Grid& grid, plan::ExpertKind kind) {
    Dense dense(grid, kind);
    const plan::Range home = dense.workspace->home();

    const std::vector<float> found = dense.run();

    const std::vector<float> all = rows_alone(dense);
    EXPECT_EQ(found, std::vector<float>(all.begin() + home.begin * hidden,
                                        all.begin() + home.end * hidden));
  });
}

TEST_P(DenseTest, NothingIsRoutedAfterwards) {
  on_every_grid([](const plan::Grid& grid, plan::ExpertKind kind) {
    Dense dense(grid, kind);
    dense.workspace->routing.expert_id = dense.workspace->residual();

    dense.run();

    EXPECT_TRUE(dense.workspace->routing.expert_id.is_absent());
  });
}

}  // namespace
}  // namespace tetrarch::model
