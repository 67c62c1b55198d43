// Parts: whole or not there, and never silently damaged.
// SPDX-License-Identifier: Apache-2.0
#include "storage/part_file.hpp"

#include <random>

#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

constexpr const char* uuid = "00000000-0000-4000-8000-000000000000";

/// Sequences of 3, 5 and 4 tokens, and a folder for parts.
struct PartTest : ::testing::Test {
  PartTest() { std::filesystem::create_directories(folder / "parts"); }
  PartOptions options(int ep = 0) const { return {folder.path(), uuid, 2, 1, ep}; }
  std::vector<std::string> parts() const { return names_in(folder / "parts"); }
  std::string only_part() const { return folder / ("parts/" + parts().at(0)); }

  TemporaryFolder folder;
  plan::ModelSpec spec = small_spec();
  InputSet inputs =
      InputSet::open({write_inputs(folder / "inputs.h5", {.lengths = {3, 5, 4}})}, 512, 8192);
  std::vector<DatasetPlan> layout = results_layout(all_outputs(spec), spec);
};

TEST_F(PartTest, CommittedMicrobatchesAreReadBackWithTheirRows) {
  PartWriter writer(options(), layout);

  write_microbatch(writer, inputs, {2, 0});
  write_microbatch(writer, inputs, {1});
  writer.commit();

  const std::vector<PartEntry> entries = read_part(only_part(), uuid);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[1].sequence, 0);
  EXPECT_EQ(entries[1].length, 3);
  EXPECT_EQ(entries[1].token_row, 4);
  EXPECT_EQ(entries[2].sequence, 1);
  EXPECT_EQ(entries[2].row, 2);
  EXPECT_EQ(entries[2].token_row, 7);
  const h5::File file = h5::File::open_to_read(only_part(), ExitCode::input);
  const DatasetPlan& hidden = layout[0];
  std::vector<std::byte> rows(static_cast<std::size_t>(5 * hidden.row_bytes()));
  file.dataset(hidden.path).read({{7, 0}, {5, 64}}, hidden.dtype, rows.data());
  EXPECT_EQ(rows, made_up(hidden, inputs, 1));
}

TEST_F(PartTest, TheNameTellsWriterAttemptNumberAndChecksum) {
  PartWriter writer(options(3), layout);
  write_microbatch(writer, inputs, {0});
  writer.commit();
  write_microbatch(writer, inputs, {1});
  writer.close();

  const auto name = parse_part_name(parts().at(1));

  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->dp, 1);
  EXPECT_EQ(name->ep, 3);
  EXPECT_EQ(name->attempt, 2);
  EXPECT_EQ(name->number, 1);
  EXPECT_EQ(to_string(*name), parts().at(1));
  EXPECT_EQ(writer.num_parts(), 2);
  for (const char* other :
       {"", "d001-e003-a002-000001.h5",
        "x"
        "d001-e003-a002-000001-0.h5",
        "d1-e3-a2-1-0123456789abcdef.h5", "d001-e003-a002-000001-0123456789abcdef.h5x"})
    EXPECT_FALSE(parse_part_name(other).has_value()) << other;
}

TEST_F(PartTest, NothingIsLeftOfWhatWasNotCommitted) {
  {
    PartWriter writer(options(), layout);
    write_microbatch(writer, inputs, {0, 1, 2});
    EXPECT_EQ(parts().size(), 1u);
    EXPECT_TRUE(parts()[0].starts_with(".tmp-"));
  }

  EXPECT_TRUE(parts().empty());
}

TEST_F(PartTest, CommittingNothingMakesNoPart) {
  PartWriter writer(options(), layout);

  writer.commit();
  writer.close();

  EXPECT_TRUE(parts().empty());
}

TEST_F(PartTest, AnEmptyMicrobatchMakesAPartWithoutSequences) {
  PartWriter writer(options(), layout);

  write_microbatch(writer, inputs, {});
  writer.commit();

  EXPECT_TRUE(read_part(only_part(), uuid).empty());
}

