// SPDX-License-Identifier: Apache-2.0
#include "failure.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "mpi/launcher.hpp"
#include "mpi/session.hpp"

namespace tetrarch::app {
namespace {

/// This process's rank as its launcher says, -1 without one; known also before and after MPI.
int launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"})
    if (const char* value = std::getenv(name)) return std::atoi(value);
  return -1;
}

std::string rank_label() {
  return fmt::format("[rank {} {}] ", std::max(0, launched_rank()), mpi::host_name());
}

void say(const std::string& message) {
  const std::string line = "tetrarch: " + message + "\n";
  std::fflush(stdout);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

struct Failure {
  base::ExitCode code;
  std::string message;
};

Failure current_failure() {
  try {
    if (!std::current_exception())
      return {base::ExitCode::internal, "internal defect: the program was told to terminate."};
    throw;
  } catch (const base::UsageError& error) {
    return {error.code(), error.what()};
  } catch (const base::SystemError& error) {
    return {error.code(), error.what()};
  } catch (const base::InternalError& error) {
    return {base::ExitCode::internal, error.what()};
  } catch (const std::bad_alloc&) {
    return {base::ExitCode::resources,
            "out of memory (the system gave no more). Use a smaller --tokens-per-microbatch, more "
            "ranks, or a job with more memory."};
  } catch (const std::exception& error) {
    return {
        base::ExitCode::internal,
        fmt::format("internal defect: {}. Please report it with the command line.", error.what())};
  } catch (...) {
    return {base::ExitCode::internal,
            "internal defect: an unknown exception. Please report it with the command line."};
  }
}

}  // namespace

int report(const base::UsageError& error, Launch launch) {
  const int rank = launch == Launch::ranks ? launched_rank() : 0;
  if (rank > 0 && error.code() == base::ExitCode::stopped_early) return 0;  // all ranks have met
  if (rank <= 0) {
    say(error.what());
  } else {
    // mpirun ends the others at once when rank 0 has ended with a code: who lives on failed alone
    std::this_thread::sleep_for(std::chrono::seconds(5));
    if (mpi::find_launcher().name == "mpirun") say(rank_label() + error.what());
  }
  return static_cast<int>(error.code());
}

void end_with_failure() noexcept {
  const Failure failure = current_failure();
  const int code = static_cast<int>(failure.code);
  if (!mpi::Session::is_active()) {
    say(failure.message);
    std::_Exit(code);
  }
  say(rank_label() + failure.message);
  mpi::Session::abort(code);
}

}  // namespace tetrarch::app
