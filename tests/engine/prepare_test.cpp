// The weights for which a backend is prepared are the weights that are packed later.
// SPDX-License-Identifier: Apache-2.0
#include "engine/prepare.hpp"

#include <set>
#include <utility>

#include <gtest/gtest.h>

#include "plan/shard.hpp"

namespace tetrarch::engine {
namespace {

using Sizes = std::pair<std::int64_t, std::int64_t>;  // outputs, inputs

/// The sizes of the whole products of the model, computed from the tensors of its file.
std::set<Sizes> products_of(const plan::ModelSpec& spec, std::int64_t reduction_shards) {
  std::set<Sizes> sizes;
  for (const plan::TensorSpec& tensor : plan::tensors_of(spec, reduction_shards)) {
    const bool is_row_parallel = tensor.role == plan::Role::o || tensor.role == plan::Role::down;
    const bool is_product =
        tensor.shape.size() > 1 && (tensor.role != plan::Role::embed || spec.tied_embeddings);
    if (is_row_parallel)
      sizes.insert({tensor.columns(), tensor.rows() / reduction_shards});
    else if (is_product)
      sizes.insert({tensor.rows(), tensor.columns()});
  }
  return sizes;
}

TEST(Prepare, EveryProductOfThePresetsIsAnnounced) {
  for (const std::string& name : plan::preset_names()) {
    const plan::ModelSpec spec = plan::preset(name);
    for (const std::int64_t shards : {1, 2, 4}) {
      std::set<Sizes> announced;
      for (const backend::WholeWeight& weight : whole_weights(spec, shards))
        announced.insert({weight.outputs, weight.inputs});

      EXPECT_EQ(announced, products_of(spec, shards)) << name << " " << shards;
    }
  }
}

TEST(Prepare, ProductsOfDenseLayersAreAnnouncedWhereThereAreAny) {
  plan::ModelSpec spec = plan::preset("tiny");
  spec.is_moe[1] = false;
  spec.dense_ffn = 96;
  for (const std::int64_t shards : {1, 2, 4}) {
    std::set<Sizes> announced;
    for (const backend::WholeWeight& weight : whole_weights(spec, shards))
      announced.insert({weight.outputs, weight.inputs});

    EXPECT_EQ(announced, products_of(spec, shards)) << shards;
    EXPECT_TRUE(announced.contains({96, 64}));
  }
}

TEST(Prepare, KeysAndValuesHaveAsManySlicesAsTheirHeadsAllow) {
  plan::ModelSpec spec = plan::preset("tiny");
  spec.num_kv_heads = 2;

  const std::vector<backend::WholeWeight> weights = whole_weights(spec, 4);

  EXPECT_EQ(weights.at(0).output_slices, 4);
  EXPECT_EQ(weights.at(1).output_slices, 2);
}

}  // namespace
}  // namespace tetrarch::engine
