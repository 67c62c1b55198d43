// The run folder: its lock, its settings on resume, and which sequences count as done.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/run_folder.hpp"

#include <chrono>
#include <optional>
#include <thread>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/text.hpp"
#include "run_fixture.hpp"
#include "storage/run/verify.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using base::Json;

RunSettings settings_of(const Json& frozen, const Json& mixable = Json::object()) {
  RunSettings settings;
  settings.frozen = frozen;
  settings.mixable = mixable;
  return settings;
}

struct RunFolderTest : ::testing::Test {
  RunFolder open(const RunSettings& given, const RunFolderOptions& options = {}) {
    return RunFolder::open(path, given, options, log);
  }
  TemporaryFolder folder;
  std::string path = folder / "deep/run";
  base::Log log{base::Log::Sink::none};
  RunSettings settings = settings_of({{"weights", {{"xxh3", "aa"}}},
                                      {"inputs", {{"xxh3", "bb"}}},
                                      {"outputs", {"logprobs"}},
                                      {"dtype", "bf16"}},
                                     {{"version", "1"}, {"isa", "avx2"}});
};

TEST_F(RunFolderTest, TheFirstStartMakesItAndTheNextOnesResume) {
  std::string uuid;
  {
    const RunFolder first = open(settings);
    EXPECT_EQ(first.attempt(), 1);
    uuid = first.run_uuid();
  }

  RunSettings again = settings;
  again.facts = {{"command_line", "again"}};
  const RunFolder second = open(again);

  EXPECT_EQ(second.attempt(), 2);
  EXPECT_EQ(second.run_uuid(), uuid);
  EXPECT_EQ(second.facts()["command_line"], "again");
  EXPECT_EQ(read_run_json(path)["attempt"], 2);
}

TEST_F(RunFolderTest, AChangedFrozenSettingIsRefusedWithTheCodeOfItsKind) {
  open(settings);
  const auto refusal = [&](const char* key, const Json& value) {
    RunSettings changed = settings;
    changed.frozen[key] = value;
    return refusal_of([&] { open(changed); });
  };

  const Refused weights = refusal("weights", {{"xxh3", "cc"}});
  const Refused inputs = refusal("inputs", {{"xxh3", "cc"}});
  const Refused dtype = refusal("dtype", "f32");
  const Refused added = refusal("pooling", "mean");

  EXPECT_EQ(weights.code, ExitCode::weights);
  EXPECT_NE(weights.message.find("weights.xxh3: was \"aa\", is \"cc\""), std::string::npos)
      << weights.message;
  EXPECT_EQ(inputs.code, ExitCode::input);
  EXPECT_EQ(dtype.code, ExitCode::usage);
  EXPECT_NE(dtype.message.find("dtype: was \"bf16\", is \"f32\""), std::string::npos);
  EXPECT_EQ(added.code, ExitCode::usage);
  EXPECT_NE(added.message.find("pooling: was absent, is \"mean\""), std::string::npos);
  EXPECT_EQ(open(settings).attempt(), 2) << "refused attempts do not count";
}

TEST_F(RunFolderTest, MixedBuildsNeedPermissionAndAreRememberedForEver) {
  open(settings);
  RunSettings other = settings;
  other.mixable["isa"] = "avx512";

  const Refused refusal = refusal_of([&] { open(other); });
  const bool is_mixed = open(other, {.allow_mixed = true}).is_mixed();
  const bool stays_mixed = open(settings).is_mixed();

  EXPECT_EQ(refusal.code, ExitCode::usage);
  EXPECT_NE(refusal.message.find("--allow-mixed"), std::string::npos) << refusal.message;
  EXPECT_TRUE(is_mixed);
  EXPECT_TRUE(stays_mixed);
}

