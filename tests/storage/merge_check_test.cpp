// A results file that reads back differently from what was written is found.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/merge_check.hpp"

#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

TEST(MergeCheck, AnyDatasetThatReadsBackOtherwiseIsFound) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3, 5}}, all_outputs(small_spec()));
  RunFolder opened = run.open();
  PartWriter writer(run.options(opened, 0), run.layout);
  write_microbatch(writer, run.inputs, {0, 1});
  writer.close();
  const std::string path = run.merge(opened).path, copy = folder / "copy.h5";
  EXPECT_NO_THROW(check_written(path));

  std::vector<std::pair<std::string, std::int64_t>> places;
  {
    const h5::File file = h5::File::open_to_read(path, base::ExitCode::input);
    for (const std::string& name : file.list())
      places.emplace_back(name, file.dataset(name).info().file_offset);
  }
  int num_flipped = 0;
  for (const auto& [name, offset] : places) {
    if (offset < 0) continue;  // chunked, or empty
    std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing);
    flip_bit(copy, offset, 1);
    EXPECT_THROW(check_written(copy), base::SystemError) << name;
    ++num_flipped;
  }
  EXPECT_GT(num_flipped, 15);
}

TEST(MergeCheck, AFileThatLacksItsEndIsAnErrorOfTheMachine) {
  const TemporaryFolder folder;
  SmallRun run(folder, {.lengths = {3}});
  RunFolder opened = run.open();
  const std::string path = run.merge(opened, Missing::allowed).path;
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);

  EXPECT_THROW(check_written(path), base::SystemError);
}

}  // namespace
}  // namespace tetrarch::storage
