// Products of bf16 by own kernels for AVX512-BF16. An expert weight is multiplied with few rows and
// is not in the cache, so its products are bound by memory. oneDNN's kernels do not use the full
// memory bandwidth there. These kernels load the next block of weights into the second-level cache
// while they multiply the present one. All products of a call run in one parallel region, cut into
// units of equal work.
//
// An output is one chain over pairs of inputs in order; one instruction (vdpbf16ps) adds two
// products.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include <immintrin.h>

#include "backend/cpu/kernels/bf16_target.hpp"
#include "backend/cpu/kernels/gemm.hpp"
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/pair_matrix.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "base/shape.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using base::DType;
using simd::lanes;

constexpr int block_panels = PairMatrix::block_panels;
constexpr int tile_rows = 6;             // with block_panels: 24 accumulators, of 32 registers
constexpr std::int64_t unit_rows = 192;  // most rows of a work item
// pairs of inputs at a time: a block of weights is 256 KiB
constexpr std::int64_t most_pairs = 1024;
// pairs between two calls of Ahead::ask(): one cache line of x
constexpr std::int64_t pairs_per_ask = 16;
constexpr std::int64_t line = 64;  // bytes of a cache line

/// Prefetches the weights that are multiplied next, a few cache lines at a time.
class Ahead {
 public:
  Ahead() = default;
  /// Will prefetch the pairs [begin, end) of a block.
  Ahead(const PairMatrix& w, std::int64_t block, std::int64_t begin, std::int64_t end)
      : next_(reinterpret_cast<const char*>(w.at(block, begin))),
        lines_((end - begin) * w.panels_of(block)) {}
  /// Spreads the prefetches evenly over the multiplication of `pairs` pairs.
  void spread(std::int64_t pairs) {
    per_ask_ = base::ceil_div(lines_ * pairs_per_ask, std::max<std::int64_t>(pairs, 1));
  }
  void ask() {
    const std::int64_t count = std::min(lines_, per_ask_);
    for (std::int64_t i = 0; i < count; ++i)
      __builtin_prefetch(next_ + i * line, 0, 3);  // other locality hints gained little
    next_ += count * line;
    lines_ -= count;
  }

 private:
  const char* next_ = nullptr;
  std::int64_t lines_ = 0;  // not yet prefetched
  std::int64_t per_ask_ = 0;
};

/// The arguments of one call of multiply_tile(): `pairs` pairs of `a` (rows a_stride elements
/// apart) and of `b`.
struct TileArgs {
  const bf16* a;
  std::int64_t a_stride;
  const std::uint32_t* b;
  std::int64_t pairs;
  bool has_half_pair;  // the last pair has only one input
  float* c;            // [rows][64] sums so far
  bool is_first, is_last;
  void* y;  // with is_last: where the sums are written, rows y_stride elements apart
  std::int64_t y_stride, y_columns;
  DType y_dtype;
};

TETRARCH_BF16_INLINE __m512i broadcast_pair(const bf16* a) {
  std::int32_t pair;
  std::memcpy(&pair, a, sizeof pair);
  return _mm512_set1_epi32(pair);
}

/// Rounds as base::to_bf16() does. The CPU's conversion treats only denormals differently, and the
/// products leave no denormals.
template <int Panels>
TETRARCH_BF16_INLINE void write_row(const __m512 (&sum)[Panels], const TileArgs& t, int row) {
  const std::int64_t first = row * t.y_stride;
#pragma GCC unroll 4
  for (int p = 0; p < Panels; ++p) {
    const std::int64_t left = t.y_columns - p * lanes;
    const auto mask = static_cast<__mmask16>(left >= lanes ? 0xffff : (1u << left) - 1);
    if (t.y_dtype == DType::f32)
      _mm512_mask_storeu_ps(static_cast<float*>(t.y) + first + p * lanes, mask, sum[p]);
    else
      _mm256_mask_storeu_epi16(static_cast<bf16*>(t.y) + first + p * lanes, mask,
                               (__m256i)_mm512_cvtneps_pbh(sum[p]));
  }
}

