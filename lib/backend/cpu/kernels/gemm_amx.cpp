// Products of bf16 by tiles: the family of kernels, and how a call is cut into units of work. The
// kernels are compiled once for AMX tiles and once per instruction set for software tiles.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/amx_tiles.hpp"
#include "backend/cpu/kernels/gemm.hpp"
#include "backend/cpu/kernels/gemm_tiles.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/soft_tiles.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using base::DType;

constexpr std::int64_t most_rows = 512;       // most rows of a unit
constexpr std::int64_t most_bytes = 1 << 20;  // of a unit's rows at a time: half of the 2 MiB cache
// with fewer rows per unit, inputs are cut into chunks instead
constexpr std::int64_t fewest_rows = 128;
constexpr std::int64_t chunked_rows = 256;    // rows of a unit whose inputs are cut into chunks
constexpr std::int64_t most_blocks = 16;      // most blocks of such a unit: 512 KiB of sums
constexpr std::int64_t cycles_per_step = 64;  // time to multiply two tiles of rows by two panels
// loading a block from memory takes as long as multiplying 3 pairs of row tiles
constexpr std::int64_t cold_block_pairs = 3;

using NextUnit = std::function<const TileUnit*()>;

template <class Tiles, TileOutput Output>
TETRARCH_INLINE void do_units(ActivationKind kind, const NextUnit& next_unit,
                              TileScratch& scratch) {
  TileWorker<Tiles, Output> worker(kind, scratch);
  for (const TileUnit *unit = next_unit(), *next = nullptr; unit != nullptr; unit = next) {
    next = next_unit();
    worker.work(*unit, next);
  }
  worker.finish();
}

/// Compiles do_units() for one instruction set.
#define TETRARCH_CLONE(name, Tiles, instructions)                                                 \
  template <TileOutput Output>                                                                    \
  __attribute__((target(instructions))) void name(ActivationKind kind, const NextUnit& next_unit, \
                                                  TileScratch& scratch) {                         \
    do_units<Tiles, Output>(kind, next_unit, scratch);                                            \
  }
