// Part files are complete or absent, and damage in them is always found.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/part_file.hpp"

#include <random>

#include "run_fixture.hpp"
#include "storage/files/durable.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

constexpr const char* uuid = "00000000-0000-4000-8000-000000000000";

/// Inputs of three sequences (3, 5 and 4 tokens), and a folder for parts.
struct PartTest : ::testing::Test {
  PartTest() { std::filesystem::create_directories(attempt_folder(folder.path(), 2)); }
  PartOptions options(int ep = 0) const { return {folder.path(), uuid, 2, 1, ep}; }
  std::vector<std::string> parts() const { return parts_in(folder / "parts"); }
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

  const std::vector<PartEntry> entries = read_part(only_part(), uuid).entries;
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
  EXPECT_EQ(parts().size(), 2u);
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
    EXPECT_EQ(names_in(attempt_folder(folder.path(), 2)).size(), 1u);
    EXPECT_TRUE(parts().empty());
  }

  EXPECT_TRUE(names_in(attempt_folder(folder.path(), 2)).empty());
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

  EXPECT_TRUE(read_part(only_part(), uuid).entries.empty());
}

TEST_F(PartTest, ManyTimingRowsAreAllThereAndNothingStaysOpen) {
  const std::int64_t before = h5::num_open_objects();
  PartWriter writer(options(), layout);
  std::vector<TimingRow> rows(1000);
  for (int microbatch = 0; microbatch < 10; ++microbatch) {
    for (TimingRow& row : rows)
      row.microbatch = microbatch;
    write_microbatch(writer, inputs, {});
    writer.append_timing(rows);
  }
  writer.commit();

  EXPECT_EQ(h5::num_open_objects(), before);
  const h5::File file = h5::File::open_to_read(only_part(), ExitCode::input);
  const h5::Dataset phases = file.dataset("/timing/phases");
  const std::int64_t count = phases.info().shape.at(0);
  std::vector<TimingRow> found(static_cast<std::size_t>(count));
  phases.read_records(0, count, timing_fields(), sizeof(TimingRow), found.data());
  for (int microbatch = 0; microbatch < 10; ++microbatch)
    EXPECT_EQ(std::ranges::count(found, microbatch, &TimingRow::microbatch), 1000);
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
  EXPECT_EQ(read_part(only_part(), uuid).entries.size(), 3u);
}

