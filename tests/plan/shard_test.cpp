// The shards of all ranks cover each unit of every tensor exactly as often as it is replicated.
// SPDX-License-Identifier: Apache-2.0
#include "plan/shard.hpp"

#include <map>
#include <set>

#include "support.hpp"

namespace tetrarch::plan {
namespace {

using test::with_heads;

/// How many ranks of an instance hold each unit of the tensor.
std::int64_t copies_of(const TensorSpec& tensor, const Grid& grid) {
  switch (tensor.role) {
    case Role::gate:
    case Role::up:
    case Role::down:  // expert tensors: one rank; those of dense layers: every ep rank
      return tensor.shape.size() == 3 ? 1 : grid.ep;
    case Role::embed:
    case Role::head:
    case Role::q:
    case Role::o:
      return grid.ep;
    case Role::k:
    case Role::v:
      return grid.ep * std::max<std::int64_t>(1, grid.tp / tensor.num_slices);
    default:
      return grid.ep * grid.tp;  // whole on every rank
  }
}

void expect_tiled(const TensorSpec& tensor, const Grid& grid) {
  std::vector<std::int64_t> held(static_cast<std::size_t>(tensor.num_units()), 0);
  for (int rank = 0; rank < grid.size(); ++rank) {
    const Shard shard = shard_of(tensor, grid, place_of(grid, rank));
    std::int64_t bytes = 0;
    for (std::int64_t expert = shard.experts.begin; expert < shard.experts.end; ++expert)
      for (std::int64_t slice = shard.slices.begin; slice < shard.slices.end; ++slice) {
        const std::int64_t unit = expert * tensor.num_slices + slice;
        ++held.at(static_cast<std::size_t>(unit));
        bytes += tensor.unit_bytes(unit);
      }
    EXPECT_EQ(bytes, shard_bytes(tensor, shard)) << tensor.path;
    EXPECT_GT(bytes, 0) << tensor.path;
  }
  for (const std::int64_t count : held)
    ASSERT_EQ(count, copies_of(tensor, grid)) << tensor.path << " on " << to_string(grid);
}

TEST(Shard, ShardsOfAllRanksTileEveryTensor) {
  for (const ExpertKind kind : {ExpertKind::glu, ExpertKind::mlp})
    for (const std::int64_t kv_heads : {1, 2, 4, 8})
      for (const std::int64_t shards : {1, 2, 4, 8})
        for (const int ep : {1, 2, 4, 8, 16})
          for (int tp = 1; tp <= shards; tp *= 2) {
            ModelSpec spec = with_heads(8, kv_heads);
            spec.vocab_size = 509;  // a prime: slices of unequal size
            spec.expert_kind = kind;
            spec.qk_norm = QkNorm::per_head;
            spec.num_layers = 2;
            spec.is_moe = {true, false};
            spec.dense_ffn = 48;

            for (const TensorSpec& tensor : tensors_of(spec, shards))
              expect_tiled(tensor, Grid{1, 1, ep, tp});
          }
}

TEST(Shard, UnitsLieOneBehindTheOtherAndCoverTheBytes) {
  for (const std::int64_t kv_heads : {1, 2, 4, 8})
    for (const std::int64_t shards : {1, 2, 4, 8}) {
      ModelSpec spec = with_heads(8, kv_heads);
      spec.vocab_size = 509;
      for (const TensorSpec& tensor : tensors_of(spec, shards)) {
        std::int64_t next = 0;
        for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit) {
          EXPECT_EQ(tensor.unit_offset(unit), next) << tensor.path;
          next += tensor.unit_bytes(unit);
        }
        EXPECT_EQ(next, tensor.bytes()) << tensor.path;
      }
    }
}

TEST(Shard, TheTensorsAreThoseOfTheContract) {
  const std::vector<TensorSpec> tensors = tensors_of(preset("tiny"), 4);
  std::map<std::string, base::Shape> shapes;
  for (const TensorSpec& tensor : tensors)
    shapes[tensor.path] = tensor.shape;

  EXPECT_EQ(tensors.size(), 3u + 4 * 10);
  EXPECT_EQ(tensors.front().path, "/embed");
  EXPECT_EQ(tensors.back().path, "/head");
  EXPECT_EQ(shapes.at("/embed"), (base::Shape{512, 64}));
  EXPECT_EQ(shapes.at("/final_norm"), (base::Shape{64}));
  EXPECT_EQ(shapes.at("/layers/03/attn_norm"), (base::Shape{64}));
  EXPECT_EQ(shapes.at("/layers/03/moe_norm"), (base::Shape{64}));
  EXPECT_EQ(shapes.at("/layers/00/q"), (base::Shape{64, 64}));
  EXPECT_EQ(shapes.at("/layers/00/k"), (base::Shape{32, 64}));
  EXPECT_EQ(shapes.at("/layers/00/v"), (base::Shape{32, 64}));
  EXPECT_EQ(shapes.at("/layers/00/o"), (base::Shape{64, 64}));
  EXPECT_EQ(shapes.at("/layers/00/router"), (base::Shape{16, 64}));
  EXPECT_EQ(shapes.at("/layers/00/gate"), (base::Shape{16, 32, 64}));
  EXPECT_EQ(shapes.at("/layers/00/up"), (base::Shape{16, 32, 64}));
  EXPECT_EQ(shapes.at("/layers/00/down"), (base::Shape{16, 32, 64}));
}

TEST(Shard, TheTensorsHoldTheParametersOfTheModel) {
  for (const std::string& name : preset_names()) {
    const ModelSpec spec = preset(name);
    std::int64_t bytes = 0;
    for (const TensorSpec& tensor : tensors_of(spec, 4))
      bytes += tensor.bytes();

    EXPECT_EQ(bytes, spec.num_parameters() * 2) << name;
  }
}

TEST(Shard, ADenseLayerHasOneFfnAndNoRouterAndHeadNormsAreWhole) {
  ModelSpec spec = preset("tiny");
  spec.qk_norm = QkNorm::per_head;
  spec.is_moe[1] = false;
  spec.dense_ffn = 96;
  std::map<std::string, TensorSpec> tensors;
  for (const TensorSpec& tensor : tensors_of(spec, 4))
    tensors[tensor.path] = tensor;

  EXPECT_EQ(tensors.size(), 3u + 4 * 12 - 1);
  EXPECT_EQ(tensors.count("/layers/01/router"), 0u);
  for (const char* path : {"/layers/01/gate", "/layers/01/up", "/layers/01/down"}) {
    EXPECT_EQ(tensors.at(path).shape, (base::Shape{96, 64}));
    EXPECT_EQ(tensors.at(path).num_experts, 1);
    EXPECT_EQ(tensors.at(path).num_slices, 4);
  }
  for (const char* path : {"/layers/00/q_norm", "/layers/01/k_norm"}) {
    EXPECT_EQ(tensors.at(path).shape, (base::Shape{8}));
    EXPECT_EQ(tensors.at(path).num_slices, 1);
  }
  EXPECT_EQ(tensors.at("/layers/00/q_norm").role, Role::q_norm);
  EXPECT_EQ(tensors.at("/layers/00/k_norm").role, Role::k_norm);
}

TEST(Shard, EachRoleHasOneRowOfTheTable) {
  std::set<Role> roles;
  std::set<std::string> names;
  for (const TensorKind& kind : tensor_table()) {
    roles.insert(kind.role);
    names.insert(kind.name);
    EXPECT_EQ(&kind_of(kind.role), &kind) << kind.name;
    EXPECT_NE(std::string(kind.description), "") << kind.name;
    EXPECT_GT(kind.deviation.value, 0) << kind.name;
  }

  EXPECT_EQ(roles.size(), tensor_table().size());
  EXPECT_EQ(roles.size(), static_cast<std::size_t>(Role::down) + 1);  // down is the last role
  EXPECT_EQ(names.size(), tensor_table().size());
}

TEST(Shard, TwoMatrixExpertsHaveNoGateAndTiedModelsNoHead) {
  ModelSpec spec = preset("tetrarch-64-mini");
  spec.tied_embeddings = true;
  std::set<Role> roles;
  for (const TensorSpec& tensor : tensors_of(spec, 4))
    roles.insert(tensor.role);

  EXPECT_EQ(roles.count(Role::gate), 0u);
  EXPECT_EQ(roles.count(Role::head), 0u);
  EXPECT_EQ(roles.count(Role::up), 1u);
}

TEST(Shard, KeysAndValuesAreCutIntoWholeHeads) {
  for (const std::int64_t kv_heads : {1, 2, 4, 8})
    for (const std::int64_t shards : {1, 2, 4, 8})
      for (const TensorSpec& tensor : tensors_of(with_heads(8, kv_heads), shards)) {
        if (tensor.role != Role::k && tensor.role != Role::v) continue;

        EXPECT_EQ(tensor.num_slices, std::min(kv_heads, shards));
        for (std::int64_t slice = 0; slice < tensor.num_slices; ++slice)
          EXPECT_EQ(tensor.slice_rows(slice).begin % 8, 0);  // head_size = 8
      }
}

TEST(Shard, LocalHeadsFindTheirKvHeadsOnTheRank) {
  for (const std::int64_t kv_heads : {1, 2, 4, 8})
    for (const std::int64_t shards : {1, 2, 4, 8})
      for (int tp = 1; tp <= shards; tp *= 2) {
        const ModelSpec spec = with_heads(8, kv_heads);
        const std::int64_t heads_per_kv = 8 / kv_heads;
        const Grid grid{1, 1, 1, tp};
        for (int rank = 0; rank < tp; ++rank) {
          const LocalSizes local = local_sizes(spec, shards, grid, {0, 0, 0, rank});

          EXPECT_EQ(local.heads, even_range(8, tp, rank));
          EXPECT_EQ(local.kv_heads.begin, local.heads.begin / heads_per_kv);
          EXPECT_EQ(local.kv_heads.end - 1, (local.heads.end - 1) / heads_per_kv);
        }
      }
}

TEST(Shard, LocalSizesAreThoseOfTheShards) {
  ModelSpec spec = with_heads(8, 2);
  spec.vocab_size = 509;
  const Grid grid{1, 1, 4, 2};
  for (int rank = 0; rank < grid.size(); ++rank) {
    const Place place = place_of(grid, rank);
    const LocalSizes local = local_sizes(spec, 4, grid, place);
    const std::int64_t row_bytes = spec.hidden_size * 2;
    std::map<Role, std::int64_t> bytes;
    for (const TensorSpec& tensor : tensors_of(spec, 4))
      bytes[tensor.role] = shard_bytes(tensor, shard_of(tensor, grid, place));

    EXPECT_EQ(bytes[Role::embed], local.vocab_count() * row_bytes);
    EXPECT_EQ(bytes[Role::q], local.heads.size() * spec.head_size * row_bytes);
    EXPECT_EQ(bytes[Role::k], local.kv_heads.size() * spec.head_size * row_bytes);
    EXPECT_EQ(bytes[Role::up],
              local.experts.size() * spec.expert_ffn / 4 * local.slices.size() * row_bytes);
    EXPECT_EQ(local.experts, even_range(16, 4, place.ep));
    EXPECT_EQ(local.vocab.size(), 2u);
  }
}

TEST(Shard, VocabularySlicesAreFixedByTheShardsAndNotByTp) {
  ModelSpec spec = preset("tiny");
  spec.vocab_size = 509;
  std::vector<Range> slices;
  for (int rank = 0; rank < 2; ++rank)
    for (const Range& range : local_sizes(spec, 4, Grid{1, 1, 1, 2}, {0, 0, 0, rank}).vocab)
      slices.push_back(range);

  EXPECT_EQ(slices, (std::vector<Range>{{0, 127}, {127, 254}, {254, 381}, {381, 509}}));
}

}  // namespace
}  // namespace tetrarch::plan
