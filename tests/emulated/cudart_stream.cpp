// libcudart: streams, events, host functions, waiting.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include "emulated/call.hpp"
#include "emulated/settings.hpp"

using namespace tetrarch::emulated;

namespace {

constexpr int lowest_priority = 0, highest_priority = -5;

}  // namespace

extern "C" {

cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
  *lowest = lowest_priority;
  *highest = highest_priority;
  return cudaSuccess;
}

/// The priority changes nothing here: streams advance in a random order.
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  const Call call;
  if (flags != cudaStreamNonBlocking && flags != cudaStreamDefault)
    return call.refuse(cudaErrorInvalidValue);
  if (priority > lowest_priority || priority < highest_priority)
    return call.fault("a priority of a stream outside of the range", cudaErrorInvalidValue);
  *stream = create_stream(priority);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, lowest_priority);
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  const Call call;
  const Stream* stream = call.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  *priority = stream->priority();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  const Call call;
  Stream* stream = call.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  drain(*stream);
  destroy_stream(handle);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const Call call;
  Stream* stream = call.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  ++counters().host_waits;
  return drain(*stream) ? cudaSuccess : call.refuse(cudaErrorLaunchFailure);
}

cudaError_t cudaDeviceSynchronize() {
  const Call call;
  ++counters().host_waits;
  return drain_all() ? cudaSuccess : call.refuse(cudaErrorLaunchFailure);
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  const Call call(std::try_to_lock);
  if (!call.has_device()) return cudaErrorNotReady;
  Stream* stream = call.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  advance_eagerly();
  if (!stream->is_idle()) {
    advance_once();  // who only asks must not ask for ever
    return cudaErrorNotReady;
  }
  stream->seen_idle();
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  const Call call;
  Stream* stream = call.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  Operation operation{[] { return "a host function"; },
                      [=] {
                        function(data);
                        return Step::done;
                      }};
  operation.is_host_function = true;
  stream->push(std::move(operation));
  return cudaSuccess;
}

}  // extern "C"
