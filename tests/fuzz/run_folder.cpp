// A run folder with any run.json, any text in the lock file, and any name of a part.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <sys/file.h>

#include "base/json.hpp"
#include "fuzz.hpp"
#include "storage/run/merge.hpp"

namespace {

using namespace tetrarch;

/// A folder in memory; the destructor removes it.
class Folder {
 public:
  Folder() {
    path_ = ::mkdtemp(path_.data());
    std::filesystem::create_directory(path_ + "/parts");
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, std::string_view text) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    return path_ + "/" + name;
  }

 private:
  std::string path_ = "/dev/shm/tetrarch-fuzz-XXXXXX";
};

std::string_view until_mark(std::string_view& text) {
  const std::size_t end = std::min(text.find('\1'), text.size());
  const std::string_view head = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return head;
}

void check_part_name(std::string_view text) {
  if (const auto name = storage::parse_part_name(text))
    fuzz::must(to_string(*name) == text, "a part's name prints the same", text);
}

void check_held_lock(const std::string& path, base::Log& log) {
  const int held = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  fuzz::must(held >= 0 && ::flock(held, LOCK_EX | LOCK_NB) == 0, "the lock is free");
  const bool is_taken = fuzz::is_accepted([&] { storage::FolderLock lock(path, 0, log); });
  ::close(held);
  fuzz::must(!is_taken, "a held lock is not taken");
}

void check_run_json(const Folder& folder, base::Log& log) {
  fuzz::is_accepted([&] {
    const base::Json json = storage::read_run_json(folder.path());
    storage::part_rules(json.at("facts"));
    storage::reopen_inputs(json.at("facts"), "run.json");
  });
  fuzz::is_accepted([&] { storage::merge_run_folder(folder.path(), storage::Parts::keep, log); });
  storage::RunSettings settings;
  settings.frozen = {{"weights", "0123456789abcdef"}, {"outputs", {{"names", {"logprobs"}}}}};
  fuzz::is_accepted([&] { storage::RunFolder::open(folder.path(), settings, {}, log); });
}

}  // namespace

// Input: run.json, the lock file and a part's name, with a byte 1 between them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  base::Log log(base::Log::Sink::none);
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  folder.write("run.json", until_mark(rest));
  // FolderLock reads the holder's text up to 511 bytes or a byte 0. If it is no object, FolderLock
  // takes it for a text that is still being written and tries again for a second; so such texts are
  // not tried.
  std::string holder(until_mark(rest).substr(0, 500));
  holder.resize(std::strlen(holder.c_str()));
  const std::string lock = folder.write("lock", holder);
  if (base::Json::parse(holder, nullptr, /*allow_exceptions=*/false).is_object())
    check_held_lock(lock, log);
  check_part_name(until_mark(rest));
  check_run_json(folder, log);
  std::filesystem::remove(folder.path() + "/results.h5");
  return 0;
}
