/// A call of the CUDA runtime: one thread at a time, with the last error, and device memory closed
/// at the end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <string>

#include <cuda_runtime_api.h>

#include "emulated/event.hpp"
#include "emulated/stream.hpp"

namespace tetrarch::emulated {

class Call {
 public:
  /// Waits until no other thread is in a call. A fault when a host function of a stream calls CUDA.
  Call();
  /// Does not wait (std::try_to_lock); has_device() tells whether another thread is in a call.
  explicit Call(std::try_to_lock_t);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  bool has_device() const { return lock_.owns_lock(); }
  /// Remembers an error for cudaGetLastError, and returns it.
  cudaError_t refuse(cudaError_t error) const;
  /// The same, and reports a fault.
  cudaError_t fault(const std::string& text, cudaError_t error) const;
  /// A null pointer, after a fault, if there is no such stream or event. The default stream is a
  /// fault: it orders streams among each other and hides mistakes.
  Stream* stream(cudaStream_t handle) const;
  Event* event(cudaEvent_t handle) const;

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

/// Returns the last error, and forgets it or not.
enum class Forget { no, yes };
cudaError_t last_error(Forget forget);

}  // namespace tetrarch::emulated
