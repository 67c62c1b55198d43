// The memory table has each buffer once, with the bytes of its shape; an overflow is refused.
// SPDX-License-Identifier: Apache-2.0
#include "plan/memory.hpp"

#include <map>

#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;
using test::expect_says;
using test::refusal;

/// A request for all rows of all layers of a model of `layers` layers, without chunks.
MemoryRequest extents(std::int64_t microbatch, std::int64_t part, std::int64_t home,
                      std::int64_t layers = 4) {
  MemoryRequest request;
  request.extents = {microbatch, part, home, 0, part, 0};
  request.depth = {layers, RowsWanted::all, false, true, true};
  return request;
}

std::map<BufferName, std::int64_t> bytes_of(const MemoryPlan& memory) {
  std::map<BufferName, std::int64_t> bytes;
  for (const BufferPlan& buffer : memory.workspace)
    bytes[buffer.name] = buffer.bytes;
  return bytes;
}

TEST(Memory, EveryBufferStandsOnceWithItsName) {
  const MemoryPlan memory =
      plan_memory(preset("tiny"), 4, Grid{1, 1, 2, 2}, Place{}, extents(64, 32, 16));

  ASSERT_EQ(memory.workspace.size(), static_cast<std::size_t>(BufferName::num_buffers));
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < memory.workspace.size(); ++i) {
    EXPECT_EQ(memory.workspace[i].name, static_cast<BufferName>(i));
    EXPECT_EQ(memory.workspace[i].bytes % 64, 0);
    EXPECT_FALSE(name_of(memory.workspace[i].name).empty());
    sum += memory.workspace[i].bytes;
  }
  EXPECT_EQ(memory.workspace_bytes(), sum);
  EXPECT_EQ(memory.total_bytes(), sum + memory.weight_bytes + memory.table_bytes);
  EXPECT_EQ(name_of(BufferName::residual), "residual");
  EXPECT_EQ(name_of(BufferName::expert_rows), "expert_rows");
  EXPECT_EQ(name_of(BufferName::token_ids), "token_ids");
}

TEST(Memory, BuffersHaveTheBytesOfTheirShapes) {
  // bf16, D 64, 8 heads and 4 kv heads of 8, E 16, k 2, F 32, V 4; with tp 2 a rank has 2 slices
  const MemoryPlan memory =
      plan_memory(preset("tiny"), 4, Grid{1, 1, 4, 2}, Place{}, extents(256, 64, 32));
  auto bytes = bytes_of(memory);

  EXPECT_EQ(memory.round_rows, 256);  // 2 * 256 * 2 / 4
  EXPECT_EQ(bytes[BufferName::residual], 32 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::gathered], 64 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::query], 64 * 32 * 2);
  EXPECT_EQ(bytes[BufferName::key], 64 * 16 * 2);
  EXPECT_EQ(bytes[BufferName::attended], 64 * 32 * 2);
  EXPECT_EQ(bytes[BufferName::attention_partial], 2 * 64 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::reduce_received], 4 * 256 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::router_logits], 32 * 16 * 4);
  EXPECT_EQ(bytes[BufferName::expert_ids], 32 * 2 * 4);
  EXPECT_EQ(bytes[BufferName::counts], 8 * 16 * 4);
  EXPECT_EQ(bytes[BufferName::sent], 64 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::expert_rows], 256 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::gate], 256 * 16 * 2);
  EXPECT_EQ(bytes[BufferName::up], 256 * 16 * 2);
  EXPECT_EQ(bytes[BufferName::activated], 256 * 16 * 2);
  EXPECT_EQ(bytes[BufferName::expert_partial], 2 * 256 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::returned], 64 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::head_normed], 64 * 64 * 2);
  EXPECT_EQ(bytes[BufferName::head_logits], 64 * 256 * 4);
  EXPECT_EQ(bytes[BufferName::head_stats], 64 * 4 * 2 * 4);
  EXPECT_EQ(bytes[BufferName::head_stats_all], 2 * 64 * 4 * 2 * 4);
  EXPECT_EQ(bytes[BufferName::token_ids], 64 * 4);
}

