// Starts the child process, sets its limits, and tells from its end what is wrong with a file.
// SPDX-License-Identifier: Apache-2.0
#include "probe.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <new>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.hpp"
#include "storage/files/file_kind.hpp"

namespace tetrarch::app {
namespace {

using base::ExitCode;
using engine::Problem;

using storage::Descriptor;

// Bytes that the child writes to the pipe while it works. When a file is bad, the message follows
// them and the child ends.
constexpr char file_begun = '\1';
constexpr char still_alive = '\2';

[[noreturn]] void fail(const char* what, int error) {
  throw base::SystemError(
      ExitCode::resources,
      fmt::format("cannot start, or wait for, the child process that checks the files ({}: {}). "
                  "Check the limits of the node on processes and memory.",
                  what, std::strerror(error)));
}

bool needs_probe(const ForeignFile& file) {
  struct stat found {};
  if (::stat(file.path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return false;
  if (file.purpose == storage::Purpose::inputs) return storage::is_hdf5(file.path);
  return !storage::holds_lines(file.path);
}

/// A file in memory that has the purpose and the path of each file, each followed by a zero byte.
/// A command line might be too short for all of them.
Descriptor list_of(const std::vector<ForeignFile>& files) {
  std::string text;
  for (const ForeignFile& file : files)
    text.append(storage::name_of(file.purpose)).append(1, '\0').append(file.path).append(1, '\0');
  Descriptor list(::memfd_create("files to look at", MFD_CLOEXEC));
  if (!list.has_value()) fail("memfd_create", errno);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t bytes =
        ::pwrite(list.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) fail("pwrite", errno);
    done += static_cast<std::size_t>(bytes);
  }
  return list;
}

/// Starts the child and returns its process id. `output` becomes the pipe from the child.
pid_t start_child(const std::vector<ForeignFile>& files, const ProbeLimits& limits,
                  Descriptor& output) {
  std::vector<std::string> words = {limits.program, probe_word, std::to_string(limits.cpu_s),
                                    std::to_string(limits.memory)};
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);

  const Descriptor list = list_of(files);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe", errno);
  output = Descriptor(ends[0]);
  const Descriptor to_parent(ends[1]);
  // If SIGCHLD was ignored when this process started, the child's exit status would be lost.
  std::signal(SIGCHLD, SIG_DFL);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, list.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, to_parent.get(), 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  // The child blocks the stop signals. One that is sent to the whole process group is meant for the
  // parent; if it ended the child, the file would be taken for a bad one.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1})
    sigaddset(&blocked, number);
  posix_spawnattr_setsigmask(&attributes, &blocked);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, limits.program.c_str(), &actions, &attributes,
                                  arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail("posix_spawn", error);
  return child;
}

struct Outcome {
  std::size_t num_begun = 0;
  std::string message;
  bool is_late = false;
  int status = 0;  // of the child, as waitpid() gives it
};

int status_of(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) fail("waitpid", errno);
  return status;
}

/// Reads from the pipe until the child closes it or writes nothing for silence_s seconds.
Outcome listen_to(const Descriptor& output, double silence_s, const std::function<void()>& alive) {
  Outcome outcome;
  char piece[4096];
  constexpr double slice_s = 0.5;
  for (double silent_s = 0;;) {
    pollfd ready{output.get(), POLLIN, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(1000 * std::min(slice_s, silence_s)));
    if (count < 0 && errno == EINTR) continue;
    alive();
    if (count <= 0) {
      silent_s += slice_s;
      outcome.is_late = silent_s >= silence_s;
      if (outcome.is_late) return outcome;
      continue;
    }
    silent_s = 0;
    const ssize_t bytes = ::read(output.get(), piece, sizeof piece);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return outcome;
    for (const char letter : std::string_view(piece, static_cast<std::size_t>(bytes))) {
      outcome.num_begun += letter == file_begun;
      if (letter != file_begun && letter != still_alive) outcome.message += letter;
    }
  }
}

std::string end_of(const Outcome& outcome, const ProbeLimits& limits) {
  const int signal = WIFSIGNALED(outcome.status) ? WTERMSIG(outcome.status) : 0;
  if (outcome.is_late)
    return fmt::format("the HDF5 library did not return within {:.0f} s while opening it",
                       limits.silence_s);
  if (signal == SIGXCPU)
    return fmt::format("the HDF5 library did not finish opening it within {} s of CPU time",
                       limits.cpu_s);
  if (signal != 0)
    return fmt::format("the HDF5 library crashed with signal {} while opening it", signal);
  return fmt::format("the process that opened it ended with code {}", WEXITSTATUS(outcome.status));
}

std::optional<Problem> judge(const std::vector<ForeignFile>& files, const Outcome& outcome,
                             const ProbeLimits& limits) {
  const bool has_ended = WIFEXITED(outcome.status) && !outcome.is_late;
  const int code = has_ended ? WEXITSTATUS(outcome.status) : -1;
  if (code == 0) return std::nullopt;
  if (code > 0 && !outcome.message.empty())
    return Problem{static_cast<ExitCode>(code), outcome.message};
  const ForeignFile& file = files[std::clamp<std::size_t>(outcome.num_begun, 1, files.size()) - 1];
  const bool is_ours = file.purpose == storage::Purpose::results;
  return Problem{
      storage::code_of(file.path, file.purpose),
      fmt::format("{}: is not a readable HDF5 file ({}). {}", file.path, end_of(outcome, limits),
                  is_ours ? "Move it away; the command of the run makes it again."
                          : "Copy the file again, or make it again.")};
}

void limit(__rlimit_resource resource, std::int64_t most) {
  rlimit both{};
  ::getrlimit(resource, &both);
  both.rlim_cur = std::min<rlim_t>(both.rlim_max, static_cast<rlim_t>(most));
  ::setrlimit(resource, &both);
}

/// Bytes of address space of this process, which RLIMIT_AS limits.
std::int64_t bytes_in_use() {
  std::int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

std::int64_t cpu_seconds_used() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return used.ru_utime.tv_sec + used.ru_stime.tv_sec + 1;
}

void say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t bytes = ::write(1, text.data(), text.size());
    if (bytes <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(bytes));
  }
}