TETRARCH_CLONE(do_units_amx, AmxTiles, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
TETRARCH_CLONE(do_units_v4, SoftTiles<16>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
TETRARCH_CLONE(do_units_v3, SoftTiles<8>, "avx2,fma")
TETRARCH_CLONE(do_units_any, SoftTiles<4>, "sse2")
#undef TETRARCH_CLONE

/// All units of a call, and for each unit the sum of the work of all units before it.
class TileUnits {
 public:
  void clear() {
    groups_.clear();
    units_.clear();
    work_before_.assign(1, 0);
  }

  void add(const TileGroup& group) {
    if (group.rows > 0) groups_.push_back(group);
  }

  /// Cuts the added groups into units.
  void cut() {
    for (const TileGroup& group : groups_) {
      const std::int64_t steps = group.w->steps(), row_bytes = steps * step_inputs * 2;
      const std::int64_t most =
          std::clamp<std::int64_t>(most_bytes / row_bytes / 32 * 32, 32, most_rows);
      // With very many inputs, only few rows fit into most_bytes. Then units take more rows, and
      // their inputs are cut into chunks.
      if (most < fewest_rows && group.rows > most)
        cut_group(group, chunked_rows, blocks_of_a_chunk(group),
                  most_bytes / (chunked_rows * step_inputs * 2));
      else
        cut_group(group, most, 1, steps);
    }
  }

  template <TileOutput Output>
  void run(ActivationKind kind, bool is_in_software) const {
    for_work(work_before_, [&](const auto& next_item) {
      static thread_local TileScratch scratch;
      const NextUnit next_unit = [&] {
        const std::int64_t i = next_item();
        return i < 0 ? nullptr : &units_[static_cast<std::size_t>(i)];
      };
      if (!is_in_software) return do_units_amx<Output>(kind, next_unit, scratch);
      switch (simd::active_isa()) {
        case simd::Isa::v4:
          return do_units_v4<Output>(kind, next_unit, scratch);
        case simd::Isa::v3:
          return do_units_v3<Output>(kind, next_unit, scratch);
        case simd::Isa::any:
          return do_units_any<Output>(kind, next_unit, scratch);
      }
    });
  }

 private:
  /// The number of blocks of a unit: so many that each thread still gets about four units or more.
  static std::int64_t blocks_of_a_chunk(const TileGroup& group) {
    const std::int64_t all = group.blocks() * base::ceil_div(group.rows, chunked_rows);
    return std::clamp<std::int64_t>(all / (4 * omp_get_max_threads()), 1, most_blocks);
  }

  /// Cuts rows into units of equal size, a multiple of 32 (two row tiles).
  void cut_group(const TileGroup& group, std::int64_t most, std::int64_t blocks,
                 std::int64_t chunk_steps) {
    const std::int64_t count = base::ceil_div(group.rows, most);
    const std::int64_t rows = base::round_up(base::ceil_div(group.rows, count), 32);
    for (std::int64_t row = 0; row < group.rows; row += rows)
      for (std::int64_t block = 0; block < group.blocks(); block += blocks) {
        const TileUnit unit{.group = &group,
                            .row = row,
                            .rows = std::min(rows, group.rows - row),
                            .block = block,
                            .blocks = std::min(blocks, group.blocks() - block),
                            .chunk_steps = chunk_steps};
        units_.push_back(unit);
        const std::int64_t pairs = std::max(cold_block_pairs, base::ceil_div(unit.rows, 32));
        work_before_.push_back(work_before_.back() +
                               pairs * group.w->steps() * unit.blocks * cycles_per_step);
      }
  }

  std::vector<TileGroup> groups_;
  std::vector<TileUnit> units_;
  // sum before each unit, in approximate cycles; last: the total
  std::vector<std::int64_t> work_before_;
};

class AmxGemm final : public GemmFamily {
 public:
  explicit AmxGemm(bool is_in_software) : is_in_software_(is_in_software) {}

  std::string name() const override { return is_in_software_ ? "amx-bf16 software" : "amx-bf16"; }

  std::unique_ptr<Matrix> pack(const void* host, DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) override {
    base::expects(dtype == DType::bf16, "a weight of bf16");
    return TileBuilder(outputs, inputs, order).take_from(host);
  }

  std::unique_ptr<MatrixBuilder> build(DType dtype, std::int64_t outputs, std::int64_t inputs,
                                       WeightOrder order) override {
    base::expects(dtype == DType::bf16, "a weight of bf16");
    return std::make_unique<TileBuilder>(outputs, inputs, order);
  }

  std::int64_t packed_bytes(DType, std::int64_t outputs, std::int64_t inputs) const override {
    return TileMatrix::bytes_of(outputs, inputs);
  }

  void multiply(std::span<const Product> products) override {
    units_.clear();
    for (const Product& product : products) {
      base::expects(product.x.dtype == DType::bf16, "rows of bf16");
      units_.add({static_cast<const bf16*>(product.x.data), product.x.rows, nullptr,
                  static_cast<const TileMatrix*>(product.w), product.y, 0});
    }
    units_.cut();
    units_.run<TileOutput::sums>(ActivationKind::silu, is_in_software_);
  }

  bool multiply_glu(const GluBatch& batch) override {
    base::expects(batch.x.dtype == DType::bf16, "rows of bf16");
    const bool has_gate = !batch.gate.empty();
    units_.clear();
    for (std::size_t g = 0; g < batch.up.size(); ++g) {
      const std::int64_t first = batch.row_offset[g], rows = batch.row_offset[g + 1] - first;
      units_.add({static_cast<const bf16*>(batch.x.data) + first * batch.x.columns, rows,
                  has_gate ? static_cast<const TileMatrix*>(batch.gate[g]) : nullptr,
                  static_cast<const TileMatrix*>(batch.up[g]), batch.out, first});
    }
    units_.cut();
    if (has_gate)
      units_.run<TileOutput::gated>(batch.kind, is_in_software_);
    else
      units_.run<TileOutput::activated>(batch.kind, is_in_software_);
    return true;
  }

 private:
  bool is_in_software_;
  TileUnits units_;
};

}  // namespace

std::unique_ptr<GemmFamily> make_amx_gemm(TileKind tiles) {
  return std::make_unique<AmxGemm>(tiles == TileKind::software);
}

}  // namespace tetrarch::backend::cpu
