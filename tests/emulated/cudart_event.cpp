// libcudart: events.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include <cuda_runtime_api.h>

#include "emulated/call.hpp"
#include "emulated/settings.hpp"

using namespace tetrarch::emulated;

extern "C" {

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Call call;
  *event = create_event(!(flags & cudaEventDisableTiming));
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  const Call call;
  if (!call.event(handle)) return cudaErrorInvalidResourceHandle;
  destroy_event(handle);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  const Call call;
  Event* event = call.event(handle);
  Stream* stream = call.stream(stream_handle);
  if (!event || !stream) return cudaErrorInvalidResourceHandle;
  const auto record = event->last = std::make_shared<EventRecord>();
  stream->push({[] { return "cudaEventRecord"; },
                [record] {
                  order::release(record->token);
                  record->time = time_of_step();
                  record->is_reached = true;
                  return Step::done;
                }});
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned) {
  const Call call;
  Event* event = call.event(handle);
  Stream* stream = call.stream(stream_handle);
  if (!event || !stream) return cudaErrorInvalidResourceHandle;
  if (!event->last)
    return call.fault(
        "cudaStreamWaitEvent for an event that was never recorded (it would not wait)",
        cudaErrorInvalidValue);
  stream->push({[] { return "cudaStreamWaitEvent"; },
                [record = event->last] {
                  if (!record->is_reached) return Step::blocked;
                  order::acquire(record->token);
                  return Step::done;
                }});
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  const Call call;
  Event* event = call.event(handle);
  if (!event) return cudaErrorInvalidResourceHandle;
  ++counters().host_waits;
  if (!event->last) return cudaSuccess;
  EventRecord& record = *event->last;
  if (!advance_until([&] { return record.is_reached; })) return call.refuse(cudaErrorLaunchFailure);
  order::acquire(record.token);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  const Call call(std::try_to_lock);
  if (!call.has_device()) return cudaErrorNotReady;
  Event* event = call.event(handle);
  if (!event) return cudaErrorInvalidResourceHandle;
  if (!event->last) return cudaSuccess;
  advance_eagerly();
  if (!event->last->is_reached) {
    advance_once();  // who only asks must not ask for ever
    return cudaErrorNotReady;
  }
  order::acquire(event->last->token);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const Call call;
  const Event *from = call.event(begin), *to = call.event(end);
  if (!from || !to) return cudaErrorInvalidResourceHandle;
  if (!from->has_timing || !to->has_timing || !from->last || !to->last)
    return call.fault("cudaEventElapsedTime of an event without timing or never recorded",
                      cudaErrorInvalidResourceHandle);
  if (!from->last->is_reached || !to->last->is_reached) return cudaErrorNotReady;
  *milliseconds =
      std::chrono::duration<float, std::milli>(to->last->time - from->last->time).count();
  return cudaSuccess;
}

}  // extern "C"
