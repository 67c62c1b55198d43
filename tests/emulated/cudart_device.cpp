// libcudart: devices, versions, errors, attributes of kernels.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <cuda_runtime_api.h>

#include "emulated/call.hpp"
#include "emulated/device_memory.hpp"
#include "emulated/kernel.hpp"
#include "emulated/settings.hpp"
#include "emulated/shared_memory.hpp"

using namespace tetrarch::emulated;

namespace {

thread_local int current_device = 0;

bool is_device(int device) {
  return device >= 0 && device < options().num_devices;
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  const Call call;
  *count = options().num_devices;
  return *count > 0 ? cudaSuccess : call.refuse(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  const Call call;
  if (!is_device(device)) return call.refuse(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Call call;
  if (!is_device(device)) return call.refuse(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "emulated device");
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 132;  // this and the next: H100 SXM
  properties->l2CacheSize = 50 << 20;
  properties->totalGlobalMem = options().memory_bytes;
  properties->sharedMemPerBlock = most_shared_bytes_by_default;
  properties->sharedMemPerBlockOptin = most_shared_bytes;
  properties->warpSize = warp_size;
  properties->maxThreadsPerBlock = most_threads;
  properties->asyncEngineCount = 3;
  properties->unifiedAddressing = 1;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  return last_error(Forget::yes);
}

cudaError_t cudaPeekAtLastError() {
  return last_error(Forget::no);
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidMemcpyDirection:
      return "cudaErrorInvalidMemcpyDirection";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "unrecognized error code";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidMemcpyDirection:
      return "invalid copy direction for memcpy";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorNotSupported:
      return "operation not supported";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    default:
      return "unrecognized error code";
  }
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const Call call;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    return call.fault("cudaFuncSetAttribute with an attribute that is not emulated",
                      cudaErrorNotSupported);
  if (value < 0 || static_cast<std::size_t>(value) > most_shared_bytes)
    return call.refuse(cudaErrorInvalidValue);
  allow_dynamic_shared(function, static_cast<std::size_t>(value));
  return cudaSuccess;
}

}  // extern "C"
