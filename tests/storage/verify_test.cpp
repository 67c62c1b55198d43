// Verification: passes what is sound, and finds every kind of harm.
// SPDX-License-Identifier: Apache-2.0
#include "storage/verify.hpp"

#include <random>

#include "base/json.hpp"
#include "run_fixture.hpp"
#include "storage/checksum.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

/// A finished run of four sequences, one of them failed; parts are kept.
struct VerifyTest : ::testing::Test {
  void SetUp() override {
    RunFolder opened = run.open();
    PartWriter writer(run.options(opened, 0), run.layout);
    write_microbatch(writer, run.inputs, {3, 0, 2});
    writer.close();
    results = run.merge(opened).path;
  }
  Refusal verify(const std::string& path) {
    return refusal_of([&] { storage::verify(path, run.log); });
  }
  /// Puts other bytes at the place of a dataset, with or without a checksum that fits.
  void overwrite(const std::string& path, std::int64_t at, const void* bytes, std::size_t count,
                 bool with_checksum) {
    const DatasetPlan& plan = run.layout[static_cast<std::size_t>(find_dataset(run.layout, path))];
    std::int64_t offset = 0;
    std::vector<std::byte> all;
    std::string old_sum;
    {
      const h5::File file = h5::File::open_to_read(results, ExitCode::input);
      const h5::Dataset dataset = file.dataset(path);
      offset = dataset.info().file_offset;
      all.resize(static_cast<std::size_t>(dataset.info().stored_bytes));
      dataset.read_all(plan.dtype, all.data());
      old_sum = *dataset.text_attribute("xxh3");
    }
    std::memcpy(all.data() + at, bytes, count);
    std::fstream file(results, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset);
    file.write(reinterpret_cast<const char*>(all.data()), std::ssize(all));
    file.close();
    if (with_checksum) replace_text(old_sum, hex_text(xxh3(all)));
  }
  /// The attribute's object header has a checksum of its own, so h5py rewrites it.
  void replace_text(const std::string& from, const std::string& to) {
    std::ofstream(folder / "edit.py") << "import sys, h5py, numpy as np\n"
                                         "f = h5py.File(sys.argv[1], 'r+')\n"
                                         "def visit(n, d):\n"
                                         "    if d.attrs.get('xxh3') == sys.argv[2].encode():\n"
                                         "        d.attrs['xxh3'] = np.string_(sys.argv[3])\n"
                                         "f.visititems(visit)\n";
    python("edit.py", from + " " + to);
  }
  void python(const std::string& script, const std::string& arguments) {
    const std::string command =
        std::string(TETRARCH_PYTHON) + " " + (folder / script) + " " + results + " " + arguments;
    ASSERT_EQ(std::system(command.c_str()), 0);
  }

  TemporaryFolder folder;
  SmallRun run{
      folder, {.lengths = {3, 0, 4, 6}, .score_from = {0, 0, 2, 6}}, all_outputs(small_spec())};
  std::string results;
};

TEST_F(VerifyTest, SoundFilesAndFoldersPass) {
  for (const std::string& path : {results, run.path, folder / "inputs.h5",
                                  run.path + "/parts/" + names_in(run.path + "/parts").at(0)})
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
    const Refusal refusal = verify(results);
    flip_bit(results, byte, 5);

    EXPECT_EQ(refusal.code, ExitCode::input) << path << refusal.message;
    EXPECT_NE(refusal.message.find(path), std::string::npos) << refusal.message;
    ++num_flipped;
  }
  EXPECT_GE(num_flipped, 16);
  EXPECT_EQ(verify(results).message, "");
}

TEST_F(VerifyTest, ALogProbSumThatDoesNotAddUpIsANumericalFailure) {
  const double sum = -1;

  overwrite("/logprobs/sum", 0, &sum, sizeof sum, true);

  const Refusal refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::numerical) << refusal.message;
  EXPECT_NE(refusal.message.find("sequence 0"), std::string::npos) << refusal.message;
}

TEST_F(VerifyTest, NanInASequenceThatIsOkIsANumericalFailure) {
  const std::uint16_t nan = 0x7fc0;

  overwrite("/hidden/00", 5 * 128, &nan, sizeof nan, true);

  const Refusal refusal = verify(results);
  EXPECT_EQ(refusal.code, ExitCode::numerical) << refusal.message;
  EXPECT_NE(refusal.message.find("sequence 2 is ok, but row 2, column 0"), std::string::npos)
      << refusal.message;
}

TEST_F(VerifyTest, ANumberInAFailedSequenceIsANumericalFailure) {
  const float value = 1;

  overwrite("/last_logits", 1 * 512 * 4, &value, sizeof value, true);

  EXPECT_EQ(verify(results).code, ExitCode::numerical);
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

  const Refusal attribute = without("del f.attrs['weights_xxh3']");
  const Refusal dataset = without("del f['logprobs/count']");
  const Refusal description = without("del f['last_logits'].attrs['description']");
  const Refusal shape = without("del f['last_logits']\nf['last_logits'] = [1.0]");
  const Refusal unknown = without("f['surprise'] = [1.0]");

  EXPECT_NE(attribute.message.find("weights_xxh3 is missing"), std::string::npos);
  EXPECT_NE(dataset.message.find("/logprobs/count"), std::string::npos);
  EXPECT_NE(description.message.find("description is missing"), std::string::npos);
  EXPECT_NE(shape.message.find("/last_logits"), std::string::npos);
  EXPECT_NE(unknown.message.find("/surprise"), std::string::npos);
  for (const Refusal* each : {&attribute, &dataset, &description, &shape, &unknown})
    EXPECT_EQ(each->code, ExitCode::input) << each->message;
}

TEST_F(VerifyTest, ADamagedPartIsFoundAndLeftWhereItIs) {
  const std::string part = run.path + "/parts/" + names_in(run.path + "/parts").at(0);

  flip_bit(part, 3000, 1);

  EXPECT_EQ(verify(run.path).code, ExitCode::input);
  EXPECT_TRUE(std::filesystem::exists(part));
}

TEST_F(VerifyTest, AnIncompleteRunSaysWhatIsMissing) {
  std::filesystem::remove(results);
  const Refusal not_merged = verify(run.path);
  std::filesystem::remove_all(run.path + "/parts");
  const Refusal nothing = verify(run.path);
  {
    RunFolder opened = run.open();
    run.merge(opened, Missing::allowed);
  }
  const Refusal incomplete = verify(results);

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

  const Refusal refusal = verify(run.path);

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

}  // namespace
}  // namespace tetrarch::storage
