/// The threads of one block: fibers that meet in barriers and in collectives of their warp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "emulated/fault.hpp"
#include "emulated/fiber.hpp"
#include "emulated/ready_threads.hpp"

namespace tetrarch::emulated {

constexpr unsigned warp_size = 32;
constexpr unsigned most_threads = 1024;  // of a block

/// What ThreadSanitizer knows of the threads that a stream's kernels run on. Each stream has its
/// own, because kernels of two streams are not ordered.
///
/// Barriers alternate between two tokens. A thread that runs ahead to the next barrier releases
/// the other token, so that a slow thread, which acquires its own, learns nothing of that.
struct KernelOrder {
  struct Warp {
    order::Token barriers[2];
  };
  KernelOrder();
  ~KernelOrder();
  KernelOrder(const KernelOrder&) = delete;
  KernelOrder& operator=(const KernelOrder&) = delete;
  /// New fibers, after a kernel that was given up in the middle.
  void renew();

  std::vector<order::Fiber> threads;
  order::Token begin, end;  // of a block: blocks run one after the other and share their memory
  order::Token barriers[2];
  Warp warps[most_threads / warp_size];
};

struct BlockThread {
  uint3 index{};
  unsigned flat = 0, lane = 0, warp = 0;
  enum class State { ready, in_barrier, in_collective, done } state = State::done;
  Place place;  // of the built-in that it called last
  Fiber fiber;

  explicit BlockThread(void (*entry)()) : fiber(entry) {}
};

enum class Collective { barrier, ballot, shuffle, shuffle_xor, shuffle_up, shuffle_down };

struct Warp {
  alignas(16) unsigned char values[2][warp_size][16];  // of the shuffles with even and odd number
  unsigned ballots[2];
  unsigned alive;    // lanes that have not returned
  unsigned arrived;  // lanes that wait in the collective; 0: nobody has come yet
  unsigned mask;
  unsigned parity;  // of the number of the collective
  Collective kind;
  Place place;
};

/// The threads of the block that runs, and where they meet. The fibers are kept for later blocks.
class Block {
 public:
  /// Runs `body` once on each thread. False: a fault was reported, and the block was given up.
  bool run(const dim3& extent, KernelOrder& order, const std::function<void()>& body);

  // The rest is called by the running thread.

  const BlockThread& thread() const { return *running_; }
  /// __syncthreads. Returns how many threads came with a vote.
  unsigned barrier(bool vote, const Place& place);
  void warp_barrier(unsigned mask, const Place& place);
  /// Gives `mine` to the warp, and fetches the value of lane `source` into `other`; NaN if the mask
  /// has no such lane. At most 16 bytes, a multiple of 4.
  void exchange(Collective kind, unsigned mask, const void* mine, void* other, unsigned bytes,
                unsigned source, const Place& place);
  unsigned ballot(unsigned mask, bool vote, const Place& place);
  /// Reports a fault of the running thread. The caller then gives up the block.
  void report(const std::string& text) const;
  /// Does not return. The thread's stack is forgotten, so it must own nothing, such as a string.
  [[noreturn]] void give_up();

 private:
  static void thread_main();
  void start(const dim3& extent);
  void run_threads();
  void resume(BlockThread& thread);
  void leave(BlockThread& thread);
  void wait_for_others();
  void forget_threads();
  void open_barrier();
  std::string problem_of(const Warp& warp, Collective kind, unsigned mask,
                         const Place& place) const;
  bool is_possible(const Warp& warp, Collective kind, unsigned mask, const Place& place) const;
  unsigned join(Collective kind, unsigned mask, const Place& place);
  void finish_collective(Warp& warp);
  std::string who_waits() const;

  std::vector<std::unique_ptr<BlockThread>> threads_;  // as many as the largest block so far
  std::vector<Warp> warps_;
  ReadyThreads ready_;
  Fiber scheduler_;
  BlockThread* running_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  KernelOrder* order_ = nullptr;
  unsigned num_threads_ = 0, num_alive_ = 0;
  unsigned num_in_barrier_ = 0, votes_ = 0, barrier_result_ = 0, barrier_parity_ = 0;
  Place barrier_place_;
  bool given_up_ = false;
};

/// The one that runs; a process runs one block at a time.
Block& block();

}  // namespace tetrarch::emulated
