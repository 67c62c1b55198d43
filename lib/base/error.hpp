/// The three kinds of errors that end the program, and its exit codes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

namespace tetrarch::base {

/// The exit codes of the program. Job scripts rely on the numbers: they must not change.
enum class ExitCode : int {
  done = 0,
  internal = 1,            // a defect of this program
  usage = 2,               // options, configuration, grid, a fixed setting changed on resume
  input = 3,               // a bad or changed input file
  weights = 4,             // bad or changed weights
  resources = 5,           // space, permission, memory, folder in use
  communication = 6,       // MPI, a lost rank, ranks that do not see each other, mixed builds
  numerical = 7,           // a numerical check failed
  done_with_failures = 8,  // done, but some sequences became error records
  stopped_early = 85,      // stopped on request; the same command again does the rest
};

/// The user's options or files are wrong, or the run was stopped. The message has the form: problem
/// (why it is one). What to do. Bytes that are not printable are shown as \xNN; the message is cut
/// after 8 KiB.
/// In `run` every rank throws the same one; engine::agree() passes an error of one rank on to all.
class Refusal : public std::runtime_error {
 public:
  Refusal(ExitCode code, const std::string& message);
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// A call of the system or of a library failed. The message ends with the place in the source that
/// threw it; it is made legible as for Refusal.
class SystemError : public std::runtime_error {
 public:
  SystemError(ExitCode code, const std::string& message,
              std::source_location where = std::source_location::current());
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// A defect of this program: a condition that the code relies on does not hold. Exit code 1.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws InternalError with `what` and the caller's file and line when `holds` is false.
void expects(bool holds, const char* what,
             std::source_location where = std::source_location::current());

/// True in builds without NDEBUG: the presets cpu, asan, tsan and fuzz.
#ifdef NDEBUG
inline constexpr bool has_debug_checks = false;
#else
inline constexpr bool has_debug_checks = true;
#endif

/// As expects() if has_debug_checks; otherwise it does nothing. It is for conditions that a loop
/// checks for each row or element, and that no input and no message of another rank can violate.
inline void expects_in_debug(bool holds, const char* what,
                             std::source_location where = std::source_location::current()) {
  if constexpr (has_debug_checks) expects(holds, what, where);
}

}  // namespace tetrarch::base
