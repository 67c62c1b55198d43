// SPDX-License-Identifier: Apache-2.0
#include "watch/watch_folder.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"

namespace tetrarch::watch {
namespace {

namespace fs = std::filesystem;

const std::string question_prefix = "question-", answer_prefix = "answer-";
const std::string verdict_name = "verdict.txt";

std::string question_name(int number) {
  return fmt::format("{}{:04}", question_prefix, number);
}
std::string answer_name(int number, int rank) {
  return fmt::format("{}{:04}-{:05}", answer_prefix, number, rank);
}
std::string dump_name(int rank) {
  return fmt::format("rank-{:05}.txt", rank);
}

/// The number of the question in a file name that begins with `prefix`; 0 for other names.
int number_in(const std::string& name, const std::string& prefix) {
  int number = 0;
  if (name.starts_with(prefix))
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
  return number;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    names.push_back(entry->path().filename().string());
  return names;
}

bool create_once(const std::string& path) {
  const int file = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (file >= 0) ::close(file);
  return file >= 0;
}

std::string content(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace

WatchFolder::WatchFolder(std::string path, int rank, int num_ranks)
    : path_(std::move(path)), rank_(rank), num_ranks_(num_ranks) {}

/// Writes a temporary file and renames it, so that a file with this name is always complete.
bool WatchFolder::write(const std::string& name, const std::string& text) const {
  const std::string unfinished = file(fmt::format(".tmp-{:05}", rank_));
  std::ofstream stream(unfinished, std::ios::binary | std::ios::trunc);
  stream << text;
  stream.close();
  std::error_code error;
  if (stream) fs::rename(unfinished, file(name), error);
  return stream && !error;
}

WatchFolder::Found WatchFolder::look() const {
  Found found;
  for (const std::string& name : names_in(path_)) {
    found.question = std::max(found.question, number_in(name, question_prefix));
    found.has_verdict |= name == verdict_name;
  }
  return found;
}

bool WatchFolder::ask(int number) const {
  std::error_code error;
  fs::create_directories(path_, error);
  return create_once(file(question_name(number)));
}

bool WatchFolder::answer(int number, const RankState& state) const {
  return write(answer_name(number, rank_), state.to_json());
}

std::vector<std::optional<RankState>> WatchFolder::answers(int number) const {
  std::vector<std::optional<RankState>> all(static_cast<std::size_t>(num_ranks_));
  for (int rank = 0; rank < num_ranks_; ++rank) {
    const std::string text = content(file(answer_name(number, rank)));
    if (text.empty()) continue;
    try {
      all[static_cast<std::size_t>(rank)] = RankState::from_json(text);
    } catch (const base::Refusal&) {
      continue;  // a damaged answer counts as none
    }
  }
  return all;
}

void WatchFolder::forget(int number) const {
  std::error_code error;
  for (const std::string& name : names_in(path_)) {
    const int asked = number_in(name, question_prefix), answered = number_in(name, answer_prefix);
    const int its = std::max(asked, answered);
    if (its > 0 && its <= number) fs::remove(file(name), error);
  }
}

bool WatchFolder::publish(const std::string& verdict) const {
  // link() creates the name together with its whole content, and fails if another rank has already
  // created it
  if (!write(fmt::format("verdict-{:05}", rank_), verdict)) return create_once(file(verdict_name));
  const std::string own = file(fmt::format("verdict-{:05}", rank_));
  bool is_first = ::link(own.c_str(), file(verdict_name).c_str()) == 0;
  // this file system has no links
  if (!is_first && errno != EEXIST) is_first = create_once(file(verdict_name));
  std::error_code error;
  fs::remove(own, error);
  return is_first;
}

std::string WatchFolder::verdict() const {
  return content(file(verdict_name));
}

void WatchFolder::dump(const std::string& text) const {
  write(dump_name(rank_), text);
}

bool WatchFolder::has_dump(int rank) const {
  return ::access(file(dump_name(rank)).c_str(), F_OK) == 0;
}

void WatchFolder::remove() const {
  std::error_code error;
  if (!fs::exists(path_, error) || fs::exists(file(verdict_name), error)) return;
  fs::remove_all(path_, error);
  fs::remove(fs::path(path_).parent_path(), error);
}

}  // namespace tetrarch::watch
