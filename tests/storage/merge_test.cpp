// Merged results are in input order, complete, and readable by h5py.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/merge.hpp"

#include <cstdlib>
#include <optional>

#include <sys/stat.h>

#include "run_fixture.hpp"
#include "storage/run/verify_results.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

void write_part(const SmallRun& run, const RunFolder& folder, int ep,
                const std::vector<std::vector<std::int64_t>>& microbatches) {
  PartWriter writer(run.options(folder, ep), run.layout);
  for (const auto& sequences : microbatches)
    write_microbatch(writer, run.inputs, sequences);
  writer.close();
}

std::vector<std::byte> read_all(const h5::File& file, const DatasetPlan& plan, std::int64_t rows) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * plan.row_bytes()));
  file.dataset(plan.path).read_all(plan.dtype, bytes.data());
  return bytes;
}

/// The sums over all sequences except `failed`, as the bytes of a dataset per run.
std::vector<std::byte> expected_counts(const SmallRun& run, const DatasetPlan& plan,
                                       const std::vector<std::int64_t>& failed) {
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(plan.rows * plan.columns));
  for (std::int64_t i = 0; i < run.inputs.count(); ++i) {
    if (std::ranges::count(failed, i) > 0) continue;
    for (std::int64_t layer = 0; layer < plan.rows; ++layer) {
      const auto counts = made_up_counts(plan, run.inputs, i, layer);
      for (std::size_t column = 0; column < counts.size(); ++column)
        sums[static_cast<std::size_t>(layer) * counts.size() + column] += counts[column];
    }
  }
  const auto bytes = std::as_bytes(std::span(sums));
  return {bytes.begin(), bytes.end()};
}