TEST_F(RunFolderTest, ASecondHolderIsRefusedAfterTheWaitNamingTheFirst) {
  const RunFolder first = open(settings);
  const auto begin = std::chrono::steady_clock::now();

  const Refused refusal = refusal_of([&] { open(settings, {.lock_wait_s = 0.3}); });

  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(refusal.code, ExitCode::resources);
  EXPECT_NE(refusal.message.find("process " + std::to_string(::getpid()) + " on host "),
            std::string::npos)
      << refusal.message;
  EXPECT_GE(waited.count(), 0.3);
  EXPECT_LT(waited.count(), 3);
}

/// Starts a process that holds the folder until it is killed. It writes a byte to `ready` when it
/// holds the folder.
pid_t hold(const std::string& path, const RunSettings& settings, int ready) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  base::Log log(base::Log::Sink::none);
  const RunFolder held = RunFolder::open(path, settings, {}, log);
  if (::write(ready, "x", 1) != 1) ::_exit(1);
  for (;;)
    ::pause();
}

TEST_F(RunFolderTest, TheLockOfAKilledProcessIsTakenOver) {
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t child = hold(path, settings, pipe[1]);
  char letter = 0;
  ASSERT_EQ(::read(pipe[0], &letter, 1), 1);
  const Refused while_alive = refusal_of([&] { open(settings, {.lock_wait_s = 0}); });

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const RunFolder taken = open(settings, {.lock_wait_s = 0});

  EXPECT_EQ(while_alive.code, ExitCode::resources);
  EXPECT_NE(while_alive.message.find(std::to_string(child)), std::string::npos);
  EXPECT_EQ(taken.attempt(), 2);
}

TEST_F(RunFolderTest, ADyingHolderIsWaitedFor) {
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t child = hold(path, settings, pipe[1]);
  char letter = 0;
  ASSERT_EQ(::read(pipe[0], &letter, 1), 1);
  const pid_t killer = ::fork();
  if (killer == 0) {
    ::usleep(300'000);
    ::kill(child, SIGKILL);
    ::_exit(0);
  }

  const RunFolder taken = open(settings, {.lock_wait_s = 10});

  EXPECT_EQ(taken.attempt(), 2);
  ::waitpid(killer, nullptr, 0);
  ::waitpid(child, nullptr, 0);
}

TEST_F(RunFolderTest, AFolderOfSomethingElseIsRefusedAndLeftAsItIs) {
  std::filesystem::create_directory(folder / "checkpoint");
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "vocab.json"})
    std::ofstream(folder / "checkpoint/" + name) << "mine";
  std::filesystem::create_directory(folder / "empty");
  std::filesystem::create_directories(folder / "killed/parts");  // killed before it had a run.json
  std::ofstream(folder / "killed/lock") << "";

  const Refused refusal =
      refusal_of([&] { RunFolder::open(folder / "checkpoint", settings, {}, log); });
  RunFolder::open(folder / "empty", settings, {}, log);
  RunFolder::open(folder / "killed", settings, {}, log);
  const RunFolder again = RunFolder::open(folder / "empty", settings, {}, log);

  EXPECT_EQ(refusal.code, ExitCode::usage);
  EXPECT_NE(refusal.message.find("not empty and is no run folder (it has config.json, "
                                 "model.safetensors, tokenizer.json, ..., but no run.json)"),
            std::string::npos)
      << refusal.message;
  EXPECT_EQ(names_in(folder / "checkpoint").size(), 4u);
  EXPECT_EQ(again.attempt(), 2);
}

TEST_F(RunFolderTest, AFileInTheWayIsRefused) {
  std::ofstream(folder / "file") << "x";
  std::filesystem::create_directories(folder / "other");
  std::ofstream(folder / "other/parts") << "x";
  const Refused file = refusal_of([&] { RunFolder::open(folder / "file", settings, {}, log); });
  const Refused parts = refusal_of([&] { RunFolder::open(folder / "other", settings, {}, log); });

  EXPECT_EQ(file.code, ExitCode::resources);
  EXPECT_EQ(parts.code, ExitCode::resources);
}

