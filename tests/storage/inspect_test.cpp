// The output of inspect contains what its reader needs.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/inspect.hpp"

#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

std::string said_about(const std::string& path) {
  ::testing::internal::CaptureStdout();
  base::Log log(base::Log::Sink::terminal);
  inspect(path, log);
  return ::testing::internal::GetCapturedStdout();
}

void expect_all(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(Inspect, InputsShowTotalsAndFirstIds) {
  const TemporaryFolder folder;
  const std::string path =
      write_inputs(folder / "a.h5", {.lengths = {3, 5, 1, 1, 1, 1}, .ids = {9, 8, 7, 6, 5, 4}});

  const std::string text = said_about(path);

  expect_all(text, {"tetrarch-inputs, format version 1", "6 sequences, 12 tokens, 2.0 a sequence",
                    "first ids: 9 8 7 6 5 ...", "/tokens", "u32", "[12]", "48 B"});
}

TEST(Inspect, JsonLinesShowTotalsFirstIdsAndBadRecords) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a.jsonl") << "{\"id\": 9, \"tokens\": [1, 2, 3], \"score_from\": 1}\n"
                                       "{\"id\": \"b\", \"text\": \"word\"}\n"
                                       "nothing\n"
                                       "{\"id\": 7, \"tokens\": [-1]}\n";

  const std::string text = said_about(folder / "a.jsonl");

  expect_all(text,
             {"JSON lines, 110 B", "4 sequences, 7 tokens, 1.8 a sequence",
              "first ids: 9 b none 7\n", "1 are text", "--tokenizer bytes", "1 have a score_from",
              "2 are bad records", "line 3: not JSON", "line 4: the token at position 0 is -1"});
}

TEST(Inspect, ResultsShowAttributesDatasetsAndStatuses) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 0}}, all_outputs(small_spec()));
  {
    RunFolder opened = run.open();
    PartWriter writer(run.options(opened, 0), run.layout);
    write_microbatch(writer, run.inputs, {0});
    writer.close();
    run.merge(opened);
  }

  const std::string of_file = said_about(run.path + "/results.h5");
  const std::string of_folder = said_about(run.path);

  const std::vector<std::string> expected = {"tetrarch-results, format version 1",
                                             "command_line      tetrarch run",
                                             "num_experts\":16",
                                             "/hidden/NN",
                                             "(2 datasets)",
                                             "/kv/NN/k",
                                             "[3, 4, 8]",
                                             "/topk/ids",
                                             "/routing/tokens_per_expert u64",
                                             "[2, 16]",
                                             "status 0",
                                             "1 sequence (ok)",
                                             "1 sequence (empty)"};
  expect_all(of_file, expected);
  expect_all(of_folder, expected);
  expect_all(of_folder, {"run folder", "attempt", "1 part,"});
  EXPECT_EQ(of_folder.find("in parts/"), std::string::npos) << of_folder;

  std::ofstream(run.path + "/parts/damaged-a.h5") << "x";
  std::ofstream(run.path + "/parts/note") << "x";
  expect_all(said_about(run.path),
             {"1 damaged part in parts/, set aside", "1 other file in parts/, not committed"});
  std::filesystem::remove_all(run.path + "/parts");
  const std::string without = said_about(run.path);
  EXPECT_EQ(without.find(" parts"), std::string::npos) << without;  // no line on parts
}

TEST(Inspect, AForeignFileIsRefused) {
  const TemporaryFolder folder;
  h5::File::create(folder / "plain.h5").close();
  base::Log log(base::Log::Sink::none);

  for (const std::string& path : {folder / "plain.h5", folder / "absent.h5", folder.path()})
    EXPECT_EQ(refusal_of([&] { inspect(path, log); }).code, base::ExitCode::input) << path;
}

}  // namespace
}  // namespace tetrarch::storage