/// The bytes that a dataset must hold: made-up rows in input order, fill values for `failed`.
std::vector<std::byte> expected_bytes(const SmallRun& run, const DatasetPlan& plan,
                                      const std::vector<std::int64_t>& failed) {
  if (plan.per == DatasetPlan::Per::run) return expected_counts(run, plan, failed);
  std::vector<std::byte> all;
  for (std::int64_t i = 0; i < run.inputs.count(); ++i) {
    std::vector<std::byte> bytes = made_up(plan, run.inputs, i);
    if (std::ranges::count(failed, i) > 0)
      fill_rows(plan, std::ssize(bytes) / plan.row_bytes(), bytes.data());
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

/// Expects the made-up values in all datasets, and fill values for `failed` sequences. Counts of
/// /routing do not include the sequences `not_routed` (default: the failed ones).
void expect_results(const SmallRun& run, const std::string& path,
                    const std::vector<std::int64_t>& failed,
                    std::optional<std::vector<std::int64_t>> not_routed = {}) {
  const h5::File file = h5::File::open_to_read(path, ExitCode::input);
  for (const DatasetPlan& plan : run.layout) {
    const std::int64_t rows = plan.total_rows(run.inputs.count(), run.inputs.total_tokens());
    const bool is_run = plan.per == DatasetPlan::Per::run;
    EXPECT_EQ(read_all(file, plan, rows),
              expected_bytes(run, plan, is_run ? not_routed.value_or(failed) : failed))
        << plan.path;
  }
}

TEST(Merge, ShuffledPartsComeOutInInputOrder) {
  const TemporaryFolder folder;
  const plan::ModelSpec spec = small_spec();
  SmallRun run(folder, {.lengths = {3, 5, 4, 2, 1, 7}}, all_outputs(spec));
  RunFolder opened = run.open();
  write_part(run, opened, 1, {{5, 1}, {0}});
  write_part(run, opened, 0, {{4}, {3, 2}});

  const MergeReport report = run.merge(opened);

  EXPECT_EQ(report.num_ok, 6);
  EXPECT_EQ(report.ok_tokens, 22);
  expect_results(run, report.path, {});
  EXPECT_TRUE(verify_results(report.path, run.log).is_complete);
}

TEST(Merge, FailedSequencesKeepTheirPlaceAndAreFilled) {
  const TemporaryFolder folder;
  const plan::ModelSpec spec = small_spec();
  SmallRun run(
      folder,
      {.lengths = {3, 0, 4, 2}, .text_ids = {"a", "b", "c", "d"}, .score_from = {0, 0, 0, 9}},
      all_outputs(spec));
  RunFolder opened = run.open();
  {
    PartWriter writer(run.options(opened, 0), run.layout);
    const PartSequence sequences[2] = {{0, 3}, {2, 4}};
    writer.begin(sequences);
    write_rows(writer, run.inputs, {0, 2});
    writer.set_status(2, SequenceStatus::not_finite, "NaN after layer 1");
    writer.end();
    writer.close();
  }

  const MergeReport report = run.merge(opened);

  EXPECT_EQ(report.num_ok, 1);
  EXPECT_EQ(report.num_failed, 3);
  expect_results(run, report.path, {1, 2, 3}, {{1, 3}});
  const h5::File file = h5::File::open_to_read(report.path, ExitCode::input);
  std::vector<std::uint8_t> status(4);
  file.dataset("/sequences/status").read_all(base::DType::u8, status.data());
  EXPECT_EQ(status, (std::vector<std::uint8_t>{0, 1, 4, 5}));
  EXPECT_EQ(file.dataset("/sequences/id").read_texts(0, 4),
            (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(file.dataset("/sequences/error").read_texts(2, 1).at(0), "NaN after layer 1");
  EXPECT_NO_THROW(verify_results(report.path, run.log));
}

TEST(Merge, ListsLongerThanAWindowStayInOrder) {
  const TemporaryFolder folder;
  constexpr std::int64_t count = 25'000, failed = count - 7;  // texts of 200 bytes: more than 4 MiB
  const std::string error = "not finite" + std::string(190, '.');
  std::vector<std::int64_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  std::vector<PartSequence> sequences;
  for (const std::int64_t i : all)
    sequences.push_back({i, 1});
  SmallRun run(folder, {.lengths = std::vector<std::uint64_t>(count, 1)});
  RunFolder opened = run.open();
  {
    PartWriter writer(run.options(opened, 0), run.layout);
    writer.begin(sequences);
    write_rows(writer, run.inputs, all);
    writer.set_status(failed, SequenceStatus::not_finite, error);
    writer.end();
    writer.close();
  }

  const MergeReport report = run.merge(opened);

  EXPECT_EQ(report.num_failed, 1);
  const h5::File file = h5::File::open_to_read(report.path, ExitCode::input);
  EXPECT_EQ(file.dataset("/sequences/error").read_texts(failed - 1, 3),
            (std::vector<std::string>{"", error, ""}));
  EXPECT_NO_THROW(verify_results(report.path, run.log));
}

TEST(Merge, RowsThatSpanSeveralWindowsAreCopiedWhole) {
  const TemporaryFolder folder;
  plan::ModelSpec spec = small_spec();
  spec.hidden_size = 2048;
  spec.max_position = 1 << 20;
  plan::Outputs outputs;
  outputs.hidden = true;
  outputs.hidden_layers = {spec.num_layers};
  SmallRun run(folder, {.lengths = {300, 9000, 5, 2000}}, outputs, spec);
  RunFolder opened = run.open();
  write_part(run, opened, 0, {{1}});
  write_part(run, opened, 1, {{3, 0, 2}});

  const MergeReport report = run.merge(opened);

  EXPECT_GT(report.bytes, 40 << 20);
  expect_results(run, report.path, {});
}

TEST(Merge, MissingSequencesAreAllowedOnlyWhenAskedFor) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}});
  RunFolder opened = run.open();
  write_part(run, opened, 0, {{1}});

  const Refused refusal = refusal_of([&] { run.merge(opened); });
  const MergeReport report = run.merge(opened, Missing::allowed);

  EXPECT_EQ(refusal.code, ExitCode::resources);
  EXPECT_NE(refusal.message.find("no part holds 1 sequence"), std::string::npos);
  EXPECT_NE(refusal.message.find("Run the same command again"), std::string::npos);
  EXPECT_NE(refusal.message.find("id 100 (3 tokens)"), std::string::npos) << refusal.message;
  EXPECT_EQ(report.num_missing, 1);
  expect_results(run, report.path, {0});
  EXPECT_FALSE(verify_results(report.path, run.log).is_complete);
  write_part(run, opened, 1, {{0}});
  EXPECT_EQ(run.merge(opened).num_missing, 0);
  EXPECT_TRUE(verify_results(report.path, run.log).is_complete);
}

