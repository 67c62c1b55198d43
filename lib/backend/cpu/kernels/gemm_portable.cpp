// Products by own kernels for all CPUs. x is packed into tiles in each call; weights are packed
// once, into panels of 16 outputs.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/format.h>

#include "backend/cpu/kernels/gemm.hpp"
#include "backend/cpu/kernels/memory.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/row_builder.hpp"
#include "backend/cpu/kernels/tile.hpp"
#include "base/shape.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using base::DType;
using simd::lanes;

// Numbers of inputs and of rows. A packed row block of k_block columns (144 KiB) stays in the
// second-level cache, a panel of k_block rows (16 KiB) in the first-level cache.
constexpr std::int64_t k_block = 256;
constexpr std::int64_t row_block = 144;
constexpr std::int64_t most_panels = 16;         // most panels of one work item
constexpr std::int64_t most_packed = 4'000'000;  // most floats of x that are packed at a time

/// A weight [outputs / 16][inputs][16] in the model dtype; outputs beyond the last are 0.
class PanelMatrix final : public Matrix {
 public:
  PanelMatrix(DType dtype, std::int64_t outputs, std::int64_t inputs)
      : Matrix(outputs, inputs),
        dtype_(dtype),
        memory_(
            base::checked_mul(base::checked_mul(panels(), inputs), lanes * base::size_of(dtype))) {}
  std::int64_t bytes() const override { return memory_.bytes(); }
  DType dtype() const { return dtype_; }
  void* data() const { return memory_.data(); }
  std::int64_t panels() const { return base::ceil_div(outputs(), lanes); }

 private:
  DType dtype_;
  HostMemory memory_;
};

/// Packs one panel from rows [outputs][inputs]. It takes 64 inputs of each output at a time, so
/// that whole cache lines are read and the written block stays in the first-level cache.
template <class T>
void pack_panel_nk(const T* from, std::int64_t width, std::int64_t K, T* to) {
  constexpr std::int64_t block = 64;
  for (std::int64_t k0 = 0; k0 < K; k0 += block) {
    const std::int64_t depth = std::min(block, K - k0);
    for (std::int64_t n = 0; n < width; ++n) {
      const T* row = from + n * K + k0;
      T* out = to + k0 * lanes + n;
      for (std::int64_t k = 0; k < depth; ++k)
        out[k * lanes] = row[k];
    }
  }
}

/// Packs one panel from rows [inputs][outputs].
template <class T>
void pack_panel_kn(const T* from, std::int64_t width, std::int64_t N, std::int64_t K, T* to) {
  for (std::int64_t k = 0; k < K; ++k)
    std::copy_n(from + k * N, width, to + k * lanes);
}

/// Packs the outputs [first, last) from their rows.
template <class T>
void pack_outputs_of(const T* rows, std::int64_t first, std::int64_t last, const PanelMatrix& to) {
  const std::int64_t K = to.inputs(), first_panel = first / lanes;
  const std::int64_t panels = base::ceil_div(last, lanes) - first_panel;
  for_ranges(panels, K * lanes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = first_panel + begin; panel < first_panel + end; ++panel) {
      const std::int64_t n = std::max(first, panel * lanes);
      const std::int64_t width = std::min((panel + 1) * lanes, last) - n;
      pack_panel_nk(rows + (n - first) * K, width, K,
                    static_cast<T*>(to.data()) + panel * lanes * K + n % lanes);
    }
  });
}

/// Packs the inputs [first, last) from their rows.
template <class T>
void pack_inputs_of(const T* rows, std::int64_t first, std::int64_t last, const PanelMatrix& to) {
  const std::int64_t N = to.outputs(), K = to.inputs(), count = last - first;
  for_ranges(to.panels(), count * lanes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      const std::int64_t n = panel * lanes;
      pack_panel_kn(rows + n, std::min<std::int64_t>(lanes, N - n), N, count,
                    static_cast<T*>(to.data()) + (panel * K + first) * lanes);
    }
  });
}

class PanelBuilder final : public RowBuilder<PanelMatrix> {
 public:
  PanelBuilder(DType dtype, std::int64_t outputs, std::int64_t inputs, WeightOrder order)
      : RowBuilder(std::make_unique<PanelMatrix>(dtype, outputs, inputs), order) {}

 private:
  void pack_outputs(const void* rows, std::int64_t first, std::int64_t last,
                    const PanelMatrix& to) override {
    if (to.dtype() == DType::f32)
      pack_outputs_of(static_cast<const float*>(rows), first, last, to);
    else
      pack_outputs_of(static_cast<const bf16*>(rows), first, last, to);
  }
  void pack_inputs(const void* rows, std::int64_t first, std::int64_t last,
                   const PanelMatrix& to) override {
    if (to.dtype() == DType::f32)
      pack_inputs_of(static_cast<const float*>(rows), first, last, to);
    else
      pack_inputs_of(static_cast<const bf16*>(rows), first, last, to);
  }
};

