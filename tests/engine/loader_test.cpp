// Each rank loads its shard from one file. All ranks together read every byte once.
// SPDX-License-Identifier: Apache-2.0
#include "engine/loader.hpp"

#include <algorithm>
#include <fstream>

#include <gtest/gtest.h>

#include "engine/shared_folder.hpp"
#include "model/stage.hpp"
#include "model/transformer.hpp"
#include "storage/weights/synthesize_weights.hpp"

namespace tetrarch::engine {
namespace {

constexpr std::uint64_t seed = 7;

/// The value that storage::synthesize_weights() writes.
float written(const plan::TensorSpec& tensor, std::int64_t expert, std::int64_t row,
              std::int64_t column) {
  float value = 0;
  storage::synthesize_values(tensor, seed, expert, row * tensor.columns() + column,
                             std::span(&value, 1));
  return value;
}

struct LoaderTest : backend::EachBackend {
  model::ModelShard load(model::Stage& stage, plan::VerifyMode verify) {
    const storage::WeightsFile weights = storage::WeightsFile::open(path);
    const Topology topology = make_topology(stage.grid, stage.world, *stage.backend);
    report = {};
    return load_shard(weights, verify, stage.context.local, model::whole_depth(stage.spec),
                      topology, stage.world, *stage.backend, stage.timeline, report);
  }

  /// Calls `test` for every grid of the ranks, with two models: one with a kv head for each shard,
  /// and one with a kv head that ranks share.
  template <class Test>
  void on_every_stage(const Test& test) {
    for (const std::int64_t kv_heads : {4, 1}) {
      spec.num_kv_heads = kv_heads;
      path = folder / ("model" + std::to_string(++num_models) + ".h5");
      write();
      for (const plan::Grid& grid : model::grids_of(world.size())) {
        SCOPED_TRACE(testing::Message() << plan::to_string(grid) << ", kv heads " << kv_heads);
        model::Stage stage(spec, grid);
        test(stage);
      }
    }
  }
  void write() {
    base::Log log(base::Log::Sink::none);
    folder.on_root([&] { storage::synthesize_weights(spec, 4, seed, path, log); });
  }

