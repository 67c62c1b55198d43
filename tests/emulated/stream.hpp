/// Streams: queues of operations, which advance at random moments while the host calls CUDA.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include <cuda_runtime_api.h>

#include "emulated/block.hpp"
#include "emulated/order.hpp"

namespace tetrarch::emulated {

enum class Step {
  blocked,   // nothing was done; it is called again
  advanced,  // something was done; it is called again
  done,
};

struct Operation {
  std::function<std::string()> name;  // for messages
  std::function<Step()> run;
  bool is_host_function = false;  // which cannot touch device memory
  // Released by the host when it enqueues, acquired by the stream.
  std::unique_ptr<order::Token> enqueued = std::make_unique<order::Token>();
};

class Stream {
 public:
  explicit Stream(int priority) : priority_(priority), order_(order::create()) {}
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// May also run operations of any stream.
  void push(Operation operation);
  bool is_idle() const { return operations_.empty(); }
  /// One step of the first operation.
  Step advance();
  /// The host has seen that the stream is idle.
  void seen_idle() { order::acquire(done_); }
  KernelOrder& kernel_order() { return kernel_order_; }
  int priority() const { return priority_; }
  /// The operation that all others wait for.
  std::string first() const { return operations_.front().name(); }

 private:
  int priority_;
  std::deque<Operation> operations_;
  order::Fiber order_;
  order::Token done_;  // released after each operation
  KernelOrder kernel_order_;
};

/// Creates or finds a stream. find_stream() gives a null pointer when there is none.
cudaStream_t create_stream(int priority);
Stream* find_stream(cudaStream_t handle);
void destroy_stream(cudaStream_t handle);

/// Runs operations of random streams, as many as the drawn numbers say.
void advance_eagerly();
/// One step of a random stream, if one can go on.
void advance_once();
/// Runs operations of random streams until `is_done`. False: a fault, none of them can go on.
bool advance_until(const std::function<bool()>& is_done);
/// Until this stream, or all streams, are idle.
bool drain(Stream& stream);
bool drain_all();
/// When the operation that runs now began its step. An operation must not read the clock: for
/// ThreadSanitizer, that is a write to the stack which all streams share.
std::chrono::steady_clock::time_point time_of_step();
/// Whether this thread runs an operation now, so that the caller is a host function.
bool is_advancing();

}  // namespace tetrarch::emulated
