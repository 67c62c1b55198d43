// Causal attention over blocks of 128 keys, with a running maximum per query.
//
// reads   query [rows, num_heads * d], key and value [key rows, num_kv_heads * d]
// writes  out [slices][rows][num_heads / slices * d]
// launch  one block per (tile, kv head, part). A tile is 32 columns of a segment; column c is query
//         c / group of head kv_head * group + c % group, where `group` heads share a kv head. A
//         part is 16 * D dimensions of the result; heads with more of them compute the scores once
//         per part. Each thread has 4 columns: of these, the scores of 8 keys and the sums of D
//         dimensions.
// sums    every score is one chain over the dimensions; every weight and every sum of values is one
//         chain over the keys: those of cpu/kernels/attention.cpp. Blocks of keys are counted from
//         position 0 of the sequence.
// bound   compute: 4 * d operations per query, head and key. Memory per tile, kv head and part: the
//         keys and the values up to the tile's last position
// SPDX-License-Identifier: Apache-2.0
#include <climits>
#include <cmath>

#include "backend/cuda/kernels/attention.hpp"
#include "backend/cuda/kernels/language.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int block_keys = 128;
constexpr int tile_columns = 32;
constexpr int threads = 128;
constexpr int threads_per_column = 16;
constexpr int own_columns = tile_columns * threads_per_column / threads;  // of a thread: 4
constexpr int own_keys = block_keys / threads_per_column;                 // of a thread: 8
constexpr int step = 32;           // dimensions that are in shared memory at a time
constexpr int padded = step + 1;   // so that 16 rows lie in different banks
constexpr int held_floats = 4224;  // of keys [128][padded] or of values [held_keys][16 * D]

template <class T>
struct AttentionArgs {
  const T* query;
  const T* key;
  const T* value;
  T* out;
  const TiledSegment* segments;
  std::int64_t num_segments, items, rows;
  int window, num_kv_heads, group, d, slice_heads, parts;
  float scale;
};

/// What a block works on.
struct Tile {
  Segment segment;
  std::int64_t first_column;
  int kv_head, first_dimension;
};

/// The last tiles of a segment come first, because they have the most keys.
template <class T>
__device__ __forceinline__ Tile tile_of(const AttentionArgs<T>& args, std::int64_t item) {
  item = args.items - 1 - item;
  const int part = static_cast<int>(item % args.parts);
  item /= args.parts;
  const int kv_head = static_cast<int>(item % args.num_kv_heads);
  const std::int64_t tile = item / args.num_kv_heads;
  std::int64_t low = 0, high = args.num_segments;  // the last segment that begins at or before it
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    if (args.segments[middle].first_tile <= tile)
      low = middle;
    else
      high = middle;
  }
  const TiledSegment& found = args.segments[low];
  return {found.segment, (tile - found.first_tile) * tile_columns, kv_head, part};
}

__device__ __forceinline__ bool attends(int position, int key, int window) {
  return key <= position && (window == 0 || key > position - window);
}

/// The value itself, or 0 where it is not finite; then *is_bad becomes 1. Without this, 0 times
/// such a value would be NaN in queries that do not attend to its key.
__device__ __forceinline__ float take_out_bad(float value, int* is_bad) {
  if (value - value == 0.0f) return value;
  atomicMax(is_bad, 1);
  return 0.0f;
}