/// The sums of /routing cannot be divided among sequences. So a part counts with all of its
/// sequences or not at all.
TEST(Merge, APartWhoseSequencesAreAllInOthersAddsNothingToSums) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5, 4}}, all_outputs(small_spec()));
  RunFolder opened = run.open();
  write_part(run, opened, 0, {{0}});
  write_part(run, opened, 1, {{1, 2}});
  write_part(run, opened, 2, {{2, 0}});  // all in earlier parts
  write_part(run, opened, 3, {{}});

  const MergeReport report = run.merge(opened);

  EXPECT_EQ(report.num_missing, 0);
  EXPECT_EQ(parts_in(run.path + "/parts").size(), 4u);
  expect_results(run, report.path, {});
  EXPECT_NO_THROW(verify_results(report.path, run.log));
}

TEST(Merge, APartThatIsHalfInOthersDoesNotCountWhereThereAreSums) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5, 4}}, all_outputs(small_spec()));
  RunFolder opened = run.open();
  write_part(run, opened, 0, {{0, 1}});
  write_part(run, opened, 1, {{1, 2}});

  const Refused refusal = refusal_of([&] { run.merge(opened); });
  const std::size_t num_left = parts_in(run.path + "/parts").size();
  write_part(run, opened, 1, {{2}});
  const MergeReport report = run.merge(opened);

  EXPECT_EQ(refusal.code, ExitCode::resources);
  EXPECT_EQ(num_left, 2u);
  expect_results(run, report.path, {});
}

/// The second attempt did not see the first one's part and computed its sequences again. The parts
/// of the second attempt count.
TEST(Merge, AnEarlierPartThatIsListedLateIsSpareWhereThereAreSums) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5, 4}}, all_outputs(small_spec()));
  const std::string hidden = folder / "hidden";
  {
    RunFolder first = run.open();
    write_part(run, first, 0, {{0, 1}});
  }
  const std::string part = run.path + "/parts/" + parts_in(run.path + "/parts").at(0);
  std::filesystem::rename(part, hidden);
  RunFolder second = run.open();
  write_part(run, second, 0, {{1, 2}});
  write_part(run, second, 1, {{0}});
  std::filesystem::rename(hidden, part);

  const MergeReport report = run.merge(second);

  EXPECT_EQ(report.num_missing, 0);
  expect_results(run, report.path, {});
  EXPECT_NO_THROW(verify_results(report.path, run.log));
}

/// As above, but the later attempt has computed fewer sequences. The earlier part counts.
TEST(Merge, ALaterPartIsSpareWhereTheEarlierOneHasMore) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5, 4}}, all_outputs(small_spec()));
  const std::string hidden = folder / "hidden";
  {
    RunFolder first = run.open();
    write_part(run, first, 0, {{0, 1, 2}});
  }
  const std::string part = run.path + "/parts/" + parts_in(run.path + "/parts").at(0);
  std::filesystem::rename(part, hidden);
  {
    RunFolder second = run.open();
    write_part(run, second, 0, {{1}});
  }
  std::filesystem::rename(hidden, part);
  {
    RunFolder third = run.open();
    EXPECT_EQ(third.committed(run.log).sequences.size(), 3u);
  }
  EXPECT_EQ(parts_in(run.path + "/parts").size(), 2u);

  const MergeReport report = merge_run_folder(run.path, Parts::keep, run.log);

  EXPECT_EQ(report.num_missing, 0);
  expect_results(run, report.path, {});
}

