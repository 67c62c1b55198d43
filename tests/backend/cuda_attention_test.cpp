// The CUDA kernel of attention has the bits of the CPU's f32 kernel.
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "backend/cpu/kernels/testing.hpp"
#include "backend/cuda/kernels/attention.hpp"
#include "backend/device_arrays.hpp"

namespace tetrarch::backend::cuda {
namespace {

class AttentionKernel : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    cpu::testing::set_bf16_kernels(cpu::Bf16Kernels::widened);
  }
  void TearDown() override { cpu::testing::set_bf16_kernels(std::nullopt); }

  struct Case {
    AttentionShape shape;
    std::vector<Segment> segments;
    std::int64_t rows, key_rows, slices = 1;
  };

  static void attend(const Case& of, const Tensor& query, const Tensor& key, const Tensor& value,
                     const Tensor& out) {
    std::vector<TiledSegment> tiled(of.segments.size());
    const std::int64_t tiles = tile_segments(of.shape, of.segments, tiled);
    const auto bytes = static_cast<std::int64_t>(tiled.size() * sizeof(TiledSegment));
    const DeviceBytes memory(bytes);
    copy_bytes(tiled.data(), memory.data(), bytes, cudaMemcpyHostToDevice);
    attention(stream(), of.shape, query, key, value,
              static_cast<const TiledSegment*>(memory.data()), std::ssize(tiled), tiles, out);
    EXPECT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
  }

  void expect_cpu_bits(DType dtype, const Case& of, const Array& query, const Array& key,
                       const Array& value) {
    Array out(dtype, of.rows, of.shape.num_heads / of.slices * of.shape.head_size, of.slices);
    const OnDevice device_query(query), device_key(key), device_value(value), result(out);
    compute_.attention(of.shape, query, key, value, of.segments, out);
    attend(of, device_query, device_key, device_value, result);
    EXPECT_TRUE(has_bits_of(out, result))
        << "head size " << of.shape.head_size << ", window " << of.shape.window;
  }

  void expect_cpu_bits(const Case& of, float size = 1) {
    const std::int64_t d = of.shape.head_size;
    for (const DType dtype : dtypes)
      expect_cpu_bits(dtype, of, Array::random(dtype, of.rows, of.shape.num_heads * d, 1, 2 * size),
                      Array::random(dtype, of.key_rows, of.shape.num_kv_heads * d, 2, 2 * size),
                      Array::random(dtype, of.key_rows, of.shape.num_kv_heads * d, 3, size));
  }
};

TEST_F(AttentionKernel, HeadsOfAnySize) {
  for (const std::int64_t d : {1, 8, 33, 64, 80, 128, 200, 256, 300})
    expect_cpu_bits({{2, 1, d, 0.3f, 0}, {{0, 37, 0, 0}}, 37, 37});
}

TEST_F(AttentionKernel, GroupsOfHeadsWindowsAndSlices) {
  for (const auto& [heads, kv_heads] :
       {std::pair<std::int64_t, std::int64_t>{4, 4}, {4, 2}, {6, 2}, {8, 1}})
    for (const auto& [window, slices] :
         {std::pair<std::int64_t, std::int64_t>{0, 1}, {1, 2}, {5, 1}, {130, 2}})
      expect_cpu_bits({{heads, kv_heads, 16, 0.25f, window}, {{0, 150, 0, 0}}, 150, 150, slices},
                      3);
}

TEST_F(AttentionKernel, ManySegmentsSomeEmpty) {
  expect_cpu_bits({{2, 2, 32, 0.2f, 0},
                   {{0, 0, 0, 0}, {3, 1, 0, 5}, {4, 33, 0, 6}, {37, 0, 7, 0}, {40, 9, 0, 50}},
                   50,
                   70});
  expect_cpu_bits({{2, 2, 32, 0.2f, 0}, {}, 3, 3});
  expect_cpu_bits({{2, 2, 32, 0.2f, 0}, {}, 0, 0});
}

TEST_F(AttentionKernel, ChunksAgainstACacheHaveTheBitsOfTheWhole) {
  const AttentionShape shape{4, 2, 40, 0.2f, 0};
  const std::int64_t rows = 300, chunk = 77;
  for (const std::int64_t window : {0, 100})
    for (const DType dtype : dtypes) {
      Case whole{shape, {{0, rows, 0, 0}}, rows, rows};
      whole.shape.window = window;
      const Array query = Array::random(dtype, rows, 160, 4, 3);
      const Array key = Array::random(dtype, rows, 80, 5, 3);
      const Array value = Array::random(dtype, rows, 80, 6);
      Array out(dtype, rows, 160);
      const OnDevice device_query(query), device_key(key), device_value(value), result(out);
      compute_.attention(whole.shape, query, key, value, whole.segments, out);

      for (std::int64_t first = 0; first < rows; first += chunk) {
        Case part = whole;
        part.segments = {{first, std::min(chunk, rows - first), first, 0}};
        attend(part, device_query, device_key, device_value, result);
      }

      EXPECT_TRUE(has_bits_of(out, result)) << "window " << window;
    }
}

TEST_F(AttentionKernel, BadKeysSpoilOnlyTheRowsThatAttendToThem) {
  for (const DType dtype : dtypes)
    for (const std::int64_t window : {0, 20})
      for (const float bad : {infinity, -infinity, not_a_number}) {
        const Case of{{2, 2, 24, 0.2f, window}, {{0, 160, 0, 0}, {160, 20, 0, 160}}, 180, 180};
        const Array query = Array::random(dtype, 180, 48, 7);
        Array key = Array::random(dtype, 180, 48, 8), value = Array::random(dtype, 180, 48, 9);
        key.set(50 * 48 + 3, bad);      // head 0
        value.set(140 * 48 + 30, bad);  // head 1
        Array bad_query = query;
        bad_query.set(10 * 48 + 5, bad);

        expect_cpu_bits(dtype, of, query, key, value);
        expect_cpu_bits(dtype, of, bad_query, key, value);
      }
}

TEST_F(AttentionKernel, LargeScoresOverflowAsOnTheCpu) {
  expect_cpu_bits({{2, 1, 16, 1, 0}, {{0, 40, 0, 0}}, 40, 40}, 30);
  const Case of{{1, 1, 16, 1, 0}, {{0, 40, 0, 0}}, 40, 40};
  expect_cpu_bits(DType::f32, of, Array::random(DType::f32, 40, 16, 10, 1e20f),
                  Array::random(DType::f32, 40, 16, 11, 1e20f),
                  Array::random(DType::f32, 40, 16, 12));
}

}  // namespace
}  // namespace tetrarch::backend::cuda
