// The limits of a launch are those of the device.
// SPDX-License-Identifier: Apache-2.0
#include "emulated/kernel.hpp"
#include "emulated/kernels_under_test.hpp"
#include "emulated/support.hpp"

namespace tetrarch::emulated {
namespace {

class LaunchTest : public EmulatedTest {
 protected:
  void expect_refused(dim3 grid, dim3 block, const std::string& text) {
    OwnStream stream;
    DeviceArray<int> result(2);

    EXPECT_EQ(count_threads(stream, grid, block, result.data, result.data + 1),
              cudaErrorInvalidConfiguration);

    expect_faults(text);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  }
};

TEST_F(LaunchTest, GridsAndBlocksHaveLimits) {
  expect_refused(dim3(0), dim3(32), "without blocks");
  expect_refused(dim3(1, 65536), dim3(32), "65535");
  expect_refused(dim3(1), dim3(0), "without threads");
  expect_refused(dim3(1), dim3(33, 32), "1024 threads");
  expect_refused(dim3(1), dim3(1, 1, 65), "64 in z");
}

TEST_F(LaunchTest, TheFaultNamesTheKernel) {
  expect_refused(dim3(0), dim3(32), "count_kernel(int*, int*), started at kernels_under_test.cu:");
}

TEST_F(LaunchTest, MuchDynamicSharedMemoryMustBeAllowedFirst) {
  OwnStream stream;
  constexpr int count = 20'000;  // 80,000 bytes
  DeviceArray<float> device(count);
  PinnedArray<float> out(count);

  EXPECT_NE(fill_dynamic(stream, device.data, count), cudaSuccess);
  expect_faults("cudaFuncSetAttribute");

  EXPECT_EQ(fill_large_dynamic(stream, device.data, count), cudaSuccess);
  download(out, device, stream);
  cudaStreamSynchronize(stream);
  for (int i = 0; i < count; ++i)
    EXPECT_EQ(out[static_cast<std::size_t>(i)], static_cast<float>(count - 1 - i));
}

TEST_F(LaunchTest, TheDefaultStreamIsAFault) {
  DeviceArray<float> x(8);

  EXPECT_NE(scale(nullptr, x.data, 8, 2), cudaSuccess);

  expect_faults("default stream");
}

}  // namespace
}  // namespace tetrarch::emulated