TEST_F(RunFolderTest, ALockThatIsALinkIsNotFollowed) {
  std::filesystem::create_directories(path);
  std::ofstream(folder / "precious") << "keep me";
  std::filesystem::create_symlink(folder / "precious", path + "/lock");

  EXPECT_EQ(refusal_of([&] { open(settings); }).code, ExitCode::resources);
  EXPECT_EQ(read_text_file(folder / "precious", 100), "keep me");
}

TEST_F(RunFolderTest, ResultsOfAnUnknownRunAreNotOverwritten) {
  std::filesystem::create_directories(path);
  std::ofstream(path + "/results.h5") << "x";

  EXPECT_EQ(refusal_of([&] { open(settings); }).code, ExitCode::usage);
}

TEST_F(RunFolderTest, ABrokenRunJsonIsRefused) {
  open(settings);
  std::ofstream(path + "/run.json") << "{\"format\": \"tetrarch-run\"}";
  const Refused lacking = refusal_of([&] { open(settings); });
  std::ofstream(path + "/run.json") << "{";
  const Refused torn = refusal_of([&] { open(settings); });

  EXPECT_EQ(lacking.code, ExitCode::input);
  EXPECT_EQ(torn.code, ExitCode::input);
}

TEST_F(RunFolderTest, AnotherFolderOrAPipeIsNoRecordOfARun) {
  std::filesystem::create_directories(path);
  const Refused other = refusal_of([&] { read_run_json(path); });
  ASSERT_EQ(::mkfifo((path + "/run.json").c_str(), 0666), 0);
  const Refused pipe = refusal_of([&] { read_run_json(path); });

  EXPECT_EQ(other.code, ExitCode::input);
  EXPECT_NE(other.message.find("no run folder"), std::string::npos) << other.message;
  EXPECT_EQ(pipe.code, ExitCode::input);
  EXPECT_NE(pipe.message.find("no regular file"), std::string::npos) << pipe.message;
}

TEST_F(RunFolderTest, ARunJsonWithAValueOfAnotherKindIsRefused) {
  open(settings);
  const Json sound = Json::parse(std::ifstream(path + "/run.json"));
  const std::pair<const char*, Json> changes[] = {
      {"attempt", 2147483647}, {"attempt", -1},
      {"attempt", 1e300},      {"is_mixed", "no"},
      {"frozen", 1},           {"facts", {{"ep_set", 4294967298}}},
      {"run_uuid", nullptr},   {"facts", {{"ep_set", 1.5}}}};
  for (const auto& [key, value] : changes) {
    Json changed = sound;
    changed[key] = value;
    std::ofstream(path + "/run.json") << changed;

    EXPECT_EQ(refusal_of([&] { open(settings); }).code, ExitCode::input) << key << value;
  }
}

