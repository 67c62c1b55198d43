// Files that are written to while a run reads them.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/file_stamp.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "inputs_copy.hpp"
#include "run_fixture.hpp"
#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;
using test::Scratch;
using test::write_file;

constexpr const char* before = "{\"id\": 1, \"tokens\": [1, 2]}\n";
constexpr const char* after = "{\"id\": 1, \"tokens\": [3, 4]}\n";

/// Writes the file in place with a later time, as another program would.
void write_later(const std::string& path, const std::string& text) {
  const auto time = std::filesystem::last_write_time(path);
  std::ofstream(path, std::ios::in | std::ios::out) << text;
  std::filesystem::last_write_time(path, time + std::chrono::seconds(1));
}

TEST(FileStamp, IsAnotherOneAfterAWriteAndForAFileThatIsGone) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";
  write_file(path, before);
  const FileStamp stamp = stamp_of(path);

  EXPECT_EQ(stamp_of(path), stamp);
  write_later(path, after);
  EXPECT_NE(stamp_of(path), stamp);
  std::filesystem::remove(path);
  EXPECT_EQ(stamp_of(path), FileStamp{});
}

TEST(FileStamp, TokensThatChangedInPlaceAreRefused) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";
  write_file(path, before);
  const InputSet first = InputSet::open({path}, 50, 8), other = copy_of(first);
  std::uint32_t tokens[2];
  first.read_tokens(0, 0, 2, tokens);
  EXPECT_NO_THROW(first.check_unchanged());

  write_later(path, after);

  for (const InputSet* inputs : {&first, &other}) {
    EXPECT_TRUE(is_refused(ExitCode::input, {path, "has changed since the run began"},
                           [&] { inputs->read_tokens(0, 0, 2, tokens); }));
    EXPECT_TRUE(is_refused(ExitCode::input, {path, "was written to, or replaced"},
                           [&] { inputs->check_unchanged(); }));
  }
}

TEST(FileStamp, AFileThatIsBeingWrittenIsNotRead) {
  const TemporaryFolder folder;
  const std::string path = write_inputs(folder / "a.h5", {.lengths = {3}});
  const int writer = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(writer, LOCK_EX), 0);

  EXPECT_TRUE(is_refused(ExitCode::input, {path, "open for writing"},
                         [&] { InputSet::open({path}, 512, 64); }));
  ::close(writer);
  EXPECT_EQ(InputSet::open({path}, 512, 64).count(), 1);
}

}  // namespace
}  // namespace tetrarch::storage
