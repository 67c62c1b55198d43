// Files on which the child process ends, and the message for each.
// SPDX-License-Identifier: Apache-2.0
#include "probe.hpp"

#include <chrono>
#include <cstring>

#include <sys/stat.h>
#include <sys/wait.h>

#include "storage/scratch.hpp"

namespace tetrarch::app {
namespace {

using base::ExitCode;
using storage::Purpose;
using test::Scratch;

/// Writes inputs whose ids are variable-length strings, which HDF5 stores in a heap in the file.
/// Then changes the size of heap object `which` (0: the free space at the heap's end) to `bytes`.
/// On such a file HDF5 1.10 reads beyond its buffer or loops for ever.
void write_bad_heap(const Scratch& scratch, const std::string& path, std::uint16_t which,
                    std::uint64_t bytes) {
  test::python(scratch, path,
               "with h5py.File(path, 'w') as f:\n"
               "  f.attrs['format'] = 'tetrarch-inputs'\n"
               "  f['ids'] = np.array(['a', 'bb', 'ccc'], dtype=h5py.string_dtype())\n");
  std::string file = test::bytes_of_file(path);
  std::size_t at = file.find("GCOL");
  ASSERT_NE(at, std::string::npos);
  for (at += 16; at + 16 <= file.size();) {  // object: u16 index, 6 other bytes, u64 size, data
    std::uint16_t index = 0;
    std::uint64_t size = 0;
    std::memcpy(&index, file.data() + at, sizeof index);
    std::memcpy(&size, file.data() + at + 8, sizeof size);
    if (index == which) {
      std::memcpy(file.data() + at + 8, &bytes, sizeof bytes);
      test::write_file(path, file);
      return;
    }
    ASSERT_NE(index, 0);
    at += 16 + (size + 7) / 8 * 8;
  }
  FAIL() << "no object " << which << " in the heap";
}

/// Writes a shell script with this body, which the probe starts instead of this program.
std::string write_program(const Scratch& scratch, const std::string& body) {
  const std::string path = scratch / "program.sh";
  test::write_file(path, "#!/bin/bash\n" + body + "\n");
  ::chmod(path.c_str(), 0700);
  return path;
}

testing::AssertionResult is_found(const std::optional<engine::Problem>& problem, ExitCode code,
                                  const std::vector<std::string>& words) {
  return test::is_refused(code, words, [&] {
    if (problem) throw base::Refusal(problem->code, problem->message);
  });
}

class ProbeTest : public testing::Test {
 protected:
  ProbeTest() {
    limits_.program = TETRARCH_PROGRAM;
    test::python(scratch_, good_,
                 "with h5py.File(path, 'w') as f:\n"
                 "  f.attrs['format'] = 'tetrarch-inputs'\n"
                 "  f['ids'] = np.array(['a'] * 70000, dtype=h5py.string_dtype())\n");
  }