TEST_F(RunFolderTest, AHolderThatWroteNonsenseIsNamedAllTheSame) {
  const RunFolder first = open(settings);
  for (const char* text : {R"({"pid": "x", "host": [1], "started_utc": 3})", "{}", "[1]", "{",
                           R"({"pid": 1e999})", R"({"host": "\u001b[2J"})"}) {
    std::ofstream(path + "/lock") << text;

    const Refused refusal = refusal_of([&] { open(settings, {.lock_wait_s = 0}); });

    EXPECT_EQ(refusal.code, ExitCode::resources) << text;
    EXPECT_NE(refusal.message.find("locked by"), std::string::npos) << refusal.message;
    EXPECT_TRUE(base::is_printable(refusal.message)) << text;
  }
}

TEST_F(RunFolderTest, LeftoversOfAKilledAttemptAndItsStopRequestAreRemoved) {
  open(settings);
  for (const char* name : {"/.tmp-results.h5", "/parts/.tmp-d000-e000-a001-000000-7.h5", "/stop"})
    std::ofstream(path + name) << "torn";

  const RunFolder again = open(settings);

  EXPECT_EQ(names_in(path), (std::vector<std::string>{"lock", "parts", "run.json"}));
  EXPECT_TRUE(parts_in(path + "/parts").empty());
  EXPECT_FALSE(again.stop_requested());
  std::ofstream(path + "/stop") << "";
  EXPECT_TRUE(again.stop_requested());
}

/// A run folder with two parts, with sequences {0, 2} and {1}.
struct PartsTest : ::testing::Test {
  PartsTest() {
    RunFolder opened = run.open();
    for (const auto& [ep, sequences] : {std::pair{0, std::vector<std::int64_t>{0, 2}}, {1, {1}}}) {
      PartWriter writer(run.options(opened, ep), run.layout);
      write_microbatch(writer, run.inputs, sequences);
      writer.close();
    }
    parts = parts_in(run.path + "/parts");
  }
  std::string part(std::size_t i) const { return run.path + "/parts/" + parts.at(i); }
  TemporaryFolder folder;
  SmallRun run{folder, {.lengths = {3, 5, 4, 2}}};
  std::vector<std::string> parts;
};

TEST_F(PartsTest, CommittedSequencesAreFoundWithTheirParts) {
  const Committed committed = run.open().committed(run.log);

  ASSERT_EQ(committed.parts.size(), 2u);
  ASSERT_EQ(committed.sequences.size(), 3u);
  EXPECT_EQ(committed.find(1)->part, 1);
  EXPECT_EQ(committed.find(2)->entry.token_row, 3);
  EXPECT_FALSE(committed.has(3));
}

TEST_F(PartsTest, ADamagedPartIsMovedAwayAndItsSequencesAreDoneAgain) {
  flip_bit(part(0), 2000, 3);

  const Committed committed = run.open().committed(run.log);

  EXPECT_FALSE(committed.has(0));
  EXPECT_TRUE(committed.has(1));
  EXPECT_FALSE(committed.has(2));
  EXPECT_EQ(parts_in(run.path + "/parts"),
            (std::vector<std::string>{parts[1], "damaged-" + parts[0]}));
}

TEST_F(PartsTest, TheSequencesOfADeletedPartAreDoneAgain) {
  std::filesystem::remove(part(0));

  RunFolder again = run.open();
  const Committed before = again.committed(run.log);
  PartWriter writer(run.options(again, 0), run.layout);
  write_microbatch(writer, run.inputs, {0, 2});
  writer.close();
  const Committed after = again.committed(run.log);

  EXPECT_FALSE(before.has(0));
  EXPECT_TRUE(before.has(1));
  EXPECT_FALSE(before.has(2));
  for (const std::int64_t sequence : {0, 1, 2})
    EXPECT_TRUE(after.has(sequence)) << sequence;
}

TEST_F(PartsTest, TruncatedAndForeignFilesAreMovedAway) {
  std::filesystem::resize_file(part(1), 1000);
  std::filesystem::copy_file(folder / "inputs.h5", run.path + "/parts/inputs.h5");

  const Committed committed = run.open().committed(run.log);

  EXPECT_EQ(committed.parts.size(), 1u);
  EXPECT_FALSE(committed.has(1));
  EXPECT_EQ(parts_in(run.path + "/parts"),
            (std::vector<std::string>{parts[0], "damaged-" + parts[1], "damaged-inputs.h5"}));
}

TEST_F(PartsTest, APartOfAnotherRunIsMovedAway) {
  const TemporaryFolder elsewhere;
  SmallRun other{elsewhere, {.lengths = {3, 5, 4, 2}}};
  {
    RunFolder opened = other.open();
    PartWriter writer(other.options(opened, 7), other.layout);
    write_microbatch(writer, other.inputs, {3});
    writer.close();
  }
  const std::string name = parts_in(other.path + "/parts").at(0);
  std::filesystem::copy_file(other.path + "/parts/" + name, run.path + "/parts/" + name);

  const Committed committed = run.open().committed(run.log);

  EXPECT_FALSE(committed.has(3));
  EXPECT_TRUE(std::filesystem::exists(run.path + "/parts/damaged-" + name));
}

TEST_F(PartsTest, OfASequenceInTwoPartsTheFirstCounts) {
  RunFolder again = run.open();
  PartWriter writer(run.options(again, 0), run.layout);
  write_microbatch(writer, run.inputs, {2, 3});
  writer.close();

  const Committed committed = again.committed(run.log);

  ASSERT_EQ(committed.sequences.size(), 4u);
  EXPECT_EQ(committed.find(2)->part, 0);
  EXPECT_EQ(committed.find(3)->part, 1);
  EXPECT_EQ(committed.num_twice, 1);
}

TEST_F(PartsTest, AnErrorCountsWithItsSequence) {
  RunFolder again = run.open();
  const auto write = [&](int ep, std::int64_t good, std::int64_t failed, const char* error) {
    PartWriter writer(run.options(again, ep), run.layout);
    const PartSequence sequences[2] = {{good, run.inputs.length(good)},
                                       {failed, run.inputs.length(failed)}};
    writer.begin(sequences);
    write_rows(writer, run.inputs, {good, failed});
    writer.set_status(failed, SequenceStatus::not_finite, error);
    writer.end();
    writer.close();
  };
  write(0, 0, 3, "counts");
  write(2, 3, 2, "does not");  // both sequences are in earlier parts

  const Committed committed = again.committed(run.log);

  EXPECT_EQ(committed.find(2)->entry.status, SequenceStatus::ok);
  EXPECT_EQ(committed.find(3)->entry.status, SequenceStatus::not_finite);
  EXPECT_EQ(committed.errors, (std::map<std::int64_t, std::string>{{3, "counts"}}));
}

TEST_F(PartsTest, AnUnfinishedPartDoesNotCount) {
  RunFolder again = run.open();
  PartWriter writer(run.options(again, 0), run.layout);
  write_microbatch(writer, run.inputs, {3});

  EXPECT_FALSE(again.committed(run.log).has(3));
  writer.commit();
  EXPECT_TRUE(again.committed(run.log).has(3));
}

TEST_F(PartsTest, ALaterAttemptEndsTheEarlierOnesPowerToCommit) {
  std::optional<RunFolder> earlier = run.open();
  PartWriter begun(run.options(*earlier, 0), run.layout),
      idle(run.options(*earlier, 1), run.layout);
  write_microbatch(begun, run.inputs, {3});
  earlier.reset();  // rank 0 has ended, but these two writers have not

  RunFolder later = run.open();

  EXPECT_THROW(begun.commit(), base::SystemError);
  EXPECT_THROW(write_microbatch(idle, run.inputs, {3}), base::SystemError);
  EXPECT_EQ(parts_in(run.path + "/parts"), parts);
  EXPECT_FALSE(later.committed(run.log).has(3));
}

TEST_F(PartsTest, APartThatCannotBeReadIsNoDamagedPart) {
  const std::string name = "d000-e007-a001-000000-0123456789abcdef.h5";
  std::filesystem::create_directory(run.path + "/parts/" + name);
  RunFolder again = run.open();

  EXPECT_THROW(again.committed(run.log), base::SystemError);

  EXPECT_TRUE(std::filesystem::exists(run.path + "/parts/" + name));
}

TEST_F(PartsTest, PartsThatAKilledAttemptLeftBesideItsResultsAreRemovedUnlessTheyAreKept) {
  {
    RunFolder again = run.open();
    PartWriter writer(run.options(again, 0), run.layout);
    write_microbatch(writer, run.inputs, {3});
    writer.close();
    run.merge(again);
  }

  const bool is_complete =
      RunFolder::open(run.path, run.settings, {.keep_parts = true}, run.log).is_complete();
  const std::size_t num_kept = parts_in(run.path + "/parts").size();
  run.open();

  EXPECT_TRUE(is_complete);
  EXPECT_EQ(num_kept, 3u);
  EXPECT_FALSE(std::filesystem::exists(run.path + "/parts"));
  EXPECT_FALSE(std::filesystem::exists(run.path + "/lock"));
}

TEST_F(PartsTest, PartsThatAreListedLateAreWaitedFor) {
  RunFolder again = RunFolder::open(run.path, run.settings, {.parts_wait_s = 20}, run.log);
  const std::string hidden = folder / "hidden";
  std::filesystem::rename(part(1), hidden);
  const bool was_seen = again.committed(run.log).has(1);
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    std::filesystem::rename(hidden, part(1));
  });

  const bool is_other = again.wait_for_parts(run.log);
  const bool is_seen = again.committed(run.log).has(1);

  late.join();
  EXPECT_FALSE(was_seen);
  EXPECT_TRUE(is_other);
  EXPECT_TRUE(is_seen);
}