  mpi::Communicator world = mpi::everyone();
  SharedFolder folder{world};
  std::string path = folder / "weights.h5";
  int num_models = 0;
  plan::ModelSpec spec = model::small_spec();
  LoadReport report;
};
INSTANTIATE_TEST_SUITE_P(Backends, LoaderTest, backend::at_hand(), backend::name_of_param);

/// Expects the same bits from the products of one row with both matrices.
void expect_same(model::Stage& stage, const backend::Matrix& found,
                 const backend::Matrix& expected) {
  ASSERT_EQ(found.outputs(), expected.outputs());
  ASSERT_EQ(found.inputs(), expected.inputs());
  std::vector<float> x;
  for (std::int64_t i = 0; i < found.inputs(); ++i)
    x.push_back(0.1f * static_cast<float>(i % 7) + 0.3f);
  const backend::Uploaded in(*stage.backend, x, found.inputs());
  const std::vector<float> zeros(static_cast<std::size_t>(found.outputs()));
  const backend::Uploaded a(*stage.backend, zeros, found.outputs());
  const backend::Uploaded b(*stage.backend, zeros, found.outputs());
  stage.context.compute.gemm(in.tensor(), found, a.tensor());
  stage.context.compute.gemm(in.tensor(), expected, b.tensor());
  EXPECT_EQ(a.values(), b.values());
}

void expect_same(model::Stage& stage, const model::Matrices& found,
                 const model::Matrices& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    expect_same(stage, *found[i], *expected[i]);
}

void expect_same(model::Stage& stage, const model::OwnedTensor& found,
                 const model::OwnedTensor& expected) {
  EXPECT_EQ(model::floats_of(stage, found.tensor), model::floats_of(stage, expected.tensor));
}

void expect_same(model::Stage& stage, const model::ModelShard& found,
                 const model::ModelShard& expected) {
  expect_same(stage, found.embed, expected.embed);
  expect_same(stage, found.final_norm, expected.final_norm);
  expect_same(stage, *found.head, *expected.head);
  const model::LayerWeights &a = found.layers.at(0), &b = expected.layers.at(0);
  expect_same(stage, a.attn_norm, b.attn_norm);
  expect_same(stage, a.moe_norm, b.moe_norm);
  expect_same(stage, *a.q, *b.q);
  expect_same(stage, *a.k, *b.k);
  expect_same(stage, *a.v, *b.v);
  expect_same(stage, *a.router, *b.router);
  expect_same(stage, a.o, b.o);
  expect_same(stage, a.gate, b.gate);
  expect_same(stage, a.up, b.up);
  ASSERT_EQ(a.down.size(), b.down.size());
  for (std::size_t slice = 0; slice < a.down.size(); ++slice)
    expect_same(stage, a.down[slice], b.down[slice]);
}

TEST_P(LoaderTest, EachRankHasItsShardWhoeverReadIt) {
  on_every_stage([&](model::Stage& stage) {
    const model::ModelShard shard = load(stage, plan::VerifyMode::fast);

    expect_same(stage, shard, model::make_shard(stage, written));
  });
}

TEST_P(LoaderTest, EveryByteIsReadByOneRankAlone) {
  on_every_stage([&](model::Stage& stage) {
    load(stage, plan::VerifyMode::fast);

    EXPECT_EQ(world.sum(report.bytes_read), storage::WeightsFile::open(path).total_bytes());
    EXPECT_EQ(report.bytes_read + report.bytes_received, stage.memory({1}, 2.0).weight_bytes);
  });
}

TEST_P(LoaderTest, InstancesShareOneRead) {
  for (const std::int64_t kv_heads : {4, 1}) {
    spec.num_kv_heads = kv_heads;
    path = folder / ("instances" + std::to_string(kv_heads) + ".h5");
    write();
    for (int dp = 2; dp <= world.size(); dp *= 2)
      for (plan::Grid grid : model::grids_of(world.size() / dp)) {
        grid.dp = dp;
        SCOPED_TRACE(testing::Message() << plan::to_string(grid) << ", kv heads " << kv_heads);
        model::Stage stage(spec, grid);

        const model::ModelShard shard = load(stage, plan::VerifyMode::fast);

        expect_same(stage, shard, model::make_shard(stage, written));
        EXPECT_EQ(world.sum(report.bytes_read), storage::WeightsFile::open(path).total_bytes());
        EXPECT_EQ(report.bytes_read + report.bytes_received, stage.memory({1}, 2.0).weight_bytes);
      }
  }
}

TEST_P(LoaderTest, WhatIsAllocatedIsWhatWasPlanned) {
  for (const base::DType dtype : {base::DType::f32, base::DType::bf16})
    for (const bool is_tied : {false, true}) {
      spec = model::small_spec(dtype);
      spec.num_layers = 3;
      spec.tied_embeddings = is_tied;
      plan::set_derived(spec);
      spec.qk_norm = plan::QkNorm::per_head;
      spec.is_moe = {true, false, true};
      spec.dense_ffn = 40;
      on_every_stage([&](model::Stage& stage) {
        const plan::Depth depth = model::whole_depth(spec);
        plan::MemoryRequest request;
        request.extents = {.max_microbatch_tokens = 300,
                           .max_pass_tokens = 200,
                           .max_home_tokens = 100,
                           .max_cache_tokens = 150,
                           .max_sequence_length = 170,
                           .num_chunked = 2};
        request.depth = depth;
        request.top_k_logprobs = 5;
        request.has_capacity = true;
        request.packed_bytes = [&](std::int64_t outputs, std::int64_t inputs) {
          return stage.backend->compute().packed_bytes(dtype, outputs, inputs);
        };
        const plan::MemoryPlan memory =
            plan::plan_memory(spec, 4, stage.grid, stage.place, request);
        const std::int64_t before = stage.backend->allocated_bytes();

        const model::ModelShard shard = load(stage, plan::VerifyMode::fast);
        const std::int64_t weights = stage.backend->allocated_bytes() - before;
        const model::Workspace workspace(memory, *stage.backend);
        const model::Transformer transformer(stage.context, shard, depth, {0, 3}, 170,
                                             *stage.backend);

        EXPECT_EQ(weights, memory.weight_bytes);
        EXPECT_EQ(stage.backend->allocated_bytes() - before, memory.tensor_bytes());
      });
    }
}

TEST_P(LoaderTest, DamageIsToldByEveryRankInTheSameWords) {
  // a norm weight that each rank holds and one rank reads
  const plan::TensorSpec norm = plan::tensors_of(spec, 4).at(1);
  ASSERT_EQ(norm.role, plan::Role::attn_norm);
  write();
  folder.on_root([&] {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const float value = written(norm, 0, 0, 0), next = written(norm, 0, 0, 1);
    std::string pattern(8, '\0');
    std::copy_n(reinterpret_cast<const char*>(&value), 4, pattern.begin());
    std::copy_n(reinterpret_cast<const char*>(&next), 4, pattern.begin() + 4);
    const std::size_t at = bytes.find(pattern);
    EXPECT_NE(at, std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(bytes[at] ^ 1));
  });
  for (const plan::Grid& grid : model::grids_of(world.size())) {
    SCOPED_TRACE(plan::to_string(grid));
    model::Stage stage(spec, grid);
    std::string message;
    try {
      load(stage, plan::VerifyMode::fast);
    } catch (const base::Refusal& error) {
      EXPECT_EQ(error.code(), base::ExitCode::weights);
      message = error.what();
    }

    EXPECT_NE(message.find("/layers/00/attn_norm"), std::string::npos) << message;
    for (const std::string& other : world.all_gather(message))
      EXPECT_EQ(other, message);
    EXPECT_NO_THROW(load(stage, plan::VerifyMode::none));
  }
}

}  // namespace
}  // namespace tetrarch::engine
