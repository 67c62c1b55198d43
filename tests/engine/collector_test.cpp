// The rows of all tp ranks are in the part file in order, as one rank would write them.
// SPDX-License-Identifier: Apache-2.0
#include "engine/collector.hpp"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "engine/shared_folder.hpp"
#include "model/stage.hpp"
#include "storage/run_fixture.hpp"

namespace tetrarch::engine {
namespace {

constexpr const char* uuid = "00000000-0000-4000-8000-000000000000";

/// A model with a vocabulary of 38: the 4 shards have 9, 10, 9 and 10 tokens.
plan::ModelSpec odd_spec() {
  plan::ModelSpec spec = model::small_spec();
  spec.vocab_size = 38;
  return spec;
}

/// The output part has the sequences 0, 2 and 3, of lengths 3, 4 and 1.
struct CollectorTest : backend::EachBackend {
  CollectorTest() {
    folder.on_root([&] {
      std::filesystem::create_directories(storage::attempt_folder(folder / "", 1));
      storage::Inputs given;
      given.lengths = {3, 5, 4, 1};
      given.score_from = {0, 0, 2, 0};
      given.tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
      storage::write_inputs(folder / "inputs.h5", given);
    });
    inputs.emplace(storage::InputSet::open({folder / "inputs.h5"}, 38, 64));
    pass_rows = model::pass_rows_of({3, 4, 1}, std::vector<std::int32_t>(8));
    const std::int64_t sequences[] = {0, 2, 3};
    for (std::size_t i = 0; i < 3; ++i)
      pass_rows.rows[i].sequence = sequences[i];
    model::spread_evenly(pass_rows, world.size());
    home = pass_rows.home(world.rank());
    for (std::int64_t row = 0; row < 8; ++row)
      scores.next_logprob.push_back(-0.5f * static_cast<float>(row + 1));
    for (const std::size_t last : {2u, 6u, 7u})
      scores.next_logprob[last] = base::failed_value();
    scores.is_greedy = {1, 0, 1, 0, 1, 1, 1, 1};
    for (std::uint32_t i = 0; i < 16; ++i) {
      top_id.push_back(i);
      top_logprob.push_back(-0.25f * static_cast<float>(i));
    }
    outputs.last_logits = outputs.hidden = outputs.experts = outputs.routing = true;
    outputs.kv = outputs.topk = true;
    outputs.top_k_logprobs = 2;
    outputs.hidden_layers = {-1, 1};
  }

  static float hidden_value(std::int64_t layer, std::int64_t row, std::int64_t column) {
    return static_cast<float>(100 * layer + 16 * row + column);
  }
  std::vector<float> hidden_rows(std::int64_t layer, plan::Range rows) const {
    std::vector<float> values;
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
      for (std::int64_t column = 0; column < 16; ++column)
        values.push_back(hidden_value(layer, row, column));
    return values;
  }
  static float logit(std::int64_t run, std::int64_t token) {
    return static_cast<float>(50 * run + token);
  }

