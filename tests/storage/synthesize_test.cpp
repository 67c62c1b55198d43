// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "scratch.hpp"
#include "storage/inputs/synthesize_inputs.hpp"
#include "storage/weights/synthesize_weights.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::storage {
namespace {

using test::Scratch;

base::Log quiet() {
  return base::Log(base::Log::Sink::none);
}

/// The bytes of every tensor by its path; checksums are verified.
std::map<std::string, std::vector<std::byte>> contents(const std::string& path) {
  const WeightsFile file = WeightsFile::open(path);
  std::map<std::string, std::vector<std::byte>> result;
  for (const plan::TensorSpec& tensor : file.tensors()) {
    auto& bytes = result[tensor.path];
    bytes.resize(static_cast<std::size_t>(tensor.bytes()));
    for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit)
      file.read_unit(tensor, unit, bytes.data() + tensor.unit_offset(unit), true);
  }
  return result;
}

TEST(Synthesize, GivesTheSameValuesForEveryNumberOfReductionShards) {
  const Scratch scratch;
  base::Log log = quiet();
  const auto spec = plan::preset("tiny");
  for (const std::int64_t shards : {1, 2, 4})
    synthesize_weights(spec, shards, 5, scratch / std::to_string(shards), log);

  const auto expected = contents(scratch / "1");

  EXPECT_EQ(contents(scratch / "2"), expected);
  EXPECT_EQ(contents(scratch / "4"), expected);
}

TEST(Synthesize, KnowsItsOwn) {
  const Scratch scratch;
  base::Log log = quiet();
  const auto spec = plan::preset("tiny");
  auto other = spec;
  other.rope_theta = 20000;
  synthesize_weights(spec, 4, 5, scratch / "a", log);

  const WeightsFile weights = WeightsFile::open(scratch / "a");

  EXPECT_TRUE(is_synthesis(weights, spec, 4, 5));
  EXPECT_FALSE(is_synthesis(weights, spec, 4, 6));
  EXPECT_FALSE(is_synthesis(weights, spec, 2, 5));
  EXPECT_FALSE(is_synthesis(weights, other, 4, 5));
}

TEST(Synthesize, IsReproducibleFromItsSeedAlone) {
  const Scratch scratch;
  base::Log log = quiet();
  const auto spec = plan::preset("tiny");
  synthesize_weights(spec, 4, 5, scratch / "a", log);
  synthesize_weights(spec, 4, 5, scratch / "b", log);
  synthesize_weights(spec, 4, 6, scratch / "c", log);

  const std::string identity = WeightsFile::open(scratch / "a").identity();

  EXPECT_EQ(WeightsFile::open(scratch / "b").identity(), identity);
  EXPECT_NE(WeightsFile::open(scratch / "c").identity(), identity);
}

TEST(Synthesize, GivesBf16TheRoundedValuesOfF32) {
  const Scratch scratch;
  base::Log log = quiet();
  auto spec = plan::preset("tiny");
  spec.dtype = base::DType::f32;
  synthesize_weights(spec, 4, 5, scratch / "f32", log);
  spec.dtype = base::DType::bf16;
  synthesize_weights(spec, 4, 5, scratch / "bf16", log);

  const auto wide = contents(scratch / "f32"), narrow = contents(scratch / "bf16");

  for (const auto& [path, bytes] : narrow)
    for (std::size_t i = 0; i < bytes.size() / 2; ++i) {
      float value = 0;
      std::uint16_t found = 0;
      std::memcpy(&value, wide.at(path).data() + 4 * i, 4);
      std::memcpy(&found, bytes.data() + 2 * i, 2);
      ASSERT_EQ(found, base::to_bf16(value).bits) << path << " element " << i;
    }
}

TEST(Synthesize, HasTheStatedMeansAndDeviations) {
  const auto spec = plan::preset("tetrarch-64-mini");  // hidden size 128, FFN size 512
  const std::map<plan::Role, std::pair<double, double>> expected{
      {plan::Role::embed, {0, 1}},
      {plan::Role::attn_norm, {1, 0.1}},
      {plan::Role::q, {0, 1 / std::sqrt(128)}},
      {plan::Role::router, {0, 2.5 / std::sqrt(128)}},
      {plan::Role::up, {0, 1 / std::sqrt(128)}},
      {plan::Role::down, {0, 1 / std::sqrt(512)}}};
  for (const plan::TensorSpec& tensor : plan::tensors_of(spec, 4)) {
    if (tensor.layer > 0 || !expected.count(tensor.role)) continue;
    std::vector<float> values(static_cast<std::size_t>(tensor.rows() * tensor.columns()));
    synthesize_values(tensor, 1, 0, 0, values);

    const double n = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    double square = 0;
    for (const float value : values)
      square += (value - mean) * (value - mean);
    const auto [centre, deviation] = expected.at(tensor.role);

    EXPECT_NEAR(mean, centre, 4 * deviation / std::sqrt(n)) << tensor.path;
    EXPECT_NEAR(std::sqrt(square / n) / deviation, 1, 4 / std::sqrt(n)) << tensor.path;
  }
}

