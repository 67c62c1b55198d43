// Verification accepts undamaged files and finds every kind of damage.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/verify.hpp"

#include <random>

#include "base/json.hpp"
#include "run_fixture.hpp"
#include "storage/files/checksum.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

/// A finished run of four sequences, of which one failed; its parts are kept.
struct VerifyTest : ::testing::Test {
  void SetUp() override {
    RunFolder opened = run.open();
    PartWriter writer(run.options(opened, 0), run.layout);
    write_microbatch(writer, run.inputs, {3, 0, 2});
    writer.close();
    results = run.merge(opened).path;
  }
  Refused verify(const std::string& path) {
    return refusal_of([&] { storage::verify(path, run.log); });
  }
  /// Overwrites bytes of a dataset from its byte `at` on; `with_checksum`: also its checksum, so
  /// that it fits.
  void overwrite(const std::string& path, std::int64_t at, const void* bytes, std::size_t count,
                 bool with_checksum) {
    const DatasetPlan& plan = run.layout[static_cast<std::size_t>(find_dataset(run.layout, path))];
    std::int64_t offset = 0;
    std::vector<std::byte> all;
    {
      const h5::File file = h5::File::open_to_read(results, ExitCode::input);
      const h5::Dataset dataset = file.dataset(path);
      offset = dataset.info().file_offset;
      all.resize(static_cast<std::size_t>(dataset.info().stored_bytes));
      dataset.read_all(plan.dtype, all.data());
    }
    std::memcpy(all.data() + at, bytes, count);
    std::fstream file(results, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset);
    file.write(reinterpret_cast<const char*>(all.data()), std::ssize(all));
    file.close();
    if (with_checksum) replace_checksum(path, hex_text(xxh3(all)));
  }
  /// Replaces the attribute xxh3 with h5py, because its object header has a checksum of its own.
  void replace_checksum(const std::string& path, const std::string& sum) {
    std::ofstream(folder / "edit.py") << "import sys, h5py, numpy as np\n"
                                         "f = h5py.File(sys.argv[1], 'r+')\n"
                                         "f[sys.argv[2]].attrs['xxh3'] = np.bytes_(sys.argv[3])\n";
    python("edit.py", path + " " + sum);
  }
  void python(const std::string& script, const std::string& arguments) {
    const std::string command =
        std::string(TETRARCH_PYTHON) + " " + (folder / script) + " " + results + " " + arguments;
    ASSERT_EQ(std::system(command.c_str()), 0);
  }

  TemporaryFolder folder, other;
  SmallRun run{
      folder, {.lengths = {3, 0, 4, 6}, .score_from = {0, 0, 2, 6}}, all_outputs(small_spec())};
  std::string results;
};

TEST_F(VerifyTest, SoundFilesAndFoldersPass) {
  for (const std::string& path : {results, run.path, folder / "inputs.h5",
                                  run.path + "/parts/" + parts_in(run.path + "/parts").at(0)})
    EXPECT_EQ(verify(path).message, "") << path;
}

TEST_F(VerifyTest, AFlippedBitOfAnyDatasetIsFoundAndNamed) {
  std::vector<std::pair<std::string, h5::Info>> datasets;
  {
    const h5::File file = h5::File::open_to_read(results, ExitCode::input);
    for (const std::string& path : file.list())
      datasets.emplace_back(path, file.dataset(path).info());
  }
  std::mt19937 random(2);
  int num_flipped = 0;

  for (const auto& [path, info] : datasets) {
    if (info.file_offset < 0) continue;
    const auto byte = info.file_offset + static_cast<std::int64_t>(random() % info.stored_bytes);
    flip_bit(results, byte, 5);
    const Refused refusal = verify(results);
    flip_bit(results, byte, 5);

    EXPECT_EQ(refusal.code, ExitCode::input) << path << refusal.message;
    EXPECT_NE(refusal.message.find(path), std::string::npos) << refusal.message;
    ++num_flipped;
  }
  EXPECT_GE(num_flipped, 16);
  EXPECT_EQ(verify(results).message, "");
}

TEST_F(VerifyTest, AFlippedBitInThePaddingOfATextIsFound) {
  std::int64_t byte = 0;
  {
    const h5::Info info =
        h5::File::open_to_read(results, ExitCode::input).dataset("/sequences/error").info();
    byte = info.file_offset + info.text_bytes - 1;  // sequence 0 is ok, its text is empty
  }

  flip_bit(results, byte, 0);

  const Refused refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find("/sequences/error"), std::string::npos) << refusal.message;
}

