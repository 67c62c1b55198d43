// The list of input files that paths of files and folders mean.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/input_paths.hpp"

#include <cstdlib>

#include <unistd.h>

#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;
using test::Scratch;

/// Root may read everything: while this lives, a root user is another user.
class WithoutRootsRights {
 public:
  WithoutRootsRights() {
    if (user_ == 0 && ::seteuid(nobody) != 0) return;  // some containers have no other user
  }
  WithoutRootsRights(const WithoutRootsRights&) = delete;
  WithoutRootsRights& operator=(const WithoutRootsRights&) = delete;
  ~WithoutRootsRights() {
    if (::seteuid(user_) != 0) std::abort();
  }

 private:
  static constexpr ::uid_t nobody = 65534;
  const ::uid_t user_ = ::geteuid();
};

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

TEST(InputPaths, CompressedLinesCountAndCapitalsDoNotMatter) {
  const Scratch scratch;
  for (const char* name :
       {"a.jsonl.gz", "b.JSON.GZ", "c.ndjson.zst", "d.H5", "e.Jsonl", "f.json.zst", "a.gz",
        "b.h5.gz", "c.txt.gz", ".gz", ".json.gz", "d.parquet"})
    test::write_file(scratch / name, "");
  const std::string folder = scratch.folder();

  const auto files = input_files({folder});

  EXPECT_EQ(files, (std::vector<std::string>{folder + "/a.jsonl.gz", folder + "/b.JSON.GZ",
                                             folder + "/c.ndjson.zst", folder + "/d.H5",
                                             folder + "/e.Jsonl", folder + "/f.json.zst"}));
}

TEST(InputPaths, WhatOfAFolderIsLeftOutIsSaid) {
  const Scratch scratch;
  for (const char* name : {"a.jsonl", "notes.txt", ".hidden", "b\n.parquet"})
    test::write_file(scratch / name, "");
  std::filesystem::create_directory(scratch / "deep.jsonl");
  std::vector<std::string> notes;

  EXPECT_EQ(input_files({scratch.folder(), "z"}, &notes).size(), 2u);

  EXPECT_EQ(notes, std::vector<std::string>{scratch.folder() +
                                            ": 1 of 5 entries are inputs by their names; left out: "
                                            ".hidden, b\\x0a.parquet, deep.jsonl/, notes.txt"});
}

TEST(InputPaths, AFolderWithoutInputsIsRefused) {
  const Scratch scratch;
  test::write_file(scratch / "notes.txt", "");

  EXPECT_TRUE(is_refused(ExitCode::input,
                         {scratch.folder(), "no input", ".jsonl", "it has notes.txt"},
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
  const Scratch scratch;
  using std::filesystem::perms;
  std::filesystem::permissions(scratch.folder(), perms::group_exec | perms::others_exec,
                               std::filesystem::perm_options::add);
  std::filesystem::create_directory(scratch / "closed");
  std::filesystem::permissions(scratch / "closed", perms::none);

  const WithoutRootsRights rights;
  if (::geteuid() == 0) GTEST_SKIP() << "this root user cannot become another user";
  EXPECT_TRUE(is_refused(ExitCode::input, {scratch / "closed", "Permission denied"},
                         [&] { input_files({scratch / "closed"}); }));
}

}  // namespace
}  // namespace tetrarch::storage
