/// What a test may set on the emulated device, what the device counts, and its random numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace tetrarch::emulated {

/// The order in which the threads of a block run. A thread runs until its next barrier or warp
/// collective.
enum class Schedule {
  forward,         // thread 0, 1, 2, ... to the next barrier, and again
  backward,        // the same from the last thread to the first
  random,          // any thread that can run
  one_warp_first,  // one warp goes on as far as it can, then the next
  any_warp_first,  // the same, and the first warp is drawn
  drawn,           // one of the above, drawn for each block
};

struct Options {
  // The chance in per cent that a call which does not wait runs one more queued operation.
  // 0: operations run only when the host waits. 100: all run at once. -1: drawn by set_seed().
  int eagerness = -1;
  Schedule schedule = Schedule::drawn;
  bool protects_memory = true;  // the host cannot read or write device memory
  bool checks_canaries = true;  // after each kernel, the bytes behind each allocation
  bool yields_in_warps = true;  // the last thread of a warp collective lets others run first
  int num_devices = 64;         // cudaGetDeviceCount
  std::size_t memory_bytes = std::size_t{64} << 30;  // of all devices together
  // Called while a stream waits for another process. Without it, a stream that cannot go on is a
  // fault.
  std::function<void()> idle;
};
Options& options();

/// Written by the thread that drives the device, read by any.
class Counter {
 public:
  void operator++() {
    value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  operator std::int64_t() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

struct Counters {
  Counter kernels, operations;  // that have ended
  Counter barriers, warp_collectives, switches;
  Counter host_waits;  // calls that return after queued work is done
};
Counters& counters();

/// Starts the random numbers anew; the same seed gives the same run. At the start of a process the
/// seed is TETRARCH_EMULATED_SEED (0 if it is not set) with the number of the MPI rank.
void set_seed(std::uint64_t seed);
/// The next random number below `bound`.
std::uint32_t draw(std::uint32_t bound);
/// Whether a call runs one more operation that nobody waits for.
bool draw_eager();

}  // namespace tetrarch::emulated