  /// Calls the collector as the forward pass does, and commits.
  void collect() {
    std::optional<storage::PartWriter> writer;
    if (topology.is_writer())
      writer.emplace(storage::PartOptions{folder.path(), uuid, 1, 0, 0},
                     storage::results_layout(outputs, spec));
    plan::Plan plan;
    plan.model = spec;
    plan.reduction_shards = model::Stage::reduction_shards;
    plan.grid = grid;
    plan.outputs = outputs;
    plan.depth = model::whole_depth(spec);
    Collector collector(plan, topology, stage.context.compute, stage.timeline,
                        writer ? &*writer : nullptr);
    const std::vector<plan::SequenceLength> sequences{{0, 3}, {2, 4}, {3, 1}};
    collector.begin(sequences, *inputs);
    collector.begin_pass(pass_rows);
    for (const std::int64_t layer : {-1, 0, 1}) {
      if (layer == 0) feed_layer(collector);
      const backend::Uploaded rows(*stage.backend, hidden_rows(layer, home), 16);
      collector.hidden(layer, pass_rows, rows.tensor());
    }
    for (const auto& [row, found] : not_finite)
      if (home.contains(row)) collector.not_finite(found);
    feed_logits(collector, {0, 1});  // in two calls, as with chunks
    feed_logits(collector, {2});
    const std::size_t some = 2 * 5;  // the first 5 of 8 rows
    collector.likely(pass_rows, 0, std::span(top_id).first(some),
                     std::span(top_logprob).first(some));
    collector.likely(pass_rows, 5, std::span(top_id).subspan(some),
                     std::span(top_logprob).subspan(some));
    collector.scores(pass_rows, scores);
    storage::TimingRow timing;
    timing.rank = world.rank();
    timing.set_phase("head");
    collector.end(std::span(&timing, 1));
    collector.flush();
    if (writer) writer->close();
    world.barrier();
  }
  /// Keys and values of this rank's heads: the hundreds of a value are the row, the units the
  /// column.
  void feed_layer(Collector& collector) {
    const std::int64_t first = stage.context.local.kv_heads.begin * spec.head_size;
    const std::int64_t columns = stage.context.local.kv_heads.size() * spec.head_size;
    std::vector<float> key, value;
    for (std::int64_t row = 0; row < 8; ++row)
      for (std::int64_t column = first; column < first + columns; ++column) {
        key.push_back(static_cast<float>(100 * row + column));
        value.push_back(-key.back());
        if (row == 7 && column == 15) key.back() += bad_key;
      }
    collector.kv(0, backend::Uploaded(*stage.backend, key, columns).tensor(),
                 backend::Uploaded(*stage.backend, value, columns).tensor());
    std::vector<std::int32_t> ids, count(8, 0);
    for (std::int64_t row = home.begin; row < home.end; ++row) {
      ids.insert(ids.end(),
                 {static_cast<std::int32_t>(row % 8), static_cast<std::int32_t>(7 - row % 8)});
      ++count[static_cast<std::size_t>(row % 8)];
      ++count[static_cast<std::size_t>(7 - row % 8)];
    }
    const backend::Uploaded uploaded_ids(*stage.backend, ids, 2);
    const backend::Uploaded uploaded_count(*stage.backend, count, 8);
    model::Routing routing;
    routing.expert_id = uploaded_ids.tensor();
    routing.count = uploaded_count.tensor();
    routing.num_dropped = world.rank() + 1;
    collector.experts(0, routing);
  }
  void feed_logits(Collector& collector, const std::vector<std::int64_t>& runs) {
    const std::int64_t begin = stage.context.local.vocab.front().begin,
                       columns = stage.context.local.vocab_count();
    std::vector<float> values;
    for (const std::int64_t run : runs)
      for (std::int64_t i = 0; i < columns; ++i)
        values.push_back(logit(run, begin + i));
    collector.last_logits(pass_rows, runs,
                          backend::Uploaded(*stage.backend, values, columns).tensor());
  }

  std::string part() const {
    return folder / ("parts/" + storage::names_in(folder / "parts").back());
  }
  template <class T>
  std::vector<T> read(const std::string& dataset, base::DType dtype, std::size_t count) const {
    const storage::h5::File file = storage::h5::File::open_to_read(part(), base::ExitCode::input);
    EXPECT_EQ(base::checked_elements(file.dataset(dataset).info().shape),
              static_cast<std::int64_t>(count));
    std::vector<T> values(count);
    file.dataset(dataset).read_all(dtype, values.data());
    return values;
  }