template <int Rows, int Panels>
TETRARCH_BF16_INLINE void write_rows(const __m512 (&sum)[Rows][Panels], const TileArgs& t) {
  const bool is_simple = t.y_dtype == DType::bf16 && t.y_columns >= Panels * lanes;
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r) {
    if (!is_simple) {
      write_row<Panels>(sum[r], t, r);
      continue;
    }
    auto* to = static_cast<bf16*>(t.y) + r * t.y_stride;
#pragma GCC unroll 4
    for (int p = 0; p + 1 < Panels; p += 2)
      _mm512_storeu_si512(to + p * lanes, (__m512i)_mm512_cvtne2ps_pbh(sum[r][p + 1], sum[r][p]));
    if constexpr (Panels % 2 != 0)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (Panels - 1) * lanes),
                          (__m256i)_mm512_cvtneps_pbh(sum[r][Panels - 1]));
  }
}

template <int Rows, int Panels>
TETRARCH_BF16_INLINE void add_pair(const __m512i (&x)[Rows], const std::uint32_t* b,
                                   __m512 (&sum)[Rows][Panels]) {
  __m512bh weight[Panels];
#pragma GCC unroll 4
  for (int p = 0; p < Panels; ++p)
    weight[p] = (__m512bh)_mm512_loadu_si512(b + p * lanes);
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < Panels; ++p)
      sum[r][p] = _mm512_dpbf16_ps(sum[r][p], (__m512bh)x[r], weight[p]);
}

template <int Rows, int Panels>
TETRARCH_BF16 void multiply_tile(const TileArgs& t, Ahead& ahead) {
  __m512 sum[Rows][Panels];
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < Panels; ++p)
      sum[r][p] =
          t.is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(t.c + (r * block_panels + p) * lanes);

  if (t.is_last) {
    const std::int64_t size = base::size_of(t.y_dtype);
    const auto* y = static_cast<const char*>(t.y);
    for (int r = 0; r < Rows; ++r)
      for (std::int64_t at = 0; at < Panels * lanes * size; at += line)
        __builtin_prefetch(y + r * t.y_stride * size + at, 1, 3);
  }
  const std::uint32_t* b = t.b;
  const bf16* a = t.a;
  const std::int64_t whole = t.pairs - (t.has_half_pair ? 1 : 0);
  for (std::int64_t pair = 0; pair < whole;) {
    ahead.ask();
    for (const std::int64_t end = std::min(pair + pairs_per_ask, whole); pair < end; ++pair) {
      __m512i x[Rows];
#pragma GCC unroll 6
      for (int r = 0; r < Rows; ++r)
        x[r] = broadcast_pair(a + r * t.a_stride);
      add_pair<Rows, Panels>(x, b, sum);
      a += 2;
      b += Panels * lanes;
    }
  }
  if (t.has_half_pair) {
    __m512i x[Rows];
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r)
      x[r] = _mm512_set1_epi32(a[r * t.a_stride].bits);
    add_pair<Rows, Panels>(x, b, sum);
  }

  if (t.is_last) return write_rows<Rows, Panels>(sum, t);
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < Panels; ++p)
      _mm512_storeu_ps(t.c + (r * block_panels + p) * lanes, sum[r][p]);
}

using Tile = void (*)(const TileArgs&, Ahead&);
#define TETRARCH_ROWS(rows) \
  { multiply_tile<rows, 1>, multiply_tile<rows, 2>, multiply_tile<rows, 3>, multiply_tile<rows, 4> }
constexpr Tile tiles[tile_rows][block_panels] = {TETRARCH_ROWS(1), TETRARCH_ROWS(2),
                                                 TETRARCH_ROWS(3), TETRARCH_ROWS(4),
                                                 TETRARCH_ROWS(5), TETRARCH_ROWS(6)};
#undef TETRARCH_ROWS

/// One block of a weight.
struct Block {
  const PairMatrix* weight = nullptr;  // null: there is no further block
  std::int64_t index = 0;
};

Block block_of(const Matrix* weight, std::int64_t index) {
  return {static_cast<const PairMatrix*>(weight), index};
}