TEST(Merge, APipeInThePlaceOfResultsIsNotWaitedFor) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}});
  {
    RunFolder opened = run.open();
    write_part(run, opened, 0, {{0, 1}});
  }
  ASSERT_EQ(::mkfifo((run.path + "/results.h5").c_str(), 0666), 0);

  EXPECT_EQ(merge_run_folder(run.path, Parts::keep, run.log).num_missing, 0);
}

TEST(Merge, DamagedResultsAreReplacedByCompleteOnesAlone) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}});
  {
    RunFolder opened = run.open();
    write_part(run, opened, 0, {{0, 1}});
    run.merge(opened);
  }
  const std::string results = run.path + "/results.h5", kept = folder / "kept";
  std::filesystem::rename(run.path + "/parts", kept);
  std::filesystem::resize_file(results, 1000);

  const Refused refusal = refusal_of([&] { merge_run_folder(run.path, Parts::remove, run.log); });
  const auto bytes = std::filesystem::file_size(results);
  std::filesystem::rename(kept, run.path + "/parts");
  const MergeReport report = merge_run_folder(run.path, Parts::remove, run.log);

  EXPECT_EQ(refusal.code, ExitCode::resources);
  EXPECT_EQ(bytes, 1000u);
  EXPECT_EQ(report.num_missing, 0);
  expect_results(run, results, {});
}

TEST(Merge, ResultsOfAnotherRunAreNotReplaced) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}});
  const std::string results = run.path + "/results.h5", other = folder / "other.h5";
  {
    RunFolder opened = run.open();
    write_part(run, opened, 0, {{0, 1}});
    run.merge(opened);
  }
  std::filesystem::rename(results, other);
  std::filesystem::remove_all(run.path);
  run.open();
  std::filesystem::rename(other, results);

  const Refused merging = refusal_of([&] { merge_run_folder(run.path, Parts::remove, run.log); });

  EXPECT_EQ(merging.code, ExitCode::usage);
  EXPECT_NE(merging.message.find("is not of run"), std::string::npos) << merging.message;
  EXPECT_EQ(refusal_of([&] { run.open(); }).code, ExitCode::usage);
}

/// A file of the same name in the folder where merge is called is not the run's input.
TEST(Merge, LooksForInputsWhereTheRunWasFirst) {
  const TemporaryFolder then, now;
  const auto paths = [&] {
    return input_paths_of({{"working_folder", then.path()}, {"input_files", {"inputs.h5"}}}, "");
  };
  std::ofstream(now / "inputs.h5") << "another";
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(now.path());
  const std::vector<std::string> absent = paths();
  std::ofstream(then / "inputs.h5") << "the one";
  const std::vector<std::string> there = paths();
  std::filesystem::current_path(before);

  std::filesystem::current_path(then.path());
  const std::vector<std::string> here = paths();  // the name as in /inputs/files
  std::filesystem::current_path(before);

  EXPECT_EQ(absent, std::vector<std::string>{"inputs.h5"});
  EXPECT_EQ(here, std::vector<std::string>{"inputs.h5"});
  EXPECT_EQ(there, std::vector<std::string>{then / "inputs.h5"});
}

TEST(Merge, KnowsHowManyRanksTheRunHad) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}});
  {
    RunFolder opened = run.open();
    PartWriter writer(run.options(opened, 0), run.layout);
    write_microbatch(writer, run.inputs, {0, 1});
    TimingRow row;
    row.microbatch = 0;
    row.seconds = 0.5;
    writer.append_timing({&row, 1});
    writer.close();
  }
  const MergeReport report = merge_run_folder(run.path, Parts::keep, run.log);
  const h5::File file = h5::File::open_to_read(report.path, ExitCode::input);
  const int ranks =
      run.header.grid.dp * run.header.grid.pp * run.header.grid.ep * run.header.grid.tp;
  const double rate = file.number_attribute("tokens_per_second", "/timing").value();

  EXPECT_GT(ranks, 1);
  EXPECT_DOUBLE_EQ(file.number_attribute("tokens_per_ms_per_rank", "/timing").value(),
                   rate / 1000 / ranks);
}

