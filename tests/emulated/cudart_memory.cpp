// libcudart: memory of the device and of the host, copies.
// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <cstring>

#include <cuda_runtime_api.h>

#include "emulated/bytes.hpp"
#include "emulated/call.hpp"
#include "emulated/device_memory.hpp"
#include "emulated/settings.hpp"

using namespace tetrarch::emulated;

namespace {

/// What is wrong with one side of an asynchronous copy; empty if nothing is.
std::string problem_of(const void* address, std::size_t count) {
  if (device_memory().has(address))
    return device_memory().contains(address, count) ? "" : "bytes outside of an allocation";
  return pinned_memory().contain(address, count) ? "" : "host memory that is not pinned";
}

bool fits(cudaMemcpyKind kind, bool is_to_device, bool is_from_device) {
  switch (kind) {
    case cudaMemcpyHostToDevice:
      return is_to_device && !is_from_device;
    case cudaMemcpyDeviceToHost:
      return !is_to_device && is_from_device;
    case cudaMemcpyDeviceToDevice:
      return is_to_device && is_from_device;
    case cudaMemcpyHostToHost:
      return !is_to_device && !is_from_device;
    default:
      return true;  // cudaMemcpyDefault
  }
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  const Call call;
  *address = nullptr;
  if (bytes == 0) return cudaSuccess;
  *address = device_memory().allocate(bytes);
  return *address ? cudaSuccess : call.refuse(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* address) {
  const Call call;
  if (!address) return cudaSuccess;
  ++counters().host_waits;
  drain_all();
  if (device_memory().release(address)) return cudaSuccess;
  return call.fault("cudaFree of an address where no allocation begins", cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* all_bytes) {
  const Call call;
  *free_bytes = device_memory().free_bytes();
  *all_bytes = options().memory_bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned) {
  const Call call;
  *address = nullptr;
  if (bytes == 0) return cudaSuccess;
  constexpr std::size_t page = 4096;
  if (posix_memalign(address, page, bytes) != 0) return call.refuse(cudaErrorMemoryAllocation);
  fill_with_nan(*address, bytes);
  pinned_memory().add(*address, bytes);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** address, std::size_t bytes) {
  return cudaHostAlloc(address, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* address) {
  const Call call;
  if (!address) return cudaSuccess;
  ++counters().host_waits;
  drain_all();
  if (!pinned_memory().remove(address))
    return call.fault("cudaFreeHost of an address where no pinned memory begins",
                      cudaErrorInvalidValue);
  std::free(address);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t handle) {
  const Call call;
  Stream* stream = call.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  if (!fits(kind, device_memory().has(to), device_memory().has(from)))
    return call.fault("cudaMemcpyAsync: the kind does not fit the addresses",
                      cudaErrorInvalidMemcpyDirection);
  std::string problem = problem_of(to, bytes);
  if (!problem.empty())
    return call.fault("cudaMemcpyAsync writes " + problem, cudaErrorInvalidValue);
  problem = problem_of(from, bytes);
  if (!problem.empty())
    return call.fault("cudaMemcpyAsync reads " + problem, cudaErrorInvalidValue);
  stream->push({[=] { return "cudaMemcpyAsync of " + std::to_string(bytes) + " bytes"; },
                [=] {
                  std::memcpy(to, from, bytes);
                  return Step::done;
                }});
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t handle) {
  const Call call;
  Stream* stream = call.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  if (!device_memory().contains(to, bytes))
    return call.fault("cudaMemsetAsync of bytes outside of an allocation of the device",
                      cudaErrorInvalidValue);
  stream->push({[=] { return "cudaMemsetAsync of " + std::to_string(bytes) + " bytes"; },
                [=] {
                  std::memset(to, value, bytes);
                  return Step::done;
                }});
  return cudaSuccess;
}

}  // extern "C"