template <class T, int D>
__global__ void __launch_bounds__(threads) attention_kernel(const AttentionArgs<T> args) {
  constexpr int part_dimensions = threads_per_column * D;
  constexpr int held_keys = 4096 / part_dimensions;  // keys whose values are in shared memory
  SHARED(float, held, held_floats);
  SHARED(float, query, tile_columns* padded);                 // [32][padded]
  SHARED(float, probability, block_keys*(tile_columns + 4));  // [128][36]
  SHARED(int, is_bad, block_keys);
  constexpr int probability_row = tile_columns + 4;
  const int own = threadIdx.x % threads_per_column;
  const int column = threadIdx.x / threads_per_column * own_columns;
  const int d = args.d;
  const std::int64_t query_row = std::int64_t{args.num_kv_heads} * args.group * d;
  const std::int64_t key_row = std::int64_t{args.num_kv_heads} * d;

  for (std::int64_t item = blockIdx.x; item < args.items; item += gridDim.x) {
    const Tile tile = tile_of(args, item);
    const Segment& segment = tile.segment;
    const int first_dimension = tile.first_dimension * part_dimensions;
    const std::int64_t columns = segment.count * args.group;
    const std::int64_t end_column =
        tile.first_column + tile_columns < columns ? tile.first_column + tile_columns : columns;
    const int first_position =
        static_cast<int>(segment.first_position + tile.first_column / args.group);
    const int last_position =
        static_cast<int>(segment.first_position + (end_column - 1) / args.group);
    const T* key = args.key + segment.key_row * key_row + std::int64_t{tile.kv_head} * d;
    const T* value = args.value + segment.key_row * key_row + std::int64_t{tile.kv_head} * d;

    int position[own_columns];  // -1: no query
    float max[own_columns], weight[own_columns], sum[own_columns][D];
#pragma unroll
    for (int q = 0; q < own_columns; ++q) {
      const std::int64_t c = tile.first_column + column + q;
      position[q] = c < columns ? static_cast<int>(segment.first_position + c / args.group) : -1;
      max[q] = -INFINITY;
      weight[q] = 0;
#pragma unroll
      for (int i = 0; i < D; ++i)
        sum[q][i] = 0;
    }

    const int oldest = first_position - args.window + 1;
    const int first_block = args.window == 0 || oldest < 0 ? 0 : oldest / block_keys * block_keys;
    for (int first_key = first_block; first_key <= last_position; first_key += block_keys) {
      float score[own_columns][own_keys] = {};
      for (int k = threadIdx.x; k < block_keys; k += threads)
        is_bad[k] = 0;
      for (int first = 0; first < d; first += step) {
        const int depth = d - first < step ? d - first : step;
        __syncthreads();  // all have read what is overwritten now
        for (int i = threadIdx.x; i < tile_columns * step; i += threads) {
          const int at = i % step;
          const std::int64_t c = tile.first_column + i / step;
          float loaded = 0;
          if (at < depth && c < columns)
            loaded =
                to_float(args.query[(segment.row + c / args.group) * query_row +
                                    (tile.kv_head * args.group + c % args.group) * d + first + at]);
          query[i / step * padded + at] = loaded;
        }
        for (int i = threadIdx.x; i < block_keys * step; i += threads) {
          const int at = i % step, k = i / step;
          float loaded = 0;
          if (at < depth && first_key + k <= last_position)
            loaded = take_out_bad(to_float(key[std::int64_t{first_key + k} * key_row + first + at]),
                                  is_bad + k);
          held[k * padded + at] = loaded;
        }
        __syncthreads();
#pragma unroll 4
        for (int at = 0; at < depth; ++at) {
          float of_query[own_columns];
#pragma unroll
          for (int q = 0; q < own_columns; ++q)
            of_query[q] = query[(column + q) * padded + at];
#pragma unroll
          for (int k = 0; k < own_keys; ++k) {
            const float of_key = held[(own + k * threads_per_column) * padded + at];
#pragma unroll
            for (int q = 0; q < own_columns; ++q)
              score[q][k] = fmaf(of_key, of_query[q], score[q][k]);
          }
        }
      }

#pragma unroll
      for (int q = 0; q < own_columns; ++q) {
        float most = -INFINITY;
#pragma unroll
        for (int k = 0; k < own_keys; ++k) {
          const int at = first_key + own + k * threads_per_column;
          score[q][k] =
              attends(position[q], at, args.window) ? score[q][k] * args.scale : -INFINITY;
          most = score[q][k] > most ? score[q][k] : most;
        }
#pragma unroll
        for (int distance = threads_per_column / 2; distance > 0; distance /= 2) {
          const float other = __shfl_xor_sync(all_lanes, most, distance);
          most = other > most ? other : most;
        }
        const float new_max = most > max[q] ? most : max[q];
        // a column without any key so far does not change: exp(-infinity - 0) = 0
        const float base = new_max == -INFINITY ? 0.0f : new_max;
        const float shrink = exp_of(max[q] - base);
        max[q] = new_max;
        weight[q] *= shrink;
#pragma unroll
        for (int i = 0; i < D; ++i)
          sum[q][i] *= shrink;
#pragma unroll
        for (int k = 0; k < own_keys; ++k)
          probability[(own + k * threads_per_column) * probability_row + column + q] =
              exp_of(score[q][k] - base);
      }

      for (int first = 0; first < block_keys && first_key + first <= last_position;
           first += held_keys) {
        __syncthreads();  // all have read what is overwritten now
        for (int i = threadIdx.x; i < held_keys * part_dimensions; i += threads) {
          const int at = first_dimension + i % part_dimensions, k = first + i / part_dimensions;
          float loaded = 0;
          if (at < d && first_key + k <= last_position)
            loaded = take_out_bad(to_float(value[std::int64_t{first_key + k} * key_row + at]),
                                  is_bad + k);
          held[i] = loaded;
        }
        __syncthreads();
#pragma unroll 2
        for (int k = 0; k < held_keys; ++k) {
          float of_query[own_columns];
#pragma unroll
          for (int q = 0; q < own_columns; ++q) {
            of_query[q] = probability[(first + k) * probability_row + column + q];
            weight[q] += of_query[q];
          }
#pragma unroll
          for (int i = 0; i < D; ++i) {
            const float of_value = held[k * part_dimensions + own + i * threads_per_column];
#pragma unroll
            for (int q = 0; q < own_columns; ++q)
              sum[q][i] = fmaf(of_value, of_query[q], sum[q][i]);
          }
        }
      }

      // queries that attend to a key or a value that is not finite become NaN
      if (__syncthreads_or(is_bad[threadIdx.x]))
        for (int k = 0; k < block_keys; ++k)
#pragma unroll
          for (int q = 0; q < own_columns; ++q)
            if (is_bad[k] != 0 && attends(position[q], first_key + k, args.window)) weight[q] = NAN;
      __syncthreads();
    }

#pragma unroll
    for (int q = 0; q < own_columns; ++q) {
      const std::int64_t c = tile.first_column + column + q;
      if (c >= columns) continue;
      const std::int64_t head = tile.kv_head * args.group + c % args.group;
      T* to = args.out +
              (head / args.slice_heads * args.rows + segment.row + c / args.group) *
                  (std::int64_t{args.slice_heads} * d) +
              head % args.slice_heads * d;
#pragma unroll
      for (int i = 0; i < D; ++i) {
        const int at = first_dimension + own + i * threads_per_column;
        // adding 0 turns -0 into 0; the sign of a zero sum would otherwise depend on masked keys
        if (at < d) put(sum[q][i] / weight[q] + 0.0f, to + at);
      }
    }
  }
}