/// Up to unit_rows rows of x times one block of a weight. The sums are written to y [rows,
/// y_columns] from y_column on, as far as y has columns.
struct BlockProduct {
  const bf16* x;
  std::int64_t x_stride, rows;
  Block block;
  Tensor y;
  std::int64_t y_column;
};

/// Multiplies one block. The inputs are cut evenly into parts of at most most_pairs pairs; between
/// parts, the sums are kept in `sums` [unit_rows][64]. Meanwhile, the weights of the next part or
/// of the block `next` are prefetched.
void multiply_block(const BlockProduct& product, const Block& next, float* sums) {
  const PairMatrix& w = *product.block.weight;
  const Tensor& y = product.y;
  const std::int64_t pairs = w.pairs(), parts = base::ceil_div(pairs, most_pairs);
  const int panels = w.panels_of(product.block.index);
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t begin = part * pairs / parts, end = (part + 1) * pairs / parts;
    const bool is_last = part + 1 == parts;
    Ahead ahead;
    if (!is_last) {
      ahead = Ahead(w, product.block.index, end, (part + 2) * pairs / parts);
    } else if (next.weight != nullptr) {
      const std::int64_t all = next.weight->pairs();
      ahead = Ahead(*next.weight, next.index, 0, all / base::ceil_div(all, most_pairs));
    }
    ahead.spread(base::ceil_div(product.rows, tile_rows) * (end - begin));
    for (std::int64_t r = 0; r < product.rows; r += tile_rows) {
      const int rows = static_cast<int>(std::min<std::int64_t>(tile_rows, product.rows - r));
      const TileArgs args{.a = product.x + r * product.x_stride + 2 * begin,
                          .a_stride = product.x_stride,
                          .b = w.at(product.block.index, begin),
                          .pairs = end - begin,
                          .has_half_pair = is_last && w.inputs() % 2 != 0,
                          .c = sums + r * block_panels * lanes,
                          .is_first = part == 0,
                          .is_last = is_last,
                          .y = static_cast<std::byte*>(y.data) +
                               (r * y.columns + product.y_column) * base::size_of(y.dtype),
                          .y_stride = y.columns,
                          .y_columns = y.columns - product.y_column,
                          .y_dtype = y.dtype};
      tiles[rows - 1][panels - 1](args, ahead);
    }
  }
}

/// A unit of work: up to unit_rows rows of one product or group, times one block of its weight or
/// weights.
struct Unit {
  std::size_t group;
  std::int64_t row, rows, block;
};

/// All units of a call, and for each unit the sum of the work of all units before it.
class Units {
 public:
  void clear() {
    units_.clear();
    work_before_.assign(1, 0);
  }

  /// Cuts rows into units of equal size. The rows of a unit stay in the second-level cache while
  /// the blocks of the weight are multiplied.
  void add(std::size_t group, const Matrix* weight, std::int64_t num_rows, int num_weights = 1) {
    const auto& w = *static_cast<const PairMatrix*>(weight);
    if (num_rows == 0) return;
    const std::int64_t count = base::ceil_div(num_rows, unit_rows);
    const std::int64_t rows = base::round_up(base::ceil_div(num_rows, count), tile_rows);
    for (std::int64_t row = 0; row < num_rows; row += rows)
      for (std::int64_t block = 0; block < w.blocks(); ++block) {
        units_.push_back({group, row, std::min(rows, num_rows - row), block});
        // a partly filled tile or block takes about as long as a whole one; loading a block from
        // memory takes as long as one tile
        const std::int64_t num_tiles = 1 + base::ceil_div(units_.back().rows, tile_rows);
        work_before_.push_back(work_before_.back() +
                               num_tiles * tile_rows * block_panels * num_weights * w.pairs());
      }
  }

  /// Calls work(unit, next unit of the thread or null, sums) for each unit, on all threads.
  template <class Work>
  void for_each(const Work& work) const {
    for_work(work_before_, [&](const auto& next_item) {
      alignas(line) float sums[unit_rows * block_panels * lanes];
      for (std::int64_t i = next_item(), next = -1; i >= 0; i = next) {
        next = next_item();
        work(units_[i], next >= 0 ? &units_[next] : nullptr, sums);
      }
    });
  }