TEST_F(VerifyTest, ALogProbSumThatDoesNotAddUpIsANumericalFailure) {
  const double sum = -1;

  overwrite("/logprobs/sum", 0, &sum, sizeof sum, true);

  const Refused refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::numerical) << refusal.message;
  EXPECT_NE(refusal.message.find("sequence 0"), std::string::npos) << refusal.message;
}

TEST_F(VerifyTest, NanInASequenceThatIsOkIsANumericalFailure) {
  const std::uint16_t nan = 0x7fc0;

  overwrite("/hidden/00", 5 * 128, &nan, sizeof nan, true);

  const Refused refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::numerical) << refusal.message;
  EXPECT_NE(refusal.message.find("sequence 2 is ok, but row 2, column 0"), std::string::npos)
      << refusal.message;
}

TEST_F(VerifyTest, ANumberInAFailedSequenceIsANumericalFailure) {
  const float value = 1;

  overwrite("/last_logits", 1 * 512 * 4, &value, sizeof value, true);

  EXPECT_EQ(verify(results).code, ExitCode::numerical);
}

TEST_F(VerifyTest, TopKOutOfOrderIsANumericalFailure) {
  const std::uint32_t id = 31;  // at position 1 of sequence 2; its ids were 9, 20, 31

  overwrite("/topk/ids", 4 * 3 * 4, &id, sizeof id, true);

  const Refused refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::numerical) << refusal.message;
  EXPECT_NE(refusal.message.find("/topk/logprobs: row 1 of sequence 2 has an id twice"),
            std::string::npos)
      << refusal.message;
}

TEST_F(VerifyTest, FailedSequencesHoldTheFillValuesOfKeysAndTopK) {
  SmallRun failed(other, {.lengths = {3, 4}}, all_outputs(small_spec()));
  {
    RunFolder opened = failed.open();
    PartWriter writer(failed.options(opened, 0), failed.layout);
    const PartSequence sequences[2] = {{0, 3}, {1, 4}};
    writer.begin(sequences);
    write_rows(writer, failed.inputs, {0, 1});
    writer.set_status(1, SequenceStatus::not_finite, "not finite");
    writer.end();
    writer.close();
    results = failed.merge(opened).path;
  }
  const std::uint16_t one = 1;
  const std::uint32_t id = 7;

  EXPECT_EQ(verify(results).message, "");
  overwrite("/kv/01/v", 3 * 64, &one, sizeof one, true);
  const Refused values = verify(results);
  const std::uint16_t zero = 0;
  overwrite("/kv/01/v", 3 * 64, &zero, sizeof zero, true);
  overwrite("/topk/ids", 3 * 12, &id, sizeof id, true);
  const Refused ids = verify(results);

  EXPECT_NE(values.message.find("/kv/01/v: sequence 1 failed"), std::string::npos);
  EXPECT_NE(ids.message.find("/topk/ids: sequence 1 failed"), std::string::npos) << ids.message;
}

TEST_F(VerifyTest, CountsOfRoutingMustFitTheExpertsOfTheTokens) {
  const std::uint64_t count = 1000, dropped = 1;

  overwrite("/routing/dropped", 8, &dropped, sizeof dropped, true);
  EXPECT_EQ(verify(results).message, "");  // counts may include dropped copies
  overwrite("/routing/tokens_per_expert", 20 * 8, &count, sizeof count, true);

  const Refused refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::numerical) << refusal.message;
  EXPECT_NE(refusal.message.find("/routing: layer 1"), std::string::npos) << refusal.message;
}

TEST_F(VerifyTest, ExpertsThatTheModelLacksAreFound) {
  const std::uint16_t expert = 16;

  overwrite("/experts/01", 0, &expert, sizeof expert, true);

  const Refused refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::numerical) << refusal.message;
  EXPECT_NE(refusal.message.find("/experts/01: row 0 of sequence 0 has expert 16"),
            std::string::npos)
      << refusal.message;
}

