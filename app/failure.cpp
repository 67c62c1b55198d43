// SPDX-License-Identifier: Apache-2.0
#include "failure.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <new>
#include <string>
#include <system_error>
#include <thread>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/host_name.hpp"
#include "base/text.hpp"
#include "mpi/launcher.hpp"
#include "mpi/session.hpp"

namespace tetrarch::app {
namespace {

/// The rank of this process as the launcher's environment says, -1 without a launcher. Also known
/// before MPI starts and after it ends.
int launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"})
    if (const char* value = std::getenv(name)) return std::atoi(value);
  return -1;
}

std::string rank_label() {
  return fmt::format("[rank {} {}] ", std::max(0, launched_rank()), base::host_name());
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

std::int64_t addresses_in_use() {
  std::ifstream file("/proc/self/statm");
  std::int64_t pages = 0;
  return file >> pages ? pages * sysconf(_SC_PAGESIZE) : 0;
}

/// "; ulimit -v is 1.00 GiB", or nothing without a limit.
std::string limit_text() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "";
  return fmt::format("; ulimit -v is {}",
                     base::bytes_text(static_cast<std::int64_t>(limit.rlim_cur)));
}

Failure defect(const std::string& what) {
  return {base::ExitCode::internal,
          fmt::format("internal defect: {}. Please report it with the command line.", what)};
}

Failure current_failure() {
  try {
    if (!std::current_exception())
      return {base::ExitCode::internal,
              "internal defect: std::terminate() was called without an exception. Please report it "
              "with the command line."};
    throw;
  } catch (const base::Refusal& error) {
    return {error.code(), error.what()};
  } catch (const base::SystemError& error) {
    return {error.code(), error.what()};
  } catch (const base::InternalError& error) {
    return {base::ExitCode::internal, error.what()};
  } catch (const std::bad_alloc&) {
    return {
        base::ExitCode::resources,
        fmt::format("out of memory ({} of address space is in use, and the system gave no more{}). "
                    "Raise the limits of this process (ulimit -v, the job's memory), or use a "
                    "smaller --tokens-per-microbatch.",
                    base::bytes_text(addresses_in_use()), limit_text())};
  } catch (const std::system_error& error) {
    const bool is_limit = error.code() == std::errc::resource_unavailable_try_again ||
                          error.code() == std::errc::not_enough_memory;
    if (!is_limit) return defect(error.what());
    return {base::ExitCode::resources,
            fmt::format("a thread cannot be started ({}{}). Raise the limits of this process on "
                        "threads and memory (ulimit -u, ulimit -v).",
                        error.code().message(), limit_text())};
  } catch (const std::exception& error) {
    return defect(error.what());
  } catch (...) {
    return {base::ExitCode::internal,
            "internal defect: an unknown exception. Please report it with the command line."};
  }
}

}  // namespace

int report(const base::Refusal& error, Launch launch) {
  const int rank = launch == Launch::ranks ? launched_rank() : 0;
  if (rank > 0 && error.code() == base::ExitCode::stopped_early) return 0;  // all ranks stop
  if (rank <= 0) {
    say(error.what());
  } else {
    // Rank 0 writes the message and ends with its code, and mpirun then kills the other ranks at
    // once. A rank that is still alive after 5 s has failed alone, so it writes its own message.
    std::this_thread::sleep_for(std::chrono::seconds(5));
    if (mpi::find_launcher().name == "mpirun") say(rank_label() + error.what());
  }
  return static_cast<int>(error.code());
}

void check_address_space() {
  constexpr std::size_t needed = std::size_t{512} << 20;  // for the heaps of Open MPI 4's threads
  void* found = ::mmap(nullptr, needed, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED)
    throw base::Refusal(
        base::ExitCode::resources,
        fmt::format("MPI cannot start with less than {} of free address space ({} is in use{}). "
                    "Raise the limit.",
                    base::bytes_text(needed), base::bytes_text(addresses_in_use()), limit_text()));
  ::munmap(found, needed);
}

void watch_for_exits() {
  ::on_exit(
      [](int code, void*) {
        if (code != EXIT_FAILURE || !mpi::Session::is_active()) return;
        say(rank_label() +
            fmt::format("a library ended the program, most likely because it got no memory or no "
                        "thread (its own message is above this line{}). Raise the limits of this "
                        "process (ulimit -u, ulimit -v, the job's memory).",
                        limit_text()));
        mpi::Session::abort(static_cast<int>(base::ExitCode::resources));
      },
      nullptr);
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