TEST(Merge, APartThatVanishedDuringTheRunIsNoInternalDefect) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = std::vector<std::uint64_t>(30, 2)});
  RunFolder opened = run.open();
  std::vector<std::int64_t> sequences(29);
  std::iota(sequences.begin(), sequences.end(), 1);
  write_part(run, opened, 0, {{0}});
  write_part(run, opened, 1, {sequences});
  flip_bit(run.path + "/parts/" + parts_in(run.path + "/parts").at(1), 2000, 1);

  const Refused refusal = refusal_of([&] { run.merge(opened); });

  EXPECT_EQ(refusal.code, ExitCode::resources);
  EXPECT_NE(refusal.message.find("no part holds 29 sequences"), std::string::npos);
  EXPECT_NE(refusal.message.find("id 101 (2 tokens)"), std::string::npos) << refusal.message;
  EXPECT_NE(refusal.message.find("id 110"), std::string::npos) << refusal.message;
  EXPECT_EQ(refusal.message.find("id 111"), std::string::npos) << refusal.message;
}

TEST(Merge, AlsoNothingAtAllMakesResults) {
  const TemporaryFolder folder;
  SmallRun run(folder, {}, all_outputs(small_spec()));
  RunFolder opened = run.open();

  const MergeReport report = run.merge(opened);

  EXPECT_EQ(report.num_ok, 0);
  EXPECT_NO_THROW(verify_results(report.path, run.log));
}

TEST(Merge, TimingRowsOfPartsAndOfTheEndFollowEachOther) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3}});
  RunFolder opened = run.open();
  TimingRow of_part, of_end;
  of_part.microbatch = 0;
  of_part.set_phase("attention");
  of_part.attempt = 1;
  of_part.microbatch = 0;
  of_part.start_s = 10;
  of_part.seconds = 2;
  of_end.set_phase("load");
  {
    PartWriter writer(run.options(opened, 0), run.layout);
    write_microbatch(writer, run.inputs, {0});
    writer.append_timing({&of_part, 1});
    writer.close();
  }

  TimingSummary summary;
  summary.attempt = 2;
  summary.wall_seconds = 2.5;
  summary.predicted = {{"predicted_ttft_seconds", 0.25}};
  const MergeReport report = merge(opened, run.inputs, run.layout, run.header, summary,
                                   {&of_end, 1}, Missing::refused, run.log);

  const h5::File file = h5::File::open_to_read(report.path, ExitCode::input);
  TimingRow rows[2];
  file.dataset("/timing/phases").read_records(0, 2, timing_fields(), sizeof(TimingRow), rows);
  EXPECT_STREQ(rows[0].phase, "attention");
  EXPECT_STREQ(rows[1].phase, "load");
  EXPECT_EQ(file.number_attribute("wall_seconds", "/timing"),
            4.5);  // a killed attempt has 2 s of it
  EXPECT_EQ(file.number_attribute("tokens_per_second", "/timing"), 3 / 4.5);
  EXPECT_EQ(file.number_attribute("predicted_ttft_seconds", "/timing"), 0.25);
  EXPECT_EQ(file.integer_attribute("tokens", "/timing"), std::vector<std::int64_t>{3});
}

TEST(Merge, ARunFolderAloneIsEnoughAndKeepsOrLosesItsParts) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}});
  {
    RunFolder opened = run.open();
    write_part(run, opened, 0, {{1}});
  }

  const MergeReport half = merge_run_folder(run.path, Parts::remove, run.log);
  {
    RunFolder opened = run.open();
    write_part(run, opened, 0, {{0}});
  }
  const MergeReport kept = merge_run_folder(run.path, Parts::keep, run.log);
  const std::size_t parts_kept = parts_in(run.path + "/parts").size();
  const MergeReport again = merge_run_folder(run.path, Parts::remove, run.log);

  EXPECT_EQ(half.num_missing, 1);
  EXPECT_EQ(kept.num_ok, 2);
  EXPECT_EQ(parts_kept, 2u);
  EXPECT_EQ(again.num_ok, 2);
  EXPECT_EQ(again.ok_tokens, 8);
  EXPECT_FALSE(std::filesystem::exists(run.path + "/parts"));
  expect_results(run, again.path, {});
}

