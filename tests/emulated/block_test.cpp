// Kernels run right under every schedule, and mistakes in them are found.
// SPDX-License-Identifier: Apache-2.0
#include "emulated/block.hpp"

#include <numeric>

#include "emulated/kernels_under_test.hpp"
#include "emulated/support.hpp"

namespace tetrarch::emulated {
namespace {

using BlockTest = EmulatedTest;

bool reverses(Planted planted) {
  constexpr int num_blocks = 3, block_size = 128;
  OwnStream stream;
  PinnedArray<float> in(num_blocks * block_size), out(in.count);
  DeviceArray<float> device_in(in.count), device_out(in.count);
  std::iota(in.begin(), in.end(), 1.0f);

  upload(device_in, in, stream);
  reverse(stream, device_in.data, device_out.data, num_blocks, planted);
  download(out, device_out, stream);
  cudaStreamSynchronize(stream);

  bool is_right = true;
  for (std::size_t i = 0; i < in.count; ++i)
    is_right &= out[i] == in[i / block_size * block_size + block_size - 1 - i % block_size];
  return is_right;
}

bool sums_rows(Planted planted) {
  constexpr int rows = 7, columns = 200;
  OwnStream stream;
  PinnedArray<float> in(rows * columns), out(rows);
  DeviceArray<float> device_in(in.count), device_out(out.count);
  for (std::size_t i = 0; i < in.count; ++i)
    in[i] = static_cast<float>(i % 13);

  upload(device_in, in, stream);
  sum_rows(stream, device_in.data, device_out.data, rows, columns, planted);
  download(out, device_out, stream);
  cudaStreamSynchronize(stream);

  bool is_right = true;
  for (int row = 0; row < rows; ++row)  // small whole numbers, so each order gives the same sum
    is_right &= out[row] == std::accumulate(&in[row * columns], &in[row * columns] + columns, 0.0f);
  return is_right;
}

bool swaps_neighbours(Planted planted) {
  OwnStream stream;
  PinnedArray<float> in(300), out(in.count);
  DeviceArray<float> device_in(in.count), device_out(in.count);
  std::iota(in.begin(), in.end(), 1.0f);

  upload(device_in, in, stream);
  swap_neighbours(stream, device_in.data, device_out.data, static_cast<int>(in.count), planted);
  download(out, device_out, stream);
  cudaStreamSynchronize(stream);

  bool is_right = true;
  for (std::size_t i = 0; i < in.count; ++i)
    is_right &= out[i] == in[i ^ 1];
  return is_right;
}

TEST_F(BlockTest, RightKernelsGiveTheSameUnderAllSeeds) {
  EXPECT_EQ(count_wrong([] { return reverses(Planted::nothing); }), 0);
  EXPECT_EQ(count_wrong([] { return sums_rows(Planted::nothing); }), 0);
  EXPECT_EQ(count_wrong([] { return swaps_neighbours(Planted::nothing); }), 0);
}

TEST_F(BlockTest, CollectivesReturnWhatCudaSays) {
  OwnStream stream;
  PinnedArray<int> out(32 * 8);
  DeviceArray<int> device_out(out.count);

  try_collectives(stream, device_out.data);
  download(out, device_out, stream);
  cudaStreamSynchronize(stream);

  unsigned thirds = 0;
  for (int lane = 0; lane < 32; lane += 3)
    thirds |= 1u << lane;
  for (int lane = 0; lane < 32; ++lane) {
    const int* mine = &out[8 * lane];
    EXPECT_EQ(mine[0], 5);
    EXPECT_EQ(mine[1], lane / 8 * 8 + 3);
    EXPECT_EQ(mine[2], lane ^ 7);
    EXPECT_EQ(mine[3], lane + 4 < 32 ? lane + 4 : lane);
    EXPECT_EQ(mine[4], lane % 16 >= 2 ? lane - 2 : lane);
    EXPECT_EQ(static_cast<unsigned>(mine[5]), thirds);
    EXPECT_EQ(mine[6], 1);
    EXPECT_EQ(mine[7], 0);
  }
}

TEST_F(BlockTest, EachThreadOfEachBlockRunsOnce) {
  OwnStream stream;
  PinnedArray<int> result(2);
  DeviceArray<int> device_result(2);

  cudaMemsetAsync(device_result.data, 0, 2 * sizeof(int), stream);
  count_threads(stream, dim3(3, 2, 2), dim3(5, 3, 2), device_result.data, device_result.data + 1);
  download(result, device_result, stream);
  cudaStreamSynchronize(stream);

  constexpr int num_threads = 12 * 30;
  EXPECT_EQ(result[0], num_threads * (num_threads - 1) / 2);
  EXPECT_EQ(result[1], num_threads - 1);
}

TEST_F(BlockTest, LoadsOfSixteenBytesAndBf16Work) {
  OwnStream stream;
  PinnedArray<__nv_bfloat16> in(1000), out(in.count);
  DeviceArray<__nv_bfloat16> device_in(in.count), device_out(in.count);
  for (std::size_t i = 0; i < in.count; ++i)
    in[i] = __float2bfloat16(static_cast<float>(i));

  upload(device_in, in, stream);
  scale_bf16(stream, device_in.data, device_out.data, static_cast<int>(in.count), 0.3f);
  download(out, device_out, stream);
  cudaStreamSynchronize(stream);

  for (std::size_t i = 0; i < in.count; ++i)
    EXPECT_EQ(__bfloat162float(out[i]),
              __bfloat162float(__float2bfloat16(__bfloat162float(in[i]) * 0.3f)));
}

TEST_F(BlockTest, ALoadThatIsNotAlignedIsFoundByTheSanitizer) {
  if (!has_address_sanitizer) return;  // built together with UndefinedBehaviorSanitizer
  OwnStream stream;
  DeviceArray<__nv_bfloat16> in(80), out(80);
  const auto load_from_second = [&] {
    scale_bf16(stream, in.data + 1, out.data, 64, 2);
    cudaStreamSynchronize(stream);
  };

  EXPECT_DEATH(load_from_second(), "misaligned address");
}

TEST_F(BlockTest, InstantiationsHaveSharedMemoryOfTheirOwn) {
  OwnStream stream;
  PinnedArray<float> values(64);
  DeviceArray<float> device_values(64);
  std::iota(values.begin(), values.end(), 0.0f);

  upload(device_values, values, stream);
  add_by_templates(stream, device_values.data);
  download(values, device_values, stream);
  cudaStreamSynchronize(stream);

  for (std::size_t i = 0; i < 64; ++i)
    EXPECT_EQ(values[i], static_cast<float>(i) + 2);
}

TEST_F(BlockTest, ADroppedBarrierIsFound) {
  expect_race([] { return reverses(Planted::dropped_barrier); });
}

TEST_F(BlockTest, ADroppedBarrierBeforeMemoryIsUsedAgainIsFound) {
  expect_race([] { return sums_rows(Planted::dropped_barrier); });
}

TEST_F(BlockTest, ADroppedWarpBarrierIsFound) {
  expect_race([] { return swaps_neighbours(Planted::dropped_warp_barrier); });
}

TEST_F(BlockTest, ADivergentBarrierIsNamedWithItsLines) {
  count_wrong([] { return reverses(Planted::divergent_barrier); });

  expect_faults("divergent barriers: the one of kernels_under_test.cu:");
}

TEST_F(BlockTest, ABarrierAfterSomeThreadsHaveReturnedIsFound) {
  EXPECT_EQ(count_wrong([] { return reverses(Planted::early_return); }), num_seeds);

  expect_faults("have returned");
}

TEST_F(BlockTest, MasksAreHeldAgainstTheLanes) {
  count_wrong([] { return swaps_neighbours(Planted::missing_lane); });
  expect_faults("return");  // who has returned, or returns later: "from thread 5 on returned"

  count_wrong([] { return swaps_neighbours(Planted::foreign_lane); });
  expect_faults("a lane that its own mask does not name, at kernels_under_test.cu:");
}

TEST_F(BlockTest, ACollectiveThatALaneNeverCallsIsFound) {
  count_wrong([] { return swaps_neighbours(Planted::endless_wait); });

  expect_faults("return");
}

TEST_F(BlockTest, AKernelRunsAfterOneThatWasGivenUp) {
  reverses(Planted::divergent_barrier);
  faults_.clear();

  EXPECT_TRUE(reverses(Planted::nothing));
}

TEST_F(BlockTest, ASeedGivesTheSameRunAgain) {
  const auto switches = [] {
    const std::int64_t before = counters().switches;
    set_seed(7);
    sums_rows(Planted::nothing);
    return counters().switches - before;
  };

  EXPECT_EQ(switches(), switches());
}

}  // namespace
}  // namespace tetrarch::emulated