 private:
  std::vector<Unit> units_;
  // sum before each unit, in vector operations; last: the total
  std::vector<std::int64_t> work_before_;
};

class Bf16Gemm final : public GemmFamily {
 public:
  std::string name() const override { return "avx512-bf16"; }

  std::unique_ptr<Matrix> pack(const void* host, DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) override {
    base::expects(dtype == DType::bf16, "a weight of bf16");
    return PairBuilder(outputs, inputs, order).take_from(host);
  }

  std::unique_ptr<MatrixBuilder> build(DType dtype, std::int64_t outputs, std::int64_t inputs,
                                       WeightOrder order) override {
    base::expects(dtype == DType::bf16, "a weight of bf16");
    return std::make_unique<PairBuilder>(outputs, inputs, order);
  }

  std::int64_t packed_bytes(DType, std::int64_t outputs, std::int64_t inputs) const override {
    return PairMatrix::bytes_of(outputs, inputs);
  }

  void multiply(std::span<const Product> products) override {
    units_.clear();
    for (std::size_t i = 0; i < products.size(); ++i) {
      base::expects(products[i].x.dtype == DType::bf16, "rows of bf16");
      units_.add(i, products[i].w, products[i].x.rows);
    }
    const auto block = [&](const Unit* unit) {
      return unit == nullptr ? Block{} : block_of(products[unit->group].w, unit->block);
    };
    units_.for_each([&](const Unit& unit, const Unit* next, float* sums) {
      const Product& product = products[unit.group];
      const Tensor x = product.x.row_range(unit.row, unit.rows);
      multiply_block({static_cast<const bf16*>(x.data), x.columns, unit.rows, block(&unit),
                      product.y.row_range(unit.row, unit.rows), first_column(unit)},
                     block(next), sums);
    });
  }

  bool multiply_glu(const GluBatch& batch) override {
    base::expects(batch.x.dtype == DType::bf16, "rows of bf16");
    const bool has_gate = !batch.gate.empty();
    units_.clear();
    for (std::size_t g = 0; g < batch.up.size(); ++g)
      units_.add(g, batch.up[g], batch.row_offset[g + 1] - batch.row_offset[g], has_gate ? 2 : 1);
    const auto block = [&](std::span<const Matrix* const> weights, const Unit* unit) {
      return unit == nullptr ? Block{} : block_of(weights[unit->group], unit->block);
    };
    units_.for_each([&](const Unit& unit, const Unit* next, float* sums) {
      alignas(line) bf16 gate[unit_rows * block_panels * lanes];
      alignas(line) bf16 up[unit_rows * block_panels * lanes];
      const std::int64_t first_row = batch.row_offset[unit.group] + unit.row;
      const std::int64_t columns = std::min<std::int64_t>(
          block_panels * lanes, batch.up[unit.group]->outputs() - first_column(unit));
      const Tensor x = batch.x.row_range(first_row, unit.rows);
      const Tensor gate_rows{gate, DType::bf16, 1, unit.rows, columns};
      const Tensor up_rows{up, DType::bf16, 1, unit.rows, columns};
      const auto multiply = [&](const Block& by, const Tensor& y, const Block& after) {
        multiply_block({static_cast<const bf16*>(x.data), x.columns, unit.rows, by, y, 0}, after,
                       sums);
      };
      const Block up_block = block(batch.up, &unit);
      if (has_gate) multiply(block(batch.gate, &unit), gate_rows, up_block);
      multiply(up_block, up_rows, block(has_gate ? batch.gate : batch.up, next));
      activate_part(has_gate ? gate_rows : up_rows, has_gate ? up_rows : Tensor{}, batch.kind,
                    batch.out, first_row, first_column(unit));
    });
    return true;
  }

 private:
  static std::int64_t first_column(const Unit& unit) { return unit.block * block_panels * lanes; }

  Units units_;
};

}  // namespace

std::unique_ptr<GemmFamily> make_bf16_gemm() {
  return std::make_unique<Bf16Gemm>();
}

}  // namespace tetrarch::backend::cpu