TEST(Merge, ChangedInputsAreRefused) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}});
  run.open();
  write_inputs(folder / "inputs.h5", {.lengths = {3, 5}, .ids = {1, 2}});

  const Refused refusal = refusal_of([&] { merge_run_folder(run.path, Parts::keep, run.log); });

  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find("inputs have changed"), std::string::npos) << refusal.message;
}

TEST(Merge, MixedAttemptsAreNotReproducible) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3}});
  run.settings.mixable = {{"isa", "avx2"}};
  run.open();
  run.settings.mixable = {{"isa", "avx512"}};
  RunFolder opened = RunFolder::open(run.path, run.settings, {.allow_mixed = true}, run.log);
  write_part(run, opened, 0, {{0}});

  const MergeReport report = run.merge(opened);

  const h5::File file = h5::File::open_to_read(report.path, ExitCode::input);
  EXPECT_EQ(file.integer_attribute("reproducible"), std::vector<std::int64_t>{0});
}

TEST(Merge, PlainH5pyReadsEverything) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 0, 4}, .text_ids = {"x", "yy", "zzz"}},
               all_outputs(small_spec()));
  RunFolder opened = run.open();
  write_part(run, opened, 0, {{0, 2}});
  const MergeReport report = run.merge(opened);
  std::ofstream(folder / "check.py")
      << "import sys, h5py, numpy as np\n"
         "f = h5py.File(sys.argv[1])\n"
         "assert f.attrs['format'] == 'tetrarch-results' and f.attrs['status'] == 'complete'\n"
         "assert list(f.attrs['format_version']) == [1, 0] and f.attrs['ep'] == 2\n"
         "assert f.attrs['reproducible'] == 1 and f.attrs['reproducible'].dtype == np.uint8\n"
         "assert f['sequences/id'][2] == b'zzz' and list(f['sequences/offsets']) == [0, 3, 3, 7]\n"
         "assert f['sequences/offsets'].dtype == '<u8' and list(f['sequences/status']) == [0, 1, "
         "0]\n"
         "assert f['hidden/final'].dtype == '<u2' and f['hidden/final'].attrs['dtype'] == 'bf16'\n"
         "assert f['hidden/final'].chunks is None\n"
         "assert f['kv/01/v'].shape == (7, 4, 8) and f['kv/01/v'].attrs['dtype'] == 'bf16'\n"
         "assert f['topk/ids'].dtype == '<u4' and f['topk/logprobs'].shape == (7, 3)\n"
         "assert f['routing/tokens_per_expert'].dtype == '<u8'\n"
         "assert list(f['routing/tokens_per_expert'][:].sum(1)) == [14, 14]\n"
         "assert list(f['routing/dropped']) == [0, 0]\n"
         "t = f['logprobs/token'][:]\n"
         "assert np.isnan(t[0]) and np.isnan(t[3]) and not np.isnan(t[4:]).any()\n"
         "assert np.isclose(f['logprobs/sum'][2], t[4:7].astype('f8').sum())\n"
         "assert np.isnan(f['logprobs/sum'][1]) and f['logprobs/count'][1] == 0\n"
         "assert f['timing/phases'].dtype['phase'] == 'S16'\n"
         "assert 'ttft_seconds' in f['timing'].attrs\n"
         "f.visititems(lambda n, d: d.attrs['description'] if isinstance(d, h5py.Dataset) else "
         "0)\n";
  const std::string command =
      std::string(TETRARCH_PYTHON) + " " + (folder / "check.py") + " " + report.path;

  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace tetrarch::storage