/// Rows of one product whose packed tiles are stored one after another.
struct RowBlock {
  const Product* product;
  std::int64_t row, rows;
  std::int64_t first_tile;     // its index in this pass
  std::int64_t packed_offset;  // floats
};

struct PackArgs {
  std::span<const RowBlock> blocks;
  float* packed;
};

template <int Width, class T>
TETRARCH_INLINE void pack_rows(const T* from, std::int64_t rows, std::int64_t K, float* to) {
  constexpr int R = tile_rows<Width>;
  for (std::int64_t r = 0; r < rows; ++r, from += K, to += k_step) {
    float* out = to;
    std::int64_t k = 0;
    for (; k + lanes <= K; k += lanes, out += 2 * R * k_step) {
      float both[lanes];
      simd::store(simd::load<Width>(from + k), both);
      std::memcpy(out, both, k_step * sizeof(float));
      std::memcpy(out + R * k_step, both + k_step, k_step * sizeof(float));
    }
    for (; k < K; ++k) {
      float value;
      if constexpr (sizeof(T) == 2)
        value = base::to_float(from[k]);
      else
        value = from[k];
      to[(k / k_step) * (R * k_step) + k % k_step] = value;
    }
  }
}

/// Packs the tiles [begin, end) of a pass.
template <int Width>
TETRARCH_INLINE void pack_tiles_body(const PackArgs& args, std::int64_t begin, std::int64_t end) {
  constexpr int R = tile_rows<Width>;
  auto block = args.blocks.begin();
  for (std::int64_t tile = begin; tile < end; ++tile) {
    while (block + 1 != args.blocks.end() && (block + 1)->first_tile <= tile)
      ++block;
    const Tensor& x = block->product->x;
    const std::int64_t K = x.columns, local = (tile - block->first_tile) * R;
    const std::int64_t rows = std::min<std::int64_t>(R, block->rows - local);
    const std::int64_t at = (block->row + local) * K;
    float* to = args.packed + block->packed_offset + local * base::round_up(K, k_step);
    if (x.dtype == DType::f32)
      pack_rows<Width>(x.as<float>() + at, rows, K, to);
    else
      pack_rows<Width>(x.as<bf16>() + at, rows, K, to);
  }
}
TETRARCH_KERNEL(pack_tiles, PackArgs)

/// The arguments of multiply_panels(): one row block times some panels.
struct BlockArgs {
  const float* a;  // [tiles][inputs / 8][tile_rows][8]
  std::int64_t rows, row;
  const PanelMatrix* w;
  Tensor y;
  float* widened;  // [tile_panels][k_block][16]
  float* sums;     // [panels][rows][16]
};

template <int Width, int Panels>
TETRARCH_INLINE void multiply_column(const BlockArgs& args, std::int64_t k, TileOperands t) {
  constexpr int R = tile_rows<Width>;
  const std::int64_t tile_floats = R * base::round_up(args.w->inputs(), k_step);
  float* const c = t.c;
  std::int64_t r = 0;
  PackedRows<R> a{args.a + k * R};
  for (; r + R <= args.rows; r += R, a.data += tile_floats) {
    t.c = c + r * lanes;
    multiply_tile<Width, R, Panels>(a, t);
  }
  if (r < args.rows) {
    t.c = c + r * lanes;
    multiply_rest<Width, Panels>(args.rows - r, a, t);
  }
}

template <int Width>
TETRARCH_INLINE void round_sums(const BlockArgs& args, std::int64_t panel, const float* sums) {
  const std::int64_t N = args.w->outputs(), n0 = panel * lanes;
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const auto sum = simd::load<Width>(sums + r * lanes);
    const std::int64_t at = (args.row + r) * N + n0;
    if (args.y.dtype == DType::f32)
      simd::store_some(sum, static_cast<float*>(args.y.data) + at, N - n0);
    else
      simd::store_some(sum, static_cast<bf16*>(args.y.data) + at, N - n0);
  }
}

template <int Width>
TETRARCH_INLINE void multiply_panels_body(const BlockArgs& args, std::int64_t begin,
                                          std::int64_t end) {
  const std::int64_t K = args.w->inputs();
  const std::int64_t panel_floats = args.rows * lanes;
  for (std::int64_t k = 0; k < K; k += k_block) {
    const std::int64_t depth = std::min(k_block, K - k);
    for (std::int64_t panel = begin; panel < end;) {
      const std::int64_t width = std::min<std::int64_t>(tile_panels<Width>, end - panel);
      TileOperands t{depth,        nullptr, K * lanes, args.sums + (panel - begin) * panel_floats,
                     panel_floats, k == 0};
      const std::int64_t at = (panel * K + k) * lanes;
      if (args.w->dtype() == DType::f32) {
        t.b = static_cast<const float*>(args.w->data()) + at;
      } else {
        const bf16* from = static_cast<const bf16*>(args.w->data()) + at;
        for (std::int64_t p = 0; p < width; ++p)
          for (std::int64_t i = 0; i < depth * lanes; i += lanes)
            simd::store(simd::load<Width>(from + p * K * lanes + i),
                        args.widened + p * k_block * lanes + i);
        t.b = args.widened;
        t.b_panel = k_block * lanes;
      }
      if (width == tile_panels<Width>)
        multiply_column<Width, tile_panels<Width>>(args, k, t);
      else
        multiply_column<Width, 1>(args, k, t);
      panel += width;
    }
  }
  for (std::int64_t panel = begin; panel < end; ++panel)
    round_sums<Width>(args, panel, args.sums + (panel - begin) * panel_floats);
}
TETRARCH_KERNEL(multiply_panels, BlockArgs)