  mpi::Communicator world = mpi::everyone();
  SharedFolder folder{world};
  plan::ModelSpec spec = odd_spec();
  plan::Grid grid{1, 1, 1, world.size()};
  model::Stage stage{spec, grid};
  Topology topology = make_topology(grid, world, *stage.backend);
  std::optional<storage::InputSet> inputs;
  plan::Outputs outputs;
  model::PassRows pass_rows;
  plan::Range home;
  model::TokenScores scores;
  std::vector<std::uint32_t> top_id;
  std::vector<float> top_logprob;
  // reported on the rank that has the row
  std::vector<std::pair<std::int64_t, model::NotFinite>> not_finite;
  float bad_key = 0;  // in the last row
};
INSTANTIATE_TEST_SUITE_P(Backends, CollectorTest, backend::at_hand(), backend::name_of_param);

TEST_P(CollectorTest, RowsOfAllRanksStandInOrder) {
  collect();

  if (!topology.is_writer()) return;
  EXPECT_EQ(read<float>("/hidden/embed", base::DType::f32, 128), hidden_rows(-1, {0, 8}));
  EXPECT_EQ(read<float>("/hidden/final", base::DType::f32, 128), hidden_rows(1, {0, 8}));
  EXPECT_EQ(read<std::uint16_t>("/experts/00", base::DType::u16, 16),
            (std::vector<std::uint16_t>{0, 7, 1, 6, 2, 5, 3, 4, 4, 3, 5, 2, 6, 1, 7, 0}));
}

TEST_P(CollectorTest, LogitsOfAllRanksStandSideBySide) {
  collect();

  if (!topology.is_writer()) return;
  std::vector<float> expected;
  for (std::int64_t run = 0; run < 3; ++run)
    for (std::int64_t token = 0; token < spec.vocab_size; ++token)
      expected.push_back(logit(run, token));
  EXPECT_EQ(read<float>("/last_logits", base::DType::f32, 3 * 38), expected);
}

TEST_P(CollectorTest, KeysOfAllRanksStandSideBySide) {
  collect();

  if (!topology.is_writer()) return;
  const auto key = read<float>("/kv/00/k", base::DType::f32, 8 * 16),
             value = read<float>("/kv/00/v", base::DType::f32, 8 * 16);
  for (std::int64_t row = 0; row < 8; ++row)
    for (std::int64_t column = 0; column < 16; ++column) {
      const auto at = static_cast<std::size_t>(row * 16 + column);
      EXPECT_EQ(key[at], static_cast<float>(100 * row + column));
      EXPECT_EQ(value[at], -key[at]);
    }
}

TEST_P(CollectorTest, CountsOfAllRanksAreAddedUp) {
  collect();

  if (!topology.is_writer()) return;
  EXPECT_EQ(read<std::uint64_t>("/routing/tokens_per_expert", base::DType::u64, 8),
            std::vector<std::uint64_t>(8, 2));  // each of the 8 rows is counted once per slot
  const auto ranks = static_cast<std::uint64_t>(world.size());
  EXPECT_EQ(read<std::uint64_t>("/routing/dropped", base::DType::u64, 1),
            std::vector<std::uint64_t>{ranks * (ranks + 1) / 2});
}

TEST_P(CollectorTest, LikelyTokensStandAtTheRowThatPredictsThem) {
  collect();

  if (!topology.is_writer()) return;
  EXPECT_EQ(read<std::uint32_t>("/topk/ids", base::DType::u32, 16), top_id);
  EXPECT_EQ(read<float>("/topk/logprobs", base::DType::f32, 16), top_logprob);
}

TEST_P(CollectorTest, SumsBeginWhereTheInputsSay) {
  collect();

  if (!topology.is_writer()) return;
  // sequence 0 from position 1 (nothing predicts position 0): rows 0, 1; sequence 2 from position
  // 2: rows 4, 5
  EXPECT_EQ(read<double>("/logprobs/sum", base::DType::f64, 3),
            (std::vector<double>{-1.5, -5.5, 0}));
  EXPECT_EQ(read<std::uint64_t>("/logprobs/count", base::DType::u64, 3),
            (std::vector<std::uint64_t>{2, 2, 0}));
  EXPECT_EQ(read<std::uint8_t>("/logprobs/is_greedy", base::DType::u8, 3),
            (std::vector<std::uint8_t>{0, 1, 1}));
  const std::vector<float> token = read<float>("/logprobs/token", base::DType::f32, 8);
  for (std::size_t row = 0; row < 8; ++row) {
    const bool is_first = row == 0 || row == 3 || row == 7;
    const float expected = is_first ? base::failed_value() : scores.next_logprob[row - 1];
    EXPECT_EQ(std::bit_cast<std::uint32_t>(token[row]), std::bit_cast<std::uint32_t>(expected));
  }
}

TEST_P(CollectorTest, EverySequenceIsListedWithItsStatus) {
  collect();

  if (!topology.is_writer()) return;
  const auto [entries, errors] = storage::read_part(part(), uuid);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].sequence, 0);
  EXPECT_EQ(entries[0].length, 3);
  EXPECT_EQ(entries[1].sequence, 2);
  EXPECT_EQ(entries[2].token_row, 7);
  for (const storage::PartEntry& entry : entries)
    EXPECT_EQ(entry.status, storage::SequenceStatus::ok);
}