/// Two ep ranks with three microbatches each: sequences {0}, {2}, {3} on ep rank 0, and {1}, {}, {}
/// on ep rank 1. Each microbatch is a part.
struct SetsTest : ::testing::Test {
  SetsTest() {
    run.settings.facts["ep_set"] = 2;
    RunFolder opened = run.open();
    const std::vector<std::vector<std::int64_t>> of_rank[2] = {{{0}, {2}, {3}}, {{1}, {}, {}}};
    for (int ep = 0; ep < 2; ++ep) {
      PartWriter writer(run.options(opened, ep), run.layout);
      for (const auto& sequences : of_rank[ep]) {
        write_microbatch(writer, run.inputs, sequences);
        writer.commit();
      }
    }
    parts = parts_in(run.path + "/parts");
  }
  std::string part(int ep, int number) const {
    return run.path + "/parts/" + parts.at(static_cast<std::size_t>(3 * ep + number));
  }
  TemporaryFolder folder;
  SmallRun run{folder, {.lengths = {3, 5, 4, 2}}};
  std::vector<std::string> parts;
};

TEST_F(SetsTest, WholeSetsCount) {
  const Committed committed = run.open().committed(run.log);

  EXPECT_EQ(committed.parts.size(), 6u);
  EXPECT_EQ(committed.sequences.size(), 4u);
  EXPECT_EQ(parts_in(run.path + "/parts"), parts);
}