struct WorkItem {
  const RowBlock* block;
  std::int64_t panel_begin, panel_end;
};

class PortableGemm final : public GemmFamily {
 public:
  std::string name() const override {
    return fmt::format("portable {}", simd::name_of(simd::active_isa()));
  }

  std::unique_ptr<Matrix> pack(const void* host, DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) override {
    return PanelBuilder(dtype, outputs, inputs, order).take_from(host);
  }

  std::unique_ptr<MatrixBuilder> build(DType dtype, std::int64_t outputs, std::int64_t inputs,
                                       WeightOrder order) override {
    return std::make_unique<PanelBuilder>(dtype, outputs, inputs, order);
  }

  std::int64_t packed_bytes(DType dtype, std::int64_t outputs, std::int64_t inputs) const override {
    return base::round_up(outputs, lanes) * inputs * base::size_of(dtype);
  }

  void multiply(std::span<const Product> products) override {
    blocks_.clear();
    std::int64_t packed = 0, tiles = 0;
    const std::int64_t R = simd::active_isa() == simd::Isa::v4 ? tile_rows<16> : tile_rows<8>;
    for (const Product& product : products) {
      const std::int64_t num_blocks = base::ceil_div(product.x.rows, row_block);
      const std::int64_t even =
          num_blocks == 0 ? 0 : base::round_up(base::ceil_div(product.x.rows, num_blocks), R);
      for (std::int64_t row = 0; row < product.x.rows; row += even) {
        const std::int64_t rows = std::min(even, product.x.rows - row);
        const std::int64_t num_tiles = base::ceil_div(rows, R);
        blocks_.push_back({&product, row, rows, tiles, packed});
        tiles += num_tiles;
        packed += num_tiles * R * base::round_up(product.x.columns, k_step);
        if (packed >= most_packed) {
          multiply_pass(packed, tiles);
          packed = tiles = 0;
        }
      }
    }
    if (tiles > 0) multiply_pass(packed, tiles);
  }

 private:
  void multiply_pass(std::int64_t packed_floats, std::int64_t tiles) {
    float* packed = packed_.floats(packed_floats);
    const PackArgs args{blocks_, packed};
    for_ranges(tiles, packed_floats / tiles * 4,
               [&](std::int64_t begin, std::int64_t end) { pack_tiles(args, begin, end); });
    const std::int64_t cost = packed_floats * list_items();
    for_items(static_cast<std::int64_t>(items_.size()), cost, [&](std::int64_t i) {
      const WorkItem& item = items_[static_cast<std::size_t>(i)];
      const RowBlock& block = *item.block;
      static thread_local Scratch scratch;
      const std::int64_t widened = tile_panels<16> * k_block * lanes;
      float* memory = scratch.floats(widened + most_panels * lanes * (row_block + 12));
      multiply_panels({packed + block.packed_offset, block.rows, block.row,
                       static_cast<const PanelMatrix*>(block.product->w), block.product->y, memory,
                       memory + widened},
                      item.panel_begin, item.panel_end);
    });
    blocks_.clear();
  }

  /// Lists the work items of a pass. The blocks of one product follow each other for each group of
  /// panels, so that they share the panels in the cache. Returns the largest number of panels of a
  /// block.
  std::int64_t list_items() {
    std::int64_t work = 0, most = 0;
    for (const RowBlock& block : blocks_) {
      work += panels_of(block);
      most = std::max(most, panels_of(block));
    }
    const std::int64_t group =
        std::clamp<std::int64_t>(work / (4 * omp_get_max_threads()) / 2 * 2, 2, most_panels);
    items_.clear();
    for (std::size_t begin = 0, end = 0; begin < blocks_.size(); begin = end) {
      while (end < blocks_.size() && blocks_[end].product == blocks_[begin].product)
        ++end;
      const std::int64_t panels = panels_of(blocks_[begin]);
      for (std::int64_t panel = 0; panel < panels; panel += group)
        for (std::size_t i = begin; i < end; ++i)
          items_.push_back({&blocks_[i], panel, std::min(panel + group, panels)});
    }
    return most;
  }

  static std::int64_t panels_of(const RowBlock& block) {
    return static_cast<const PanelMatrix*>(block.product->w)->panels();
  }

  std::vector<RowBlock> blocks_;
  std::vector<WorkItem> items_;
  Scratch packed_;
};

}  // namespace

std::unique_ptr<GemmFamily> make_portable_gemm() {
  return std::make_unique<PortableGemm>();
}

}  // namespace tetrarch::backend::cpu