/// Like write_rows(), but in pieces of `step` rows, from the last piece to the first and from the
/// last dataset to the first.
void write_backwards(PartWriter& writer, const InputSet& inputs,
                     const std::vector<std::int64_t>& sequences, std::int64_t step) {
  for (int dataset = static_cast<int>(writer.layout().size()) - 1; dataset >= 0; --dataset) {
    const DatasetPlan& plan = writer.layout()[static_cast<std::size_t>(dataset)];
    if (plan.per == DatasetPlan::Per::run) continue;
    std::vector<std::byte> all;
    for (const std::int64_t sequence : sequences) {
      const std::vector<std::byte> bytes = made_up(plan, inputs, sequence);
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    const std::int64_t total = std::ssize(all) / plan.row_bytes();
    for (std::int64_t end = total; end > 0; end -= step) {
      const std::int64_t row = std::max<std::int64_t>(0, end - step);
      writer.write(dataset, row, end - row, all.data() + row * plan.row_bytes());
    }
  }
}

TEST_F(PartTest, RowsThatComeInAnyOrderStandInOrder) {
  const std::string path = write_inputs(folder / "long.h5", {.lengths = {900, 1, 7000, 3, 2500}});
  const InputSet longer = InputSet::open({path}, 512, 1 << 20);
  const auto of_part = [&](const DatasetPlan& plan, int part) {
    const h5::File file = h5::File::open_to_read(
        folder / ("parts/" + parts().at(static_cast<std::size_t>(part))), ExitCode::input);
    std::vector<std::byte> rows(
        static_cast<std::size_t>(plan.total_rows(5, 10404) * plan.row_bytes()));
    EXPECT_EQ(file.dataset(plan.path).info().shape, plan.shape(plan.total_rows(5, 10404)));
    file.dataset(plan.path).read_all(plan.dtype, rows.data());
    return rows;
  };
  PartWriter in_order(options(0), layout), backwards(options(1), layout),
      one_by_one(options(2), layout);

  for (const std::vector<std::int64_t>& sequences :
       std::vector<std::vector<std::int64_t>>{{0, 1}, {3, 2}, {}, {4}}) {
    std::vector<PartSequence> list;
    for (const std::int64_t sequence : sequences)
      list.push_back({sequence, longer.length(sequence)});
    write_microbatch(in_order, longer, sequences);
    for (PartWriter* writer : {&backwards, &one_by_one}) {
      writer->begin(list);
      write_backwards(*writer, longer, sequences, writer == &backwards ? 777 : 1);
      writer->end();
    }
  }
  for (PartWriter* writer : {&in_order, &backwards, &one_by_one})
    writer->commit();

  ASSERT_EQ(parts().size(), 3u);
  for (const DatasetPlan& plan : layout) {
    if (plan.per == DatasetPlan::Per::run) continue;
    const std::vector<std::byte> expected = of_part(plan, 0);
    EXPECT_EQ(of_part(plan, 1), expected) << plan.path;
    EXPECT_EQ(of_part(plan, 2), expected) << plan.path;
  }
}

TEST_F(PartTest, EveryRowOfAMicrobatchComesExactlyOnce) {
  struct Write {
    std::int64_t first_row, num_rows;
  };
  const auto problem_of = [&](const std::vector<Write>& writes, std::int64_t length) {
    const std::vector<float> logprobs(static_cast<std::size_t>(length));
    std::vector<DatasetPlan> token_alone = {results_layout({}, spec)[0]};
    PartWriter writer(options(), token_alone);
    const PartSequence before{1, 5}, sequence{0, length};
    writer.begin({&before, 1});
    writer.write(0, 0, 5, logprobs.data());
    writer.end();
    writer.begin({&sequence, 1});
    try {
      for (const Write& write : writes)
        writer.write("/logprobs/token", write.first_row, write.num_rows, logprobs.data());
      writer.end();
    } catch (const base::InternalError& error) {
      return std::string(error.what());
    }
    return std::string();
  };

  for (const std::int64_t length : {std::int64_t{100}, std::int64_t{100'000}}) {
    const std::int64_t rest = length - 10;
    EXPECT_EQ(problem_of({{10, rest}, {0, 10}}, length), "");
    EXPECT_NE(problem_of({{10, rest}}, length), "");               // rows 0 to 9 are missing
    EXPECT_NE(problem_of({{0, 10}, {11, rest - 1}}, length), "");  // row 10 is missing
    EXPECT_NE(problem_of({{0, 10}, {9, rest + 1}}, length), "");   // row 9 twice
    EXPECT_NE(problem_of({{0, 10}, {0, 10}, {20, rest - 10}}, length), "");  // 10 twice, 10 missing
    EXPECT_NE(problem_of({{0, 10}, {10, rest + 1}}, length), "");            // a row too many
    EXPECT_NE(problem_of({{-1, 11}, {10, rest}}, length), "");               // row -1
    EXPECT_NE(problem_of({}, length), "");
  }
}

TEST_F(PartTest, SumsOfTheRunAddUpOverMicrobatchesAndBeginAnewInTheNextPart) {
  PartWriter writer(options(), layout);
  const int counts = find_dataset(layout, "/routing/tokens_per_expert");
  const std::vector<std::uint64_t> first(32, 2), second(16, std::uint64_t{1} << 40);
  const auto stored = [&](int part) {
    std::vector<std::uint64_t> sums(32);
    h5::File::open_to_read(folder / ("parts/" + parts().at(static_cast<std::size_t>(part))),
                           ExitCode::input)
        .dataset("/routing/tokens_per_expert")
        .read({{0, 0}, {2, 16}}, base::DType::u64, sums.data());
    return sums;
  };

  for (int microbatch = 0; microbatch < 2; ++microbatch) {
    writer.begin({});
    writer.add(counts, 0, 2, first.data());
    writer.add("/routing/tokens_per_expert", 1, 1, second.data());
    writer.end();
  }
  writer.commit();
  writer.begin({});
  writer.end();
  writer.commit();

  std::vector<std::uint64_t> expected(16, 4);
  expected.resize(32, 4 + (std::uint64_t{1} << 41));
  EXPECT_EQ(stored(0), expected);
  EXPECT_EQ(stored(1), std::vector<std::uint64_t>(32));
}

TEST_F(PartTest, RowsAndSumsAreNotMixedUp) {
  PartWriter writer(options(), layout);
  const std::uint64_t counts[16] = {};

  writer.begin({});

  EXPECT_THROW(writer.write("/routing/dropped", 0, 1, counts), base::InternalError);
  EXPECT_THROW(writer.add("/logprobs/count", 0, 1, counts), base::InternalError);
  EXPECT_THROW(writer.add("/routing/dropped", 1, 2, counts), base::InternalError);
  EXPECT_THROW(writer.write("/no/dataset", 0, 1, counts), base::InternalError);
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

  const PartList list = read_part(only_part(), uuid);
  EXPECT_EQ(list.entries.at(0).status, SequenceStatus::ok);
  EXPECT_EQ(list.entries.at(1).status, SequenceStatus::not_finite);
  EXPECT_EQ(list.errors, (std::map<std::int64_t, std::string>{{2, "NaN in the residual stream"}}));
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

/// Writes a part with a valid name and checksum and any content. Returns its path.
std::string forged_part(const TemporaryFolder& folder, const std::vector<std::uint64_t>& sequences,
                        const std::vector<std::uint64_t>& lengths,
                        const std::vector<std::uint8_t>& states, std::int64_t text_bytes) {
  const std::string written = folder / "forged.h5";
  h5::File file = h5::File::create(written);
  file.set_attribute("format", std::string("tetrarch-part"));
  file.set_attribute("run_uuid", std::string(uuid));
  put(file, "/sequences/index", base::DType::u64, sequences);
  put(file, "/sequences/length", base::DType::u64, lengths);
  put(file, "/sequences/status", base::DType::u8, states);
  file.create_texts("/sequences/error", std::ssize(sequences), text_bytes, "");
  file.close();
  PartName name;
  name.xxh3 = file_xxh3(written);
  const std::string path = folder / to_string(name);
  std::filesystem::rename(written, path);
  return path;
}

TEST_F(PartTest, SequencesThatCannotBeTrueAreRefused) {
  constexpr std::uint64_t huge = std::uint64_t{1} << 62;
  EXPECT_EQ(read_part(forged_part(folder, {0, 1}, {3, 5}, {0, 4}, 200), uuid).entries.size(), 2u);
  for (const std::string& path : {forged_part(folder, {0, 2 * huge}, {3, 5}, {0, 0}, 200),
                                  forged_part(folder, {0, 1}, {3, 2 * huge}, {0, 0}, 200),
                                  forged_part(folder, {0, 1, 2}, {huge, huge, 1}, {0, 0, 0}, 200),
                                  forged_part(folder, {0, 1}, {3, 5}, {0, 6}, 200),
                                  forged_part(folder, {0, 1}, {3, 5}, {0, 0}, 65537)})
    EXPECT_EQ(refusal_of([&] { read_part(path, uuid); }).code, ExitCode::input) << path;
}

TEST_F(PartTest, APartOfAnotherRunIsRefused) {
  PartWriter writer(options(), layout);
  write_microbatch(writer, inputs, {0});
  writer.commit();

  const Refused refusal = refusal_of([&] { read_part(only_part(), "another"); });

  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find(uuid), std::string::npos) << refusal.message;
}

TEST_F(PartTest, AFolderThatVanishedIsAnErrorOfTheMachine) {
  PartWriter writer(options(), layout);
  write_microbatch(writer, inputs, {0});
  std::filesystem::remove_all(folder / "parts");

  EXPECT_THROW(writer.commit(), base::SystemError);
  EXPECT_THROW(PartWriter({folder / "absent", uuid}, layout).begin({}), base::SystemError);
}

}  // namespace
}  // namespace tetrarch::storage