TEST(Synthesize, NormsOfHeadsAreLikeTheOthersAndDenseLayersLikeExperts) {
  auto spec = plan::preset("tetrarch-64-mini");
  spec.qk_norm = plan::QkNorm::per_head;
  spec.is_moe[0] = false;
  spec.dense_ffn = 512;
  for (const plan::TensorSpec& tensor : plan::tensors_of(spec, 4)) {
    if (tensor.layer != 0) continue;
    const bool is_norm = tensor.role == plan::Role::q_norm || tensor.role == plan::Role::k_norm;
    if (!is_norm && tensor.role != plan::Role::up && tensor.role != plan::Role::down) continue;
    std::vector<float> values(static_cast<std::size_t>(tensor.rows() * tensor.columns()));
    synthesize_values(tensor, 1, 0, 0, values);

    const double n = static_cast<double>(values.size());
    const double centre = is_norm ? 1 : 0;
    const double deviation = is_norm                           ? 0.1
                             : tensor.role == plan::Role::down ? 1 / std::sqrt(512)
                                                               : 1 / std::sqrt(128);
    double square = 0;
    for (const float value : values)
      square += (value - centre) * (value - centre);
    EXPECT_NEAR(std::sqrt(square / n) / deviation, 1, 4 / std::sqrt(n)) << tensor.path;
  }
}

TEST(Synthesize, AModelWithDenseLayersAndHeadNormsIsAWholeFile) {
  const Scratch scratch;
  base::Log log = quiet();
  auto spec = plan::preset("tiny");
  spec.qk_norm = plan::QkNorm::per_head;
  spec.is_moe = {true, false, false, true};
  spec.dense_ffn = 96;
  spec.rope_type = plan::RopeType::yarn;
  spec.rope_scaling.factor = 4;
  spec.rope_scaling.orig_max = 2048;

  synthesize_weights(spec, 4, 5, scratch / "w.h5", log);

  const WeightsFile file = WeightsFile::open(scratch / "w.h5");
  EXPECT_EQ(file.spec(), spec);
  EXPECT_EQ(file.total_bytes(), 2 * spec.num_parameters());
  file.verify_all({});
}

TEST(Synthesize, GivesExpertsAndTensorsValuesOfTheirOwn) {
  const auto tensors = plan::tensors_of(plan::preset("tiny"), 4);
  std::vector<std::vector<float>> rows;
  for (const plan::TensorSpec& tensor : tensors)
    for (std::int64_t expert = 0; expert < tensor.num_experts; ++expert)
      synthesize_values(tensor, 1, expert, 0, rows.emplace_back(16));

  std::sort(rows.begin(), rows.end());

  EXPECT_EQ(std::adjacent_find(rows.begin(), rows.end()), rows.end());
}

TEST(Synthesize, WritesInputsWithinTheirBounds) {
  const Scratch scratch;
  base::Log log = quiet();
  const InputsSpec inputs{200, 3, 9, 50, 1};
  synthesize_inputs(inputs, scratch / "deep/in.h5", log);

  const h5::File file = h5::File::open_to_read(scratch / "deep/in.h5", base::ExitCode::input);
  std::vector<std::uint64_t> offsets(201), ids(200);
  file.dataset("/offsets").read_all(base::DType::u64, offsets.data());
  file.dataset("/ids").read_all(base::DType::u64, ids.data());
  std::vector<std::uint32_t> tokens(offsets.back());
  file.dataset("/tokens").read_all(base::DType::u32, tokens.data());

  std::map<std::uint64_t, int> lengths;
  for (std::size_t i = 0; i < 200; ++i)
    ++lengths[offsets[i + 1] - offsets[i]];
  EXPECT_EQ(file.text_attribute("format"), "tetrarch-inputs");
  EXPECT_EQ(file.integer_attribute("format_version"), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(lengths.begin()->first, 3u);
  EXPECT_EQ(lengths.rbegin()->first, 9u);
  EXPECT_EQ(ids[199], 199u);
  EXPECT_LT(*std::max_element(tokens.begin(), tokens.end()), 50u);
  EXPECT_EQ(std::set<std::uint32_t>(tokens.begin(), tokens.end()).size(), 50u);
}

TEST(Synthesize, WritesNoSequencesAndEmptyOnes) {
  const Scratch scratch;
  base::Log log = quiet();
  synthesize_inputs({0, 1, 1, 50, 1}, scratch / "none.h5", log);
  synthesize_inputs({2, 0, 0, 50, 1}, scratch / "empty.h5", log);

  const auto file = h5::File::open_to_read(scratch / "empty.h5", base::ExitCode::input);

  EXPECT_EQ(file.dataset("/tokens").info().shape, base::Shape{0});
  EXPECT_EQ(file.dataset("/offsets").info().shape, base::Shape{3});
  EXPECT_TRUE(std::filesystem::exists(scratch / "none.h5"));
}

TEST(Synthesize, SaysThatAFolderCannotBeMade) {
  const Scratch scratch;
  base::Log log = quiet();
  test::write_file(scratch / "file", "");

  EXPECT_THROW(synthesize_weights(plan::preset("tiny"), 4, 1, scratch / "file/w.h5", log),
               base::SystemError);
}

}  // namespace
}  // namespace tetrarch::storage