TEST(Memory, WhatAGridDoesNotNeedHasNoBytes) {
  const ModelSpec spec = preset("tetrarch-64-mini");
  const auto on_grid = [&](int ep, int tp) {
    return bytes_of(plan_memory(spec, 4, Grid{1, 1, ep, tp}, Place{}, extents(64, 64, 64)));
  };
  auto alone = on_grid(1, 1), only_tp = on_grid(1, 4), only_ep = on_grid(4, 1);

  EXPECT_EQ(alone[BufferName::gate], 0);  // two-matrix experts
  EXPECT_GT(alone[BufferName::up], 0);
  for (const BufferName of_tp : {BufferName::gathered, BufferName::reduce_received,
                                 BufferName::exchanged, BufferName::head_stats_all}) {
    EXPECT_EQ(alone[of_tp], 0) << name_of(of_tp);
    EXPECT_EQ(only_ep[of_tp], 0) << name_of(of_tp);
    EXPECT_GT(only_tp[of_tp], 0) << name_of(of_tp);
  }
  for (const BufferName of_ep : {BufferName::received, BufferName::returned}) {
    EXPECT_EQ(alone[of_ep], 0) << name_of(of_ep);
    EXPECT_EQ(only_tp[of_ep], 0) << name_of(of_ep);
    EXPECT_GT(only_ep[of_ep], 0) << name_of(of_ep);
  }
  for (const BufferName of_peers :
       {BufferName::expert_order, BufferName::exchange_order, BufferName::expert_rows}) {
    EXPECT_EQ(alone[of_peers], 0) << name_of(of_peers);
    EXPECT_GT(only_tp[of_peers], 0) << name_of(of_peers);
    EXPECT_GT(only_ep[of_peers], 0) << name_of(of_peers);
  }
}

TEST(Memory, ADenseLayersRowsFitBesideThoseOfTheExperts) {
  ModelSpec spec = preset("tiny");
  const auto bytes = [&](std::int64_t part) {
    return bytes_of(plan_memory(spec, 4, Grid{1, 1, 16, 2}, Place{}, extents(64, part, part)));
  };
  auto without = bytes(60);
  spec.is_moe[2] = false;
  spec.dense_ffn = 96;
  auto with = bytes(60), few = bytes(4);

  EXPECT_EQ(without[BufferName::up], 16 * 16 * 2);  // R = 2 * 64 * 2 / 16, F / 2
  for (const BufferName inner : {BufferName::gate, BufferName::up, BufferName::activated})
    EXPECT_EQ(with[inner], 60 * 48 * 2) << name_of(inner);
  EXPECT_EQ(with[BufferName::expert_partial], 2 * 60 * 64 * 2);
  EXPECT_EQ(few[BufferName::up], without[BufferName::up]);
  EXPECT_EQ(few[BufferName::expert_partial], without[BufferName::expert_partial]);
}

TEST(Memory, ARoundHoldsTwiceTheMeanAndNeverMoreThanAllCopies) {
  const auto rows = [](int ep, std::int64_t tokens, double factor) {
    MemoryRequest request = extents(tokens, tokens, tokens);
    request.round_factor = factor;
    return plan_memory(preset("tiny"), 4, Grid{1, 1, ep, 1}, Place{}, request).round_rows;
  };

  EXPECT_EQ(rows(1, 100, 2), 200);
  EXPECT_EQ(rows(1, 100, 0.1), 200);  // with ep 1 nothing is exchanged: all rows in one round
  EXPECT_EQ(rows(2, 100, 2), 200);
  EXPECT_EQ(rows(16, 100, 2), 25);
  EXPECT_EQ(rows(16, 101, 2), 26);
  EXPECT_EQ(rows(16, 100, 0.001), 1);
  EXPECT_EQ(rows(16, 0, 2), 1);
}

TEST(Memory, TheWeightsOfAllRanksAreThoseOfTheModelWithItsCopies) {
  const ModelSpec spec = preset("tetrarch-64");
  const MemoryPlan memory =
      plan_memory(spec, 4, Grid{1, 1, 16, 4}, Place{}, extents(65536, 4096, 1024, 16));
  std::int64_t expected = 0;
  for (const TensorSpec& tensor : tensors_of(spec, 4))
    expected += shard_bytes(tensor, shard_of(tensor, Grid{1, 1, 16, 4}, Place{}));

  EXPECT_EQ(memory.weight_bytes, expected);
  EXPECT_LT(memory.total_bytes(), 64'000'000'000);
}

TEST(Memory, TheHeadStaysBelowItsBoundAtAnyBatch) {
  for (const std::string& name : preset_names())
    for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{100}, std::int64_t{1} << 24}) {
      const MemoryPlan memory =
          plan_memory(preset(name), 4, Grid{1, 1, 1, 1}, Place{}, extents(tokens, tokens, tokens));
      auto bytes = bytes_of(memory);

      EXPECT_GE(memory.head_chunk, 1);
      EXPECT_LE(memory.head_chunk, tokens);
      EXPECT_LE(bytes[BufferName::head_normed] + bytes[BufferName::head_logits] +
                    bytes[BufferName::head_stats] + bytes[BufferName::head_stats_all],
                256 << 20)
          << name;
    }
}