TEST_F(SetsTest, ASetThatLacksAPartIsRemovedAndItsSequencesAreDoneAgain) {
  std::filesystem::remove(part(1, 0));
  std::filesystem::remove(part(1, 1));  // an empty part is needed too

  const Committed committed = run.open().committed(run.log);

  EXPECT_FALSE(committed.has(0));
  EXPECT_FALSE(committed.has(1));
  EXPECT_FALSE(committed.has(2));
  EXPECT_TRUE(committed.has(3));
  EXPECT_EQ(parts_in(run.path + "/parts"), (std::vector<std::string>{parts[2], parts[5]}));
}

TEST_F(SetsTest, ADamagedPartTakesItsSetWithIt) {
  flip_bit(part(1, 0), 2000, 3);

  const Committed committed = run.open().committed(run.log);

  EXPECT_FALSE(committed.has(0));
  EXPECT_FALSE(committed.has(1));
  EXPECT_TRUE(committed.has(2));
  EXPECT_TRUE(std::filesystem::exists(run.path + "/parts/damaged-" + parts[3]));
  EXPECT_FALSE(std::filesystem::exists(part(0, 0)));
}

TEST_F(SetsTest, AttemptsAndInstancesDoNotCompleteEachOther) {
  std::filesystem::remove(part(1, 2));
  RunFolder again = run.open();
  PartOptions other_instance = run.options(again, 1);
  other_instance.dp = 1;
  for (const PartOptions& options : {run.options(again, 1), other_instance}) {
    PartWriter writer(options, run.layout);
    for (int number = 0; number < 3; ++number) {
      write_microbatch(writer, run.inputs, {});
      writer.commit();
    }
  }

  const Committed committed = again.committed(run.log);

  EXPECT_FALSE(committed.has(3));
  EXPECT_EQ(parts_in(run.path + "/parts"),
            (std::vector<std::string>{parts[0], parts[1], parts[3], parts[4]}));
}

