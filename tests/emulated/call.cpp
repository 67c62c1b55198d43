// SPDX-License-Identifier: Apache-2.0
#include "emulated/call.hpp"

#include <utility>

#include "emulated/device_memory.hpp"
#include "emulated/fault.hpp"

namespace tetrarch::emulated {
namespace {

std::recursive_mutex& device_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

thread_local cudaError_t last = cudaSuccess;

/// Then this thread is in a call already, which waits for the function.
bool is_host_function() {
  if (is_advancing()) report_fault("a host function of a stream calls CUDA");
  return is_advancing();
}

}  // namespace

Call::Call() : lock_(device_mutex(), std::defer_lock) {
  if (!is_host_function()) lock_.lock();
}

Call::Call(std::try_to_lock_t) : lock_(device_mutex(), std::defer_lock) {
  if (!is_host_function()) lock_.try_lock();
}

Call::~Call() {
  if (has_device()) device_memory().close();
}

cudaError_t Call::refuse(cudaError_t error) const {
  last = error;
  return error;
}

cudaError_t Call::fault(const std::string& text, cudaError_t error) const {
  report_fault(text);
  return refuse(error);
}

Stream* Call::stream(cudaStream_t handle) const {
  Stream* found = find_stream(handle);
  if (found) return found;
  fault(handle ? "a stream that does not exist" : "the default stream is used",
        cudaErrorInvalidResourceHandle);
  return nullptr;
}

Event* Call::event(cudaEvent_t handle) const {
  Event* found = find_event(handle);
  if (!found) fault("an event that does not exist", cudaErrorInvalidResourceHandle);
  return found;
}

cudaError_t last_error(Forget forget) {
  return forget == Forget::yes ? std::exchange(last, cudaSuccess) : last;
}

}  // namespace tetrarch::emulated