TEST(Memory, AllTpRanksTakeTheSameHeadChunk) {
  ModelSpec spec = preset("tiny");
  spec.vocab_size = 172033;  // slices of unequal size
  const auto chunk = [&](int tp_rank) {
    return plan_memory(spec, 4, Grid{1, 1, 1, 4}, {0, 0, 0, tp_rank}, extents(9000, 9000, 2250))
        .head_chunk;
  };

  EXPECT_LT(chunk(0), 9000);
  for (int tp_rank = 1; tp_rank < 4; ++tp_rank)
    EXPECT_EQ(chunk(tp_rank), chunk(0));
}

TEST(Memory, LogitsOfEveryTpRankFitTheirBuffer) {
  ModelSpec spec = preset("tiny");
  for (const std::int64_t vocab_size : {509, 510, 511, 512, 513})
    for (const int tp : {1, 2, 4}) {
      spec.vocab_size = vocab_size;
      const Grid grid{1, 1, 1, tp};
      for (int tp_rank = 0; tp_rank < tp; ++tp_rank) {
        const Place place{0, 0, 0, tp_rank};
        const MemoryPlan memory = plan_memory(spec, 4, grid, place, extents(64, 64, 64));
        const std::int64_t local = local_sizes(spec, 4, grid, place).vocab_count();

        EXPECT_GE(bytes_of(memory)[BufferName::head_logits], memory.head_chunk * local * 4);
      }
    }
}

TEST(Memory, AStageHoldsItsLayersAloneAndTheirCache) {
  const ModelSpec spec = preset("tiny");
  MemoryRequest request = extents(64, 64, 64);
  const std::int64_t whole = plan_memory(spec, 4, Grid{}, Place{}, request).weight_bytes;
  std::int64_t sum = 0;
  request.extents.max_cache_tokens = 1000;
  for (int pp = 0; pp < 3; ++pp) {
    const MemoryPlan memory = plan_memory(spec, 4, Grid{1, 3, 1, 1}, {0, pp, 0, 0}, request);
    sum += memory.weight_bytes;
    const std::int64_t layers = pp == 0 ? 2 : 1;  // 4 layers: 2 1 1
    EXPECT_EQ(bytes_of(memory)[BufferName::cache_key], layers * 1000 * 32 * 2);
    EXPECT_EQ(bytes_of(memory)[BufferName::cache_value], layers * 1000 * 32 * 2);
    EXPECT_EQ(bytes_of(memory)[BufferName::head_logits] > 0, pp == 2);
  }
  EXPECT_EQ(sum, whole);
}

TEST(Memory, WhatNoOutputNeedsIsNotHeld) {
  const ModelSpec spec = preset("tiny");
  MemoryRequest request = extents(64, 64, 64);
  const std::int64_t whole = plan_memory(spec, 4, Grid{}, Place{}, request).weight_bytes;
  request.depth = {2, RowsWanted::all, false, false, false};

  auto memory = plan_memory(spec, 4, Grid{}, Place{}, request);

  std::int64_t left_out = 0;
  for (const TensorSpec& tensor : tensors_of(spec, 4))
    if (tensor.layer >= 2 || tensor.role == Role::final_norm || tensor.role == Role::head)
      left_out += tensor.bytes();
  EXPECT_EQ(whole - memory.weight_bytes, left_out);
  EXPECT_EQ(bytes_of(memory)[BufferName::head_logits], 0);
}

TEST(Memory, TiedEmbeddingsAreHeldTwiceOnlyWhereBothAreNeeded) {
  ModelSpec spec = preset("tiny");
  spec.tied_embeddings = true;
  const MemoryRequest request = extents(64, 64, 64);
  const auto bytes = [&](int pp, int rank) {
    return plan_memory(spec, 4, Grid{1, pp, 1, 1}, {0, rank, 0, 0}, request).weight_bytes;
  };

  EXPECT_EQ(bytes(1, 0), bytes(2, 0) + bytes(2, 1));
}

TEST(Memory, TheDeepestLayersKeysAreCachedOnlyWhereSomebodyAsks) {
  const ModelSpec spec = preset("tiny");
  MemoryRequest request = extents(64, 64, 64);
  request.extents.max_cache_tokens = 1000;
  const auto layers = [&](Depth depth) {
    request.depth = depth;
    auto memory = plan_memory(spec, 4, Grid{}, Place{}, request);
    return bytes_of(memory)[BufferName::cache_key] / (1000 * 32 * 2);
  };

  EXPECT_EQ(layers({4, RowsWanted::last, false, true, true}), 4);
  EXPECT_EQ(layers({4, RowsWanted::none, false, false, false}), 3);
  EXPECT_EQ(layers({4, RowsWanted::none, true, false, false}), 4);
}