TEST_P(CollectorTest, ARowThatIsNotFiniteMarksItsSequenceAlone) {
  not_finite = {{6, {2, 1, 3, model::Origin::attention}},
                {3, {2, 0, 2, model::Origin::expert, 7}},
                {5, {2, 0, 1, model::Origin::expert, 5}},
                {4, {2, 1, 0, model::Origin::expert, 3}}};

  collect();

  if (!topology.is_writer()) return;
  const auto [entries, errors] = storage::read_part(part(), uuid);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].status, storage::SequenceStatus::ok);
  EXPECT_EQ(entries[1].status, storage::SequenceStatus::not_finite);
  EXPECT_EQ(errors.at(entries[1].sequence),
            "non-finite values first at layer 0, expert 5, position 1 (a broken weight, or values "
            "too large for f32). Check /layers/00/gate, up, down [5] in the weights file.");
  EXPECT_EQ(entries[2].status, storage::SequenceStatus::ok);
}

TEST_P(CollectorTest, AScoreThatIsNotFiniteMarksItsSequenceAlone) {
  scores.next_logprob[3] =
      -std::numeric_limits<float>::infinity();  // an error although it is before score_from

  collect();

  if (!topology.is_writer()) return;
  const auto [entries, errors] = storage::read_part(part(), uuid);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].status, storage::SequenceStatus::ok);
  EXPECT_EQ(entries[1].status, storage::SequenceStatus::not_finite);
}

TEST_P(CollectorTest, AKeyThatIsNotFiniteMarksItsSequenceAlone) {
  bad_key = std::numeric_limits<float>::quiet_NaN();

  collect();

  if (!topology.is_writer()) return;
  const auto [entries, errors] = storage::read_part(part(), uuid);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[1].status, storage::SequenceStatus::ok);
  EXPECT_EQ(entries[2].status, storage::SequenceStatus::not_finite);
  EXPECT_TRUE(errors.at(entries[2].sequence)
                  .starts_with(
                      "non-finite values first at layer 0, attention, position 0 (a broken weight"))
      << errors.at(entries[2].sequence);
}

TEST_P(CollectorTest, PooledRowsAreOneForEachSequence) {
  outputs.pooling = plan::Pooling::mean;

  collect();

  if (!topology.is_writer()) return;
  std::vector<float> expected;
  for (const plan::Range rows : {plan::Range{0, 3}, plan::Range{3, 7}, plan::Range{7, 8}})
    for (std::int64_t column = 0; column < 16; ++column) {
      float sum = 0;
      for (std::int64_t row = rows.begin; row < rows.end; ++row)
        sum += hidden_value(1, row, column);
      expected.push_back(sum / static_cast<float>(rows.size()));
    }
  EXPECT_EQ(read<float>("/hidden/final", base::DType::f32, 48), expected);
}

TEST_P(CollectorTest, TimingOfEveryRankIsInThePart) {
  collect();

  if (!topology.is_writer()) return;
  const storage::h5::File file = storage::h5::File::open_to_read(part(), base::ExitCode::input);
  std::vector<storage::TimingRow> rows(static_cast<std::size_t>(world.size()));
  file.dataset("/timing/phases")
      .read_records(0, world.size(), storage::timing_fields(), sizeof(storage::TimingRow),
                    rows.data());
  for (int rank = 0; rank < world.size(); ++rank) {
    EXPECT_EQ(rows[static_cast<std::size_t>(rank)].rank, rank);
    EXPECT_STREQ(rows[static_cast<std::size_t>(rank)].phase, "head");
  }
}

}  // namespace
}  // namespace tetrarch::engine
