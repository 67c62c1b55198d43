/// Handles the signals INT, TERM and USR1. Either the first one is kept as a request to stop, or it
/// ends the process after its temporary files have been removed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::base {

/// When a process that a second signal ends writes its line on stderr. `later` waits 4 seconds
/// before the line: meanwhile the launcher usually kills the process, because rank 0 has written
/// the line and ended. So a job writes the line once.
enum class Speaks { at_once, later };

/// From now on the first of these signals is only kept, for stop_signal(). A second one, of the
/// same or of another kind, ends this process by the signal's default action, after one line on
/// stderr. `who` stands at the front of that line ("[rank 3 n07] "). A signal that was ignored when
/// the program started (nohup) stays ignored. Call it from the main thread.
void keep_stop_signals(const std::string& who, Speaks speaks);

/// From now on the first of these signals ends this process by the signal's default action, after
/// the files of all RemovedOnSignal objects have been removed and one line has been written on
/// stderr. Ignored signals and the calling thread: as for keep_stop_signals().
void end_on_stop_signals();

/// Number of the signal that was kept; 0 when none came.
int stop_signal();
/// "SIGTERM" for one of the three, else "signal 5".
std::string signal_name(int number);

/// Throws Refusal(stopped_early) when a signal was kept; the message begins "stopped by SIGINT
/// while `what`". To be called only where a Refusal of one rank is passed on to all ranks.
void refuse_when_stopped(const char* what);

/// While this object lives, a signal that ends the process under end_on_stop_signals() first
/// removes the file at `path`. At most 4 files at a time; a fifth, or a path of PATH_MAX bytes or
/// more, is not removed.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(const std::string& path);
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

 private:
  int place_ = -1;  // index of the slot; -1: no slot was free, or the path is too long
};

}  // namespace tetrarch::base