TEST(Memory, WeightsHaveTheBytesOfTheirPackedForm) {
  const ModelSpec spec = preset("tiny");
  MemoryRequest request = extents(64, 64, 64);
  std::int64_t elements = 0;
  request.packed_bytes = [&](std::int64_t outputs, std::int64_t inputs) {
    elements += outputs * inputs;
    return outputs * inputs * 2 + 1000;
  };

  const MemoryPlan memory = plan_memory(spec, 4, Grid{}, Place{}, request);
  request.packed_bytes = {};
  const MemoryPlan dense = plan_memory(spec, 4, Grid{}, Place{}, request);

  // packed weights: in each layer q, k, v, router and 4 slices of o, and for each expert gate, up
  // and 4 slices of down; and the head
  EXPECT_EQ(memory.weight_bytes - dense.weight_bytes, (4 * (8 + 16 * 6) + 1) * 1000);
  EXPECT_EQ(dense.weight_bytes, 2 * spec.num_parameters());
  EXPECT_LT(elements, spec.num_parameters());
}

TEST(Memory, TablesReachTheLongestSequence) {
  MemoryRequest request = extents(64, 64, 64);
  request.extents.max_sequence_length = 500;

  const MemoryPlan memory = plan_memory(preset("tiny"), 4, Grid{}, Place{}, request);

  EXPECT_EQ(memory.table_bytes, 2 * 500 * 4 * 4);  // 4 pairs of a head of 8
  EXPECT_EQ(memory.tensor_bytes(),
            memory.weight_bytes + memory.workspace_bytes() + memory.table_bytes);
}

TEST(Memory, OnlyRanksThatSendRowsHaveThemOnTheirWay) {
  const Grid grid{1, 2, 1, 2};
  MemoryRequest request = extents(64, 64, 64);
  const auto outbox = [&](int pp, int tp) {
    return plan_memory(preset("tiny"), 4, grid, {0, pp, 0, tp}, request).outbox_bytes;
  };
  EXPECT_EQ(outbox(0, 1), 0);  // the rank that writes has the log-probs itself
  request.outputs.hidden = true;
  request.outputs.hidden_layers = {-1, 0, 1, 2, 3, 4};

  EXPECT_EQ(outbox(1, 0), 0);                    // the rank that writes
  EXPECT_EQ(outbox(0, 0), 3 * 3 * 64 * 64 * 2);  // 3 passes of embed, layers 0 and 1 of 64 rows
  EXPECT_EQ(outbox(1, 1), 2 * 3 * 64 * 64 * 2);  // 2 passes of layers 2, 3 and final
  request.outputs.last_logits = true;
  request.extents.max_part_sequences = 3;
  EXPECT_EQ(outbox(0, 0), 3 * 3 * 64 * 64 * 2);
  EXPECT_EQ(outbox(1, 1), 2 * (3 * 64 * 64 * 2 + 3 * 256 * 4));
  request.outputs.kv = request.outputs.experts = true;
  EXPECT_EQ(outbox(0, 0), 3 * (3 * 64 * 64 * 2 + 2 * 64 * (2 * 2 * 8 * 2 + 2 * 4)));
  request.extents.max_home_tokens = 1 << 20;
  EXPECT_EQ(outbox(0, 0), most_outbox_bytes);
}

TEST(Memory, MoreCopiesThanCanBeNumberedAreRefused) {
  const std::int64_t tokens = std::int64_t{1} << 30;

  const std::string message = refusal(ExitCode::usage, [&] {
    plan_memory(preset("tiny"), 4, Grid{}, Place{}, extents(tokens, tokens, tokens));
  });

  expect_says(message, "--tokens-per-microbatch");
}

TEST(Memory, SizesThatOverflowAreRefusedAsMemory) {
  ModelSpec spec = preset("tiny");
  spec.hidden_size = std::int64_t{1} << 31;
  spec.num_experts = 1;
  spec.top_k = 1;
  const std::int64_t tokens = (std::int64_t{1} << 31) - 1;

  const std::string message = refusal(ExitCode::resources, [&] {
    plan_memory(spec, 4, Grid{}, Place{}, extents(tokens, tokens, tokens));
  });

  expect_says(message, "--tokens-per-microbatch");
}

}  // namespace
}  // namespace tetrarch::plan