TEST_F(PartTest, DatasetsThatOutgrowTheBufferKeepEveryRow) {
  const std::string path = write_inputs(folder / "long.h5", {.lengths = {9000, 1, 7000}});
  const InputSet longer = InputSet::open({path}, 512, 1 << 20);
  PartWriter writer(options(), layout);

  write_microbatch(writer, longer, {0, 1});
  write_microbatch(writer, longer, {2});
  writer.commit();

  const h5::File file = h5::File::open_to_read(only_part(), ExitCode::input);
  for (const DatasetPlan& plan : layout) {
    if (plan.per != DatasetPlan::Per::token) continue;
    std::vector<std::byte> rows(static_cast<std::size_t>(16001 * plan.row_bytes()));
    file.dataset(plan.path).read_all(plan.dtype, rows.data());
    const std::vector<std::byte> expected = made_up(plan, longer, 2);
    EXPECT_TRUE(
        std::equal(expected.begin(), expected.end(), rows.begin() + 9001 * plan.row_bytes()))
        << plan.path;
  }
  EXPECT_EQ(read_part(only_part(), uuid).size(), 3u);
}

TEST_F(PartTest, AMissingRowIsNoticedAtTheEndOfTheMicrobatch) {
  const float logprobs[3] = {};
  PartWriter writer(options(), results_layout({}, spec));
  const PartSequence sequence{0, 3};

  writer.begin({&sequence, 1});
  writer.append("/logprobs/token", 2, logprobs);

  EXPECT_THROW(writer.end(), base::InternalError);
}

TEST_F(PartTest, BytesAndTimeMakeACommitDue) {
  PartOptions by_bytes = options(), by_time = options(1);
  by_bytes.commit_bytes = 100;
  by_time.commit_interval_s = 0;
  PartWriter bytes(by_bytes, layout), time(by_time, layout), neither(options(2), layout);
  EXPECT_FALSE(time.is_due());

  for (PartWriter* writer : {&bytes, &time, &neither})
    write_microbatch(*writer, inputs, {0});

  EXPECT_TRUE(bytes.is_due());
  EXPECT_TRUE(time.is_due());
  EXPECT_FALSE(neither.is_due());
  bytes.commit();
  EXPECT_FALSE(bytes.is_due());
}

TEST_F(PartTest, AStatusAndTimingRowsTravelWithThePart) {
  PartWriter writer(options(), std::vector<DatasetPlan>{});
  const PartSequence sequences[2] = {{1, 5}, {2, 4}};
  TimingRow row;
  row.microbatch = 7;
  row.seconds = 0.5;
  row.set_phase("attention");

  writer.begin(sequences);
  writer.set_status(2, SequenceStatus::not_finite, "NaN in the residual stream");
  writer.append_timing({&row, 1});
  writer.end();
  writer.commit();

  const auto entries = read_part(only_part(), uuid);
  EXPECT_EQ(entries.at(0).status, SequenceStatus::ok);
  EXPECT_EQ(entries.at(1).status, SequenceStatus::not_finite);
  EXPECT_EQ(entries.at(1).error, "NaN in the residual stream");
  TimingRow found;
  h5::File::open_to_read(only_part(), ExitCode::input)
      .dataset("/timing/phases")
      .read_records(0, 1, timing_fields(), sizeof found, &found);
  EXPECT_EQ(found.microbatch, 7);
  EXPECT_EQ(found.seconds, 0.5);
  EXPECT_STREQ(found.phase, "attention");
}

TEST_F(PartTest, EveryFlippedBitIsFound) {
  PartWriter writer(options(), layout);
  write_microbatch(writer, inputs, {0, 1, 2});
  writer.commit();
  const std::string path = only_part();
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  std::mt19937 random(1);

  for (int i = 0; i < 50; ++i) {
    const auto byte = static_cast<std::int64_t>(random() % bytes);
    const int bit = static_cast<int>(random() % 8);
    flip_bit(path, byte, bit);
    EXPECT_EQ(refusal_of([&] { read_part(path, uuid); }).code, ExitCode::input) << byte;
    flip_bit(path, byte, bit);
  }
  EXPECT_NO_THROW(read_part(path, uuid));
}

TEST_F(PartTest, APartOfAnotherRunIsRefused) {
  PartWriter writer(options(), layout);
  write_microbatch(writer, inputs, {0});
  writer.commit();

  const Refusal refusal = refusal_of([&] { read_part(only_part(), "another"); });

  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find(uuid), std::string::npos) << refusal.message;
}

TEST_F(PartTest, AFolderThatVanishedIsAnErrorOfTheMachine) {
  PartWriter writer(options(), layout);
  write_microbatch(writer, inputs, {0});
  std::filesystem::remove_all(folder / "parts");

  EXPECT_THROW(writer.commit(), std::runtime_error);
  EXPECT_THROW(PartWriter({folder / "absent", uuid}, layout).begin({}), base::SystemError);
}

}  // namespace
}  // namespace tetrarch::storage
