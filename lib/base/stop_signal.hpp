/// INT, TERM and USR1: kept as a request to stop, or an end at once that leaves no temporary files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::base {

/// When a process that is ended by a second signal says so: later is after four seconds, in which
/// its launcher may have ended it because of another one that has spoken for all.
enum class Speaks { at_once, later };

/// From now on the first of these signals is only kept, for stop_signal(); a second one, also of
/// another kind, ends this process at once as it would have without this, after one line on stderr.
/// `who` stands at the front of that line ("[rank 3 n07] ").
void keep_stop_signals(const std::string& who, Speaks speaks);

/// From now on the first of these signals ends this process as it would have without this, after
/// the files that are registered have been removed and one line has been written.
void end_on_stop_signals();

/// Number of the signal that was kept; 0 when none came.
int stop_signal();
/// "SIGTERM".
std::string signal_name(int number);

/// Throws UsageError(stopped_early) when a signal was kept: "stopped by SIGINT while `what`". For
/// long work of one rank from which a UsageError reaches all of them.
void refuse_when_stopped(const char* what);

/// While it lives, a signal that ends this process under end_on_stop_signals() removes the file
/// first.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(const std::string& path);
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

 private:
  int place_ = -1;  // -1: no place was left, or the path is too long
};

}  // namespace tetrarch::base
