// Device memory is out of the host's reach, and wrong copies and overruns are found.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <vector>

#include "emulated/device_memory.hpp"
#include "emulated/kernels_under_test.hpp"
#include "emulated/support.hpp"

namespace tetrarch::emulated {
namespace {

using MemoryTest = EmulatedTest;

TEST_F(MemoryTest, WhatWasUploadedComesBack) {
  const auto is_right = [] {
    OwnStream stream;
    PinnedArray<int> in(1000), out(in.count);
    DeviceArray<int> device(in.count), other(in.count);
    for (std::size_t i = 0; i < in.count; ++i)
      in[i] = static_cast<int>(i);

    upload(device, in, stream);
    cudaMemcpyAsync(other.data, device.data, in.count * sizeof(int), cudaMemcpyDeviceToDevice,
                    stream);
    download(out, other, stream);
    cudaStreamSynchronize(stream);
    return std::memcmp(in.data, out.data, in.count * sizeof(int)) == 0;
  };

  EXPECT_EQ(count_wrong(is_right), 0);
}

TEST_F(MemoryTest, NewMemoryIsNan) {
  OwnStream stream;
  PinnedArray<float> out(10);
  DeviceArray<float> device(10);
  EXPECT_TRUE(std::isnan(out[3]));
  out[3] = 0;

  download(out, device, stream);
  cudaStreamSynchronize(stream);

  EXPECT_TRUE(std::isnan(out[3]));
}

TEST_F(MemoryTest, TheHostCannotReadOrWriteDeviceMemory) {
  DeviceArray<float> device(10);

  EXPECT_DEATH(static_cast<volatile float*>(device.data)[0] = 1, "");
  EXPECT_DEATH((void)static_cast<volatile float*>(device.data)[0], "");
}

TEST_F(MemoryTest, AHostFunctionCannotTouchDeviceMemory) {
  OwnStream stream;
  DeviceArray<float> device(10);
  const auto touch = [](void* data) { *static_cast<volatile float*>(data) = 1; };

  EXPECT_DEATH(
      {
        cudaMemsetAsync(device.data, 0, 40, stream);
        cudaLaunchHostFunc(stream, touch, device.data);
        cudaStreamSynchronize(stream);
      },
      "");
}

TEST_F(MemoryTest, AnOverrunIsFound) {
  const auto overrun = [] {
    OwnStream stream;
    DeviceArray<float> device(100);
    scale(stream, device.data, 100, 2, Planted::one_too_many);
    cudaStreamSynchronize(stream);
  };

  if (has_address_sanitizer) {
    EXPECT_DEATH(overrun(), "use-after-poison");
  } else {
    overrun();
    expect_faults("changed byte 2 behind an allocation of 400 bytes");
  }
}

TEST_F(MemoryTest, TheKindOfACopyMustFit) {
  OwnStream stream;
  PinnedArray<int> host(10);
  DeviceArray<int> device(10);

  EXPECT_EQ(cudaMemcpyAsync(device.data, host.data, 40, cudaMemcpyDeviceToHost, stream),
            cudaErrorInvalidMemcpyDirection);
  expect_faults("the kind does not fit");
  EXPECT_NE(cudaMemcpyAsync(host.data, device.data, 40, cudaMemcpyDeviceToDevice, stream),
            cudaSuccess);
  expect_faults("the kind does not fit");
  EXPECT_EQ(cudaMemcpyAsync(device.data, host.data, 40, cudaMemcpyDefault, stream), cudaSuccess);
}

TEST_F(MemoryTest, PageableMemoryInAnAsynchronousCopyIsAFault) {
  OwnStream stream;
  std::vector<int> host(10);
  DeviceArray<int> device(10);

  EXPECT_NE(cudaMemcpyAsync(device.data, host.data(), 40, cudaMemcpyHostToDevice, stream),
            cudaSuccess);
  expect_faults("reads host memory that is not pinned");
  EXPECT_NE(cudaMemcpyAsync(host.data(), device.data, 40, cudaMemcpyDeviceToHost, stream),
            cudaSuccess);
  expect_faults("writes host memory that is not pinned");
}

TEST_F(MemoryTest, CopiesStayInsideOfOneAllocation) {
  OwnStream stream;
  PinnedArray<char> host(100);
  DeviceArray<char> device(50);

  EXPECT_NE(cudaMemcpyAsync(device.data, host.data, 51, cudaMemcpyHostToDevice, stream),
            cudaSuccess);
  expect_faults("writes bytes outside of an allocation");
  EXPECT_NE(cudaMemcpyAsync(host.data + 60, device.data, 50, cudaMemcpyDeviceToHost, stream),
            cudaSuccess);
  expect_faults("not pinned");
  EXPECT_NE(cudaMemsetAsync(device.data + 1, 0, 50, stream), cudaSuccess);
  expect_faults("outside of an allocation");
}

TEST_F(MemoryTest, ThereIsNoMoreThanTheDeviceHas) {
  options().memory_bytes = 1000;
  void *first = nullptr, *second = nullptr;
  std::size_t free_bytes = 0, all_bytes = 0;

  EXPECT_EQ(cudaMalloc(&first, 600), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 600), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  cudaMemGetInfo(&free_bytes, &all_bytes);
  EXPECT_EQ(free_bytes, 400u);
  EXPECT_EQ(all_bytes, 1000u);

  cudaFree(first);
  EXPECT_EQ(cudaMalloc(&second, 600), cudaSuccess);
  cudaFree(second);
}

TEST_F(MemoryTest, FreedMemoryIsUsedAgain) {
  void *a = nullptr, *b = nullptr, *c = nullptr, *again = nullptr;
  cudaMalloc(&a, 1000);
  cudaMalloc(&b, 1000);
  cudaMalloc(&c, 1000);

  cudaFree(a);
  cudaFree(c);
  cudaFree(b);
  cudaMalloc(&again, 2500);

  EXPECT_EQ(again, a);
  cudaFree(again);
}

TEST_F(MemoryTest, OnlyAnAllocationCanBeFreed) {
  DeviceArray<int> device(10);

  EXPECT_EQ(cudaFree(device.data + 1), cudaErrorInvalidValue);
  expect_faults("cudaFree");
  EXPECT_EQ(cudaFreeHost(device.data), cudaErrorInvalidValue);
  expect_faults("cudaFreeHost");
}

}  // namespace
}  // namespace tetrarch::emulated
