// Probing foreign files, here without a child process.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/probe.hpp"

#include "run_fixture.hpp"
#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;

void probe_it(const std::string& path, Purpose purpose) {
  probe_file(path, purpose, [] {});
}

TEST(Probe, PurposesHaveWords) {
  for (const Purpose purpose :
       {Purpose::weights, Purpose::inputs, Purpose::inspect, Purpose::verify})
    EXPECT_EQ(purpose_from(name_of(purpose)), purpose);
  EXPECT_TRUE(is_refused(ExitCode::usage, {"\"weight\""}, [] { purpose_from("weight"); }));
}

TEST(Probe, AFileThatDoesNotOpenIsWhatItWasGivenFor) {
  EXPECT_EQ(code_of("a/weights-1.h5", Purpose::inspect), ExitCode::weights);
  EXPECT_EQ(code_of("weights/a.h5", Purpose::verify), ExitCode::input);
  EXPECT_EQ(code_of("a.h5", Purpose::weights), ExitCode::weights);
  EXPECT_EQ(code_of("weights.h5", Purpose::inputs), ExitCode::input);
}

TEST(Probe, RefusesInputsCutAnywhere) {
  const TemporaryFolder folder;
  const std::string path = write_inputs(folder / "inputs.h5", {.lengths = {3, 5, 4}});
  const auto size = std::filesystem::file_size(path);
  for (const Purpose purpose : {Purpose::inputs, Purpose::inspect, Purpose::verify})
    EXPECT_NO_THROW(probe_it(path, purpose));

  for (std::size_t i = 100; i-- > 0;) {
    std::filesystem::resize_file(path, size * i / 100);
    for (const Purpose purpose : {Purpose::inputs, Purpose::inspect, Purpose::verify})
      EXPECT_TRUE(is_refused(ExitCode::input, {path}, [&] { probe_it(path, purpose); })) << i;
  }
}

TEST(Probe, ShowsSignsOfLifeOverTextsOfVariableLength) {
  const TemporaryFolder folder;
  const test::Scratch scratch;
  test::python(scratch, scratch / "a.h5",
               "with h5py.File(path, 'w') as f:\n"
               "  f['ids'] = np.array(['a'] * 200000, dtype=h5py.string_dtype())\n");
  int num_signs = 0;

  probe_file(scratch / "a.h5", Purpose::inputs, [&] { ++num_signs; });

  EXPECT_EQ(num_signs, 4);
}

TEST(Probe, AsksForTheInputsOfARunUntilItIsComplete) {
  const TemporaryFolder folder;
  SmallRun run{folder, {.lengths = {3, 5}}};
  RunFolder opened = run.open();

  EXPECT_EQ(inputs_of_run(run.path).size(), 1u);
  EXPECT_TRUE(is_refused(ExitCode::input, {"run.json"}, [&] { inputs_of_run(folder.path()); }));
}

}  // namespace
}  // namespace tetrarch::storage