/// Opens one file in the child. Returns 0, or the exit code after it has written the message.
int probe_one(const std::string& path, storage::Purpose purpose, std::int64_t cpu_s,
              std::int64_t memory, bool is_limited_from_outside) {
  const auto sign = [&](char what) {
    limit(RLIMIT_CPU, cpu_seconds_used() + cpu_s);
    say({&what, 1});
  };
  try {
    sign(file_begun);
    storage::probe_file(path, purpose, [&] { sign(still_alive); });
    return 0;
  } catch (const base::Refusal& error) {
    say(error.what());
    return static_cast<int>(error.code());
  } catch (const base::SystemError& error) {
    say(error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    if (is_limited_from_outside) {
      say(
          fmt::format("{}: cannot be checked (the limits of this process leave too little memory). "
                      "Raise them (ulimit -v, the job's memory).",
                      path));
      return static_cast<int>(ExitCode::resources);
    }
    say(
        fmt::format("{}: cannot be opened within {} of memory (its metadata asks for more). Copy "
                    "the file again, or make it again.",
                    path, base::bytes_text(memory)));
    return static_cast<int>(storage::code_of(path, purpose));
  }
}

std::int64_t number_of(std::string_view word) {
  std::int64_t number = 0;
  std::from_chars(word.data(), word.data() + word.size(), number);
  return number;
}

/// The texts on stdin, each of which ends with a zero byte.
std::vector<std::string> read_words() {
  std::vector<std::string> words(1);
  char piece[4096];
  for (ssize_t bytes = 0; (bytes = ::read(0, piece, sizeof piece)) > 0;)
    for (const char letter : std::string_view(piece, static_cast<std::size_t>(bytes)))
      if (letter == '\0')
        words.emplace_back();
      else
        words.back() += letter;
  words.pop_back();
  return words;
}

}  // namespace

Probe::Probe(const std::vector<ForeignFile>& files, ProbeLimits limits)
    : limits_(std::move(limits)) {
  std::ranges::copy_if(files, std::back_inserter(files_), needs_probe);
  if (!files_.empty()) child_ = start_child(files_, limits_, output_);
}

Probe::~Probe() {
  if (child_ < 0) return;
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
}

std::optional<Problem> Probe::wait(const std::function<void()>& alive) {
  if (child_ < 0) return std::nullopt;
  Outcome outcome = listen_to(output_, limits_.silence_s, alive);
  if (outcome.is_late) ::kill(child_, SIGKILL);
  outcome.status = status_of(std::exchange(child_, -1));
  return judge(files_, outcome, limits_);
}

std::optional<Problem> probe(const std::vector<ForeignFile>& files, const ProbeLimits& limits) {
  return Probe(files, limits).wait();
}

void refuse_bad(const std::vector<ForeignFile>& files) {
  if (const auto problem = probe(files)) throw base::Refusal(problem->code, problem->message);
}

void refuse_bad_run_folder(const std::string& run_dir, storage::Purpose purpose) {
  refuse_bad({{run_dir + "/results.h5", purpose}});
  std::vector<ForeignFile> files;
  for (const std::string& path : storage::inputs_of_run(run_dir))
    files.push_back({path, storage::Purpose::inputs});
  refuse_bad(files);
}

int run_probe(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::signal(SIGXCPU, SIG_DFL);
  if (argc != 4) return static_cast<int>(ExitCode::usage);
  const std::int64_t cpu_s = number_of(argv[2]), memory = number_of(argv[3]);
  limit(RLIMIT_CORE, 0);
  const std::vector<std::string> words = read_words();
  rlimit outside{};
  const auto needed = static_cast<rlim_t>(bytes_in_use() + memory);
  const bool is_limited = ::getrlimit(RLIMIT_AS, &outside) == 0 && outside.rlim_cur < needed;
  if (!is_limited) limit(RLIMIT_AS, bytes_in_use() + memory);
  for (std::size_t i = 0; i + 1 < words.size(); i += 2)
    if (const int code =
            probe_one(words[i + 1], storage::purpose_from(words[i]), cpu_s, memory, is_limited))
      return code;
  return 0;
}

}  // namespace tetrarch::app
