// Files and folders become a list of input files.
// SPDX-License-Identifier: Apache-2.0
#include "storage/input_paths.hpp"

#include <unistd.h>

#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;
using test::Scratch;

TEST(InputPaths, TheExtensionTellsTheFormat) {
  for (const char* path : {"a.jsonl", "b/a.json", "a.h5.ndjson"})
    EXPECT_EQ(input_format(path), InputFormat::jsonl) << path;
  for (const char* path : {"a.h5", "a.hdf5", "a", "jsonl", "a.jsonl/b", "a.json.h5"})
    EXPECT_EQ(input_format(path), InputFormat::hdf5) << path;
}

TEST(InputPaths, AFolderGivesWhatItKnowsByName) {
  const Scratch scratch;
  for (const char* name :
       {"c.h5", "b.jsonl", "a.ndjson", "d.json", "e.hdf5", ".hidden.h5", "notes.txt", "jsonl"})
    test::write_file(scratch / name, "");
  const std::string folder = scratch.folder();

  const auto files = input_files({"last.h5", folder, "z"});

  EXPECT_EQ(files, (std::vector<std::string>{"last.h5", folder + "/a.ndjson", folder + "/b.jsonl",
                                             folder + "/c.h5", folder + "/d.json",
                                             folder + "/e.hdf5", "z"}));
}

TEST(InputPaths, AFolderWithoutInputsIsRefused) {
  const Scratch scratch;
  test::write_file(scratch / "notes.txt", "");

  EXPECT_TRUE(is_refused(ExitCode::input, {scratch.folder(), "no input", ".jsonl"},
                         [&] { input_files({scratch.folder()}); }));
  EXPECT_TRUE(is_refused(ExitCode::input, {"no input is given"}, [&] { input_files({}); }));
}

TEST(InputPaths, ANameInAFolderThatCannotBePrintedIsRefused) {
  for (const char* name : {"\xff.h5", "a\nb.jsonl"}) {
    const Scratch scratch;
    test::write_file(scratch / name, "");

    EXPECT_TRUE(is_refused(ExitCode::input, {scratch.folder(), "\\x", "Rename it"},
                           [&] { input_files({scratch.folder()}); }));
  }
}

TEST(InputPaths, AFolderThatCannotBeReadIsRefused) {
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything; bad_input_test.py drops root";
  const Scratch scratch;
  std::filesystem::create_directory(scratch / "closed");
  std::filesystem::permissions(scratch / "closed", std::filesystem::perms::none);

  EXPECT_TRUE(is_refused(ExitCode::input, {scratch / "closed", "Permission denied"},
                         [&] { input_files({scratch / "closed"}); }));
}

}  // namespace
}  // namespace tetrarch::storage
