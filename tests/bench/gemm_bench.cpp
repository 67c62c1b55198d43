// Prints GFLOP/s of the product families: gemm_bench [threads [rows outputs inputs]]
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <omp.h>

#include "backend/cpu/kernels/gemm.hpp"

namespace {

using namespace tetrarch;
using namespace tetrarch::backend;

struct Size {
  std::int64_t rows, outputs, inputs;
};

std::vector<std::uint16_t> random_bf16(std::int64_t count) {
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  std::uint32_t state = 1;
  for (auto& value : values) {
    state = state * 1664525u + 1013904223u;
    value = base::to_bf16(static_cast<float>(state >> 8) * 0x1p-24f - 0.5f).bits;
  }
  return values;
}

std::vector<float> widened(const std::vector<std::uint16_t>& values) {
  std::vector<float> to;
  for (const auto value : values)
    to.push_back(base::to_float(base::bf16{value}));
  return to;
}

/// The best of many runs within about half a second.
double gflops(const Size& size, const std::function<void()>& run) {
  using clock = std::chrono::steady_clock;
  run();
  double best = 1e30, total = 0;
  for (int i = 0; i < 400 && (i < 5 || total < 0.5); ++i) {
    const auto begin = clock::now();
    run();
    const double seconds = std::chrono::duration<double>(clock::now() - begin).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return 2e-9 * static_cast<double>(size.rows * size.outputs * size.inputs) / best;
}

std::string measure(const Size& size, std::unique_ptr<cpu::GemmFamily> family,
                    base::DType dtype) try {
  auto x = random_bf16(size.rows * size.inputs), w = random_bf16(size.outputs * size.inputs);
  std::vector<float> x32 = widened(x), w32 = widened(w);
  std::vector<float> y(static_cast<std::size_t>(size.rows * size.outputs));
  const bool is_f32 = dtype == base::DType::f32;
  const auto packed = family->pack(is_f32 ? static_cast<const void*>(w32.data()) : w.data(), dtype,
                                   size.outputs, size.inputs, WeightOrder::nk);
  const cpu::Product product{
      {is_f32 ? static_cast<void*>(x32.data()) : x.data(), dtype, 1, size.rows, size.inputs},
      packed.get(),
      {y.data(), dtype, 1, size.rows, size.outputs}};
  return fmt::format("{:.1f}", gflops(size, [&] { family->multiply({&product, 1}); }));
} catch (const std::exception&) {
  return "-";
}

}  // namespace

int main(int argc, char** argv) {
  omp_set_num_threads(argc > 1 ? std::atoi(argv[1]) : 1);
  std::vector<Size> sizes = {{512, 1792, 1024}, {512, 1024, 1792}, {128, 1792, 1024},
                             {32, 1792, 1024},  {1, 1792, 1024},   {512, 128, 512},
                             {256, 4096, 4096}, {1000, 1000, 1000}};
  if (argc > 4) sizes = {{std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4])}};
  const auto own_bf16 = [] {  // what a model of bf16 is multiplied by where oneDNN is not
    return cpu::choose_gemm(cpu::GemmChoice::automatic, base::DType::bf16, {},
                            omp_get_max_threads())
        .family;
  };
  fmt::print("GFLOP/s, {} threads, best run; oneDNN {} ({}), own kernels {} and {}\n",
             omp_get_max_threads(), cpu::onednn_version(), cpu::onednn_isa(),
             cpu::make_portable_gemm()->name(), own_bf16()->name());
  fmt::print("{:>18} {:>12} {:>13} {:>9} {:>11} {:>12}\n", "rows x out x in", "portable f32",
             "portable bf16", "own bf16", "oneDNN f32", "oneDNN bf16");
  for (const Size& size : sizes)
    fmt::print("{:>18} {:>12} {:>13} {:>9} {:>11} {:>12}\n",
               fmt::format("{}x{}x{}", size.rows, size.outputs, size.inputs),
               measure(size, cpu::make_portable_gemm(), base::DType::f32),
               measure(size, cpu::make_portable_gemm(), base::DType::bf16),
               measure(size, own_bf16(), base::DType::bf16),
               measure(size, cpu::make_onednn_gemm(false), base::DType::f32),
               measure(size, cpu::make_onednn_gemm(false), base::DType::bf16));
}