TEST_F(VerifyTest, MissingThingsAreNamed) {
  const auto without = [&](const std::string& statement) {
    std::filesystem::copy_file(results, folder / "copy.h5",
                               std::filesystem::copy_options::overwrite_existing);
    std::ofstream(folder / "edit.py") << "import sys, h5py\nf = h5py.File(sys.argv[2], 'r+')\n"
                                      << statement << "\n";
    python("edit.py", folder / "copy.h5");
    return verify(folder / "copy.h5");
  };

  const Refused attribute = without("del f.attrs['weights_xxh3']");
  const Refused dataset = without("del f['logprobs/count']");
  const Refused description = without("del f['last_logits'].attrs['description']");
  const Refused shape = without("del f['last_logits']\nf['last_logits'] = [1.0]");
  const Refused axes = without(
      "a = f['kv/00/k'][:]\ndel f['kv/00/k']\n"
      "f['kv/00/k'] = a.reshape(13, 32)");
  const Refused values = without("del f['kv/01/v']");
  const Refused unknown = without("f['surprise'] = [1.0]");

  EXPECT_NE(attribute.message.find("weights_xxh3 is missing"), std::string::npos);
  EXPECT_NE(dataset.message.find("/logprobs/count"), std::string::npos);
  EXPECT_NE(description.message.find("description is missing"), std::string::npos);
  EXPECT_NE(shape.message.find("/last_logits"), std::string::npos);
  EXPECT_NE(axes.message.find("/kv/00/k: shape [13, 32]"), std::string::npos) << axes.message;
  EXPECT_NE(values.message.find("/kv/01/v"), std::string::npos);
  EXPECT_NE(unknown.message.find("/surprise"), std::string::npos);
  for (const Refused* each : {&attribute, &dataset, &description, &shape, &axes, &values, &unknown})
    EXPECT_EQ(each->code, ExitCode::input) << each->message;
}

TEST_F(VerifyTest, ADamagedPartIsFoundAndLeftWhereItIs) {
  const std::string part = run.path + "/parts/" + parts_in(run.path + "/parts").at(0);

  flip_bit(part, 3000, 1);

  EXPECT_EQ(verify(run.path).code, ExitCode::input);
  EXPECT_TRUE(std::filesystem::exists(part));
}

TEST_F(VerifyTest, AnIncompleteRunSaysWhatIsMissing) {
  std::filesystem::remove(results);
  const Refused not_merged = verify(run.path);
  std::filesystem::remove_all(run.path + "/parts");
  const Refused nothing = verify(run.path);
  {
    RunFolder opened = run.open();
    run.merge(opened, Missing::allowed);
  }
  const Refused incomplete = verify(results);

  EXPECT_EQ(not_merged.code, ExitCode::stopped_early);
  EXPECT_NE(not_merged.message.find("results.h5 is not made"), std::string::npos);
  EXPECT_EQ(nothing.code, ExitCode::stopped_early);
  EXPECT_NE(nothing.message.find("3 sequences are not done"), std::string::npos);
  EXPECT_NE(nothing.message.find("id 100 (3 tokens)"), std::string::npos) << nothing.message;
  EXPECT_EQ(incomplete.code, ExitCode::stopped_early);
}

TEST_F(VerifyTest, ResultsOfAnotherRunInTheFolderAreFound) {
  base::Json json = read_run_json(run.path);
  json["run_uuid"] = "another";
  write_atomically(run.path + "/run.json", json.dump());
  std::filesystem::remove_all(run.path + "/parts");

  const Refused refusal = verify(run.path);

  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find("belongs to run"), std::string::npos) << refusal.message;
}

TEST_F(VerifyTest, WhatIsNotOursIsRefusedWithTheCodeThatItsNameSuggests) {
  std::ofstream(folder / "weights.h5") << "x";
  std::ofstream(folder / "other.h5") << "x";
  h5::File::create(folder / "plain.h5").close();

  EXPECT_EQ(verify(folder / "weights.h5").code, ExitCode::weights);
  EXPECT_EQ(verify(folder / "other.h5").code, ExitCode::input);
  EXPECT_EQ(verify(folder / "plain.h5").code, ExitCode::input);
  EXPECT_EQ(verify(folder / "absent.h5").code, ExitCode::input);
  EXPECT_EQ(verify(folder.path()).code, ExitCode::input);
}

TEST(Verify, JsonLinesAreReadAndRefusedAsARunWould) {
  const TemporaryFolder folder;
  base::Log log(base::Log::Sink::none);
  const std::string sound = folder / "sound.jsonl", twice = folder / "twice.jsonl";
  const std::string line = "{\"id\": 1, \"text\": \"a\"}\n";
  std::ofstream(sound) << line;
  std::ofstream(twice) << line << line;

  EXPECT_EQ(refusal_of([&] { verify(sound, log); }).message, "");
  EXPECT_EQ(refusal_of([&] { verify(twice, log); }).code, ExitCode::input);
}

}  // namespace
}  // namespace tetrarch::storage
