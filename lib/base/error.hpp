/// The three kinds of trouble, each with the exit code that the program ends with.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

namespace tetrarch::base {

/// What the process returns. The numbers are a contract with job scripts.
enum class ExitCode : int {
  done = 0,
  internal = 1,            // a defect of ours
  usage = 2,               // options, configuration, grid, a frozen setting changed
  input = 3,               // a bad or changed input file
  weights = 4,             // bad or changed weights
  resources = 5,           // space, permission, memory, folder in use
  communication = 6,       // MPI, a lost rank, singletons, mixed builds
  numerical = 7,           // a numerical check failed
  done_with_failures = 8,  // done, but some sequences became error records
  stopped_early = 85,      // the same command again does the rest
};

/// The user's input is wrong. The message says: problem (why it is one). What to do. What is not
/// printable in it is shown as \xNN, and it is cut after 8 KiB.
/// Found before the first collective and the same on each rank, or thrown through `agree`.
class UsageError : public std::runtime_error {
 public:
  UsageError(ExitCode code, const std::string& message);
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// The machine said no: a system or library call failed.
class SystemError : public std::runtime_error {
 public:
  SystemError(ExitCode code, const std::string& message,
              std::source_location where = std::source_location::current());
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// A mistake of ours: what we took for granted does not hold.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws InternalError with `what` and the caller's place unless `holds`.
void expects(bool holds, const char* what,
             std::source_location where = std::source_location::current());

}  // namespace tetrarch::base