  const Scratch scratch_;
  const std::string good_ = scratch_ / "good.h5";
  ProbeLimits limits_;
};

TEST_F(ProbeTest, FindsNothingInAGoodFile) {
  EXPECT_FALSE(probe({{good_, Purpose::inputs}, {good_, Purpose::inputs}}, limits_));
}

TEST_F(ProbeTest, SaysWhatOpeningTheFileSays) {
  EXPECT_TRUE(is_found(probe({{good_, Purpose::inputs}, {good_, Purpose::weights}}, limits_),
                       ExitCode::weights, {good_, "tetrarch-inputs", "tetrarch-weights"}));
}

TEST_F(ProbeTest, LeavesJsonLinesAndAbsentFilesToTheirReaders) {
  test::write_file(scratch_ / "lines.jsonl", "no HDF5");

  EXPECT_FALSE(probe({{scratch_ / "lines.jsonl", Purpose::inputs},
                      {scratch_ / "absent.h5", Purpose::inputs},
                      {scratch_.folder(), Purpose::inputs}},
                     limits_));
}

TEST_F(ProbeTest, SurvivesAFileThatCrashesTheLibrary) {
  const std::string path = scratch_ / "crash.h5";
  write_bad_heap(scratch_, path, 1, 0xff00000000000005);

  EXPECT_TRUE(is_found(probe({{good_, Purpose::inputs}, {path, Purpose::inputs}}, limits_),
                       ExitCode::input, {path, "HDF5"}));
}

TEST_F(ProbeTest, EndsAFileThatTheLibraryNeverEnds) {
  const std::string path = scratch_ / "hang.h5";
  write_bad_heap(scratch_, path, 0, 0);
  limits_.cpu_s = 1;

  EXPECT_TRUE(is_found(probe({{path, Purpose::inputs}}, limits_), ExitCode::input, {path, "HDF5"}));
}

TEST_F(ProbeTest, TakesMoreFilesThanACommandLineHolds) {
  limits_.program = write_program(scratch_, "exit $(($(tr -cd '\\0' | wc -c) != 80000))");
  const std::vector<ForeignFile> files(40000, {good_, Purpose::inputs});

  EXPECT_FALSE(probe(files, limits_));
}

TEST_F(ProbeTest, LeavesDamagedResultsUnlessTheyCrashTheLibrary) {
  const std::string damaged = scratch_ / "damaged.h5", crash = scratch_ / "crash.h5";
  test::write_file(damaged, "no HDF5");
  write_bad_heap(scratch_, crash, 1, 0xff00000000000005);

  EXPECT_FALSE(probe({{damaged, Purpose::results}}, limits_));
  EXPECT_TRUE(is_found(probe({{damaged, Purpose::inspect}}, limits_), ExitCode::input, {damaged}));
  EXPECT_TRUE(is_found(probe({{crash, Purpose::inspect}}, limits_), ExitCode::input, {crash}));
}

TEST_F(ProbeTest, LooksAtWeightsOfAnyName) {
  const std::string path = scratch_ / "weights.json";
  write_bad_heap(scratch_, path, 1, 0xff00000000000005);

  EXPECT_TRUE(is_found(probe({{path, Purpose::weights}}, limits_), ExitCode::weights, {path}));
}

TEST_F(ProbeTest, EndsTheChildWhereNobodyWaits) {
  limits_.program = write_program(scratch_, "exec sleep 100");
  const auto started = std::chrono::steady_clock::now();
  { const Probe given_up({{good_, Purpose::inputs}}, limits_); }

  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(50));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(ProbeTest, NamesTheSignalAndTheFileAtHand) {
  limits_.program = write_program(scratch_, "printf '\\1\\1'; kill -SEGV $$");

  EXPECT_TRUE(is_found(probe({{good_, Purpose::inputs}, {good_, Purpose::weights}}, limits_),
                       ExitCode::weights, {good_, "is not a readable HDF5 file", "signal 11"}));
}

TEST_F(ProbeTest, WaitsAsLongAsThereAreSignsOfLife) {
  limits_.silence_s = 3;
  limits_.program =
      write_program(scratch_, "for i in 1 2 3 4 5 6 7 8; do printf '\\2'; sleep 0.5; done");
  EXPECT_FALSE(probe({{good_, Purpose::inputs}}, limits_));

  limits_.silence_s = 0.2;
  limits_.program = write_program(scratch_, "printf '\\1'; exec sleep 100");
  EXPECT_TRUE(is_found(probe({{good_, Purpose::inputs}}, limits_), ExitCode::input,
                       {good_, "did not return"}));
}

TEST_F(ProbeTest, NamesAnEndWithoutAWord) {
  limits_.program = write_program(scratch_, "exit 1");

  EXPECT_TRUE(is_found(probe({{good_, Purpose::inputs}}, limits_), ExitCode::input,
                       {good_, "ended with code 1"}));
}

TEST_F(ProbeTest, SaysThatNoProcessCanBeStarted) {
  limits_.program = scratch_ / "absent";

  EXPECT_THROW(probe({{good_, Purpose::inputs}}, limits_), base::SystemError);
}

TEST_F(ProbeTest, EndsAFileThatAsksForTooMuchMemory) {
  limits_.memory = 1 << 20;  // reading a block of ids takes more

  const auto problem = probe({{good_, Purpose::inputs}}, limits_);

  ASSERT_TRUE(problem);
  EXPECT_EQ(problem->code, ExitCode::input);
  EXPECT_NE(problem->message.find(good_), std::string::npos) << problem->message;
}

}  // namespace
}  // namespace tetrarch::app