template <class T, int D>
void attend(cudaStream_t stream, AttentionArgs<T> args, std::int64_t num_tiles) {
  static_assert(4096 % (threads_per_column * D) == 0 && held_floats >= block_keys * padded);
  args.parts = (args.d + threads_per_column * D - 1) / (threads_per_column * D);
  args.items = num_tiles * args.num_kv_heads * args.parts;
  start(stream, args.items, threads, 0, attention_kernel<T, D>, args);
}

template <class T>
void attend(cudaStream_t stream, const AttentionArgs<T>& args, std::int64_t num_tiles) {
  if (args.d <= 64)
    attend<T, 4>(stream, args, num_tiles);
  else if (args.d <= 128)
    attend<T, 8>(stream, args, num_tiles);
  else
    attend<T, 16>(stream, args, num_tiles);
}

}  // namespace

std::int64_t tile_segments(const AttentionShape& shape, std::span<const Segment> segments,
                           std::span<TiledSegment> to) {
  const std::int64_t group = shape.num_heads / shape.num_kv_heads;
  std::int64_t tiles = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    to[i] = {segments[i], tiles};
    tiles += (segments[i].count * group + tile_columns - 1) / tile_columns;
  }
  return tiles;
}

void attention(cudaStream_t stream, const AttentionShape& shape, const Tensor& query,
               const Tensor& key, const Tensor& value, const TiledSegment* segments,
               std::int64_t num_segments, std::int64_t num_tiles, const Tensor& out) {
  const auto attend_as = [&]<class T>(T) {
    attend<T>(stream,
              AttentionArgs<T>{input<T>(query), input<T>(key), input<T>(value), output<T>(out),
                               segments, num_segments, 0, query.rows,
                               static_cast<int>(std::min<std::int64_t>(shape.window, INT_MAX)),
                               static_cast<int>(shape.num_kv_heads),
                               static_cast<int>(shape.num_heads / shape.num_kv_heads),
                               static_cast<int>(shape.head_size),
                               static_cast<int>(shape.num_heads / out.slices), 0, shape.scale},
              num_tiles);
  };
  if (query.dtype == base::DType::f32)
    attend_as(float{});
  else
    attend_as(bf16{});
}

}  // namespace tetrarch::backend::cuda