TEST_F(SetsTest, APartOfARankThatTheRunDoesNotHaveIsSetAside) {
  const std::string name = std::filesystem::path(part(1, 0)).filename();
  std::string forged = name;
  forged.replace(forged.find("-e001"), 5, "-e002");
  std::filesystem::copy(part(1, 0), run.path + "/parts/" + forged);

  RunFolder opened = run.open();
  const Committed committed = opened.committed(run.log);

  EXPECT_EQ(committed.parts.size(), 6u);
  EXPECT_EQ(committed.sequences.size(), 4u);
  EXPECT_FALSE(std::filesystem::exists(run.path + "/parts/" + forged));
  EXPECT_TRUE(std::filesystem::exists(run.path + "/parts/damaged-" + forged));
}

TEST_F(SetsTest, WithoutCapacityEachPartCountsAlone) {
  run.settings.facts.erase("ep_set");
  std::filesystem::remove(part(1, 0));

  RunFolder opened = run.open();

  EXPECT_TRUE(opened.committed(run.log).has(0));
}

TEST_F(SetsTest, VerifyLeavesAnUnfinishedSetAndCountsItAsNotDone) {
  std::filesystem::remove(part(1, 0));

  const Refused refusal = refusal_of([&] { verify(run.path, run.log); });

  EXPECT_EQ(refusal.code, ExitCode::stopped_early);
  EXPECT_NE(refusal.message.find("2 sequences are not done"), std::string::npos) << refusal.message;
  EXPECT_TRUE(std::filesystem::exists(part(0, 0)));
}

TEST_F(SetsTest, APartThatIsListedLateIsWaitedForWhileItsCompanionsStay) {
  RunFolder opened = RunFolder::open(run.path, run.settings, {.parts_wait_s = 20}, run.log);
  const std::string hidden = folder / "hidden";
  std::filesystem::rename(part(1, 0), hidden);
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    std::filesystem::rename(hidden, part(1, 0));
  });

  const MergeReport report = run.merge(opened);

  late.join();
  EXPECT_EQ(report.num_ok, 4);
}

TEST_F(SetsTest, MergeOfAFolderCountsWholeSetsAlone) {
  std::filesystem::remove(part(1, 0));

  const MergeReport report = merge_run_folder(run.path, Parts::keep, run.log);

  EXPECT_EQ(report.num_ok, 2);
  EXPECT_EQ(report.num_missing, 2);
}

/// Starts a process that commits one part after another until it is killed. It writes each sequence
/// to `told` after its part is committed.
pid_t write_for_ever(SmallRun& run, std::int64_t begin, int told) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const RunFolder held = run.open();
  PartWriter writer(run.options(held, 0), run.layout);
  for (std::int64_t sequence = begin; sequence < run.inputs.count(); ++sequence) {
    write_microbatch(writer, run.inputs, {sequence});
    writer.commit();
    if (::write(told, &sequence, sizeof sequence) != sizeof sequence) ::_exit(1);
  }
  for (;;)
    ::pause();
}

TEST(KilledWriter, LosesNothingThatItHasCommitted) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = std::vector<std::uint64_t>(2000, 5)});
  std::int64_t next = 0;

  for (int trial = 0; trial < 10; ++trial) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = write_for_ever(run, next, pipe[1]);
    ::close(pipe[1]);
    std::int64_t last = -1;
    ASSERT_EQ(::read(pipe[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
    ::usleep(static_cast<useconds_t>(3000 + 1700 * trial));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (::read(pipe[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last))
      continue;
    ::close(pipe[0]);

    const Committed committed = run.open().committed(run.log);

    for (std::int64_t sequence = 0; sequence <= last; ++sequence)
      ASSERT_TRUE(committed.has(sequence)) << "trial " << trial << ", sequence " << sequence;
    next = std::ssize(committed.sequences);
    ASSERT_LE(next, last + 2) << "at most one part was committed and not told";
    for (const std::string& name : parts_in(run.path + "/parts"))
      EXPECT_TRUE(parse_part_name(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace tetrarch::storage
