// SPDX-License-Identifier: Apache-2.0
#include "base/stop_signal.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <string_view>

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/error.hpp"

namespace tetrarch::base {
namespace {

// The data below is all that the signal handlers use. A handler may call only functions that POSIX
// lists as async-signal-safe, so the lines that it writes are formatted beforehand.
struct Handled {
  int number;
  const char* name;
  std::array<char, 512> last_line = {};  // written when this signal ends the process
};
std::array<Handled, 3> all_handled = {
    {{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGUSR1, "SIGUSR1"}}};
std::atomic<int> kept = 0;
int pause_ms = 0;  // waited before the last line is written
pthread_t main_thread;

struct Slot {
  std::atomic<bool> is_taken = false, is_ready = false;
  std::array<char, PATH_MAX> path = {};
};
std::array<Slot, 4> places;

static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

/// Writes the last line and ends the process by the default action. That action runs when the
/// handler has returned, because until then the signal is blocked.
void end_by(int number) {
  if (pause_ms > 0) ::poll(nullptr, 0, pause_ms);
  for (const Handled& handled : all_handled)
    if (handled.number == number) {
      const ssize_t written =
          ::write(STDERR_FILENO, handled.last_line.data(), std::strlen(handled.last_line.data()));
      (void)written;
    }
  std::signal(number, SIG_DFL);
  std::raise(number);
}

/// The system may deliver a signal to any thread. Another thread passes it on to the main thread
/// and returns true, so that the main thread does no further work during the pause before the last
/// line.
bool is_passed_on(int number) {
  if (::pthread_equal(::pthread_self(), main_thread)) return false;
  ::pthread_kill(main_thread, number);
  return true;
}

void keep(int number) {
  if (is_passed_on(number)) return;
  const int error = errno;
  int none = 0;
  if (!kept.compare_exchange_strong(none, number)) end_by(number);
  errno = error;
}

void end_at_once(int number) {
  if (is_passed_on(number)) return;
  for (const Slot& place : places)
    if (place.is_ready) ::unlink(place.path.data());
  end_by(number);
}

/// Installs the handler for all three signals, with `line` (which has one {} for the signal's name)
/// as the last line. A signal that was ignored when the program started (nohup) stays ignored.
void handle(void (*handler)(int), const std::string& line) {
  main_thread = ::pthread_self();
  for (Handled& handled : all_handled) {
    const std::string text = fmt::format(fmt::runtime(line), handled.name);
    std::strncpy(handled.last_line.data(), text.c_str(), handled.last_line.size() - 1);
    struct sigaction action = {};
    ::sigaction(handled.number, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    for (const Handled& other : all_handled)
      ::sigaddset(&action.sa_mask, other.number);
    ::sigaction(handled.number, &action, nullptr);
  }
}

}  // namespace

void keep_stop_signals(const std::string& who, Speaks speaks) {
  pause_ms = speaks == Speaks::at_once ? 0 : 4000;  // mpirun ends the other ranks within 1 s
  handle(keep, "tetrarch: " + who +
                   "ended at once by a second signal ({}). Committed work is kept; the same "
                   "command does the rest.\n");
}

void end_on_stop_signals() {
  handle(end_at_once,
         "tetrarch: ended by {} before it was done (unfinished files are removed). The same "
         "command starts from the beginning.\n");
}

int stop_signal() {
  return kept;
}

std::string signal_name(int number) {
  for (const Handled& handled : all_handled)
    if (handled.number == number) return handled.name;
  return fmt::format("signal {}", number);
}

void refuse_when_stopped(const char* what) {
  if (const int number = stop_signal(); number != 0)
    throw Refusal(ExitCode::stopped_early,
                  fmt::format("stopped by {} while {} (nothing was computed in this attempt). "
                              "Start the same command again to continue.",
                              signal_name(number), what));
}

RemovedOnSignal::RemovedOnSignal(const std::string& path) {
  for (std::size_t i = 0; i < places.size() && path.size() < PATH_MAX; ++i) {
    if (places[i].is_taken.exchange(true)) continue;
    std::strcpy(places[i].path.data(), path.c_str());
    places[i].is_ready = true;
    place_ = static_cast<int>(i);
    return;
  }
}

RemovedOnSignal::~RemovedOnSignal() {
  if (place_ < 0) return;
  Slot& place = places[static_cast<std::size_t>(place_)];
  place.is_ready = false;
  place.is_taken = false;
}

}  // namespace tetrarch::base
