// SPDX-License-Identifier: Apache-2.0
#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <omp.h>

#include "backend/cpu/backend.hpp"
#include "backend/cpu/cpu_compute.hpp"
#include "backend/cpu/kernels/memory.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "backend/cpu/mpi_communicator.hpp"

namespace tetrarch::backend {
namespace {

using namespace cpu;

/// Starts the threads of parallel loops now, and throws SystemError(resources) when a thread cannot
/// be started. Without this check OpenMP would end the process with exit code 1 at the first
/// parallel loop.
void start_threads(int num_threads) {
  std::vector<std::thread> threads;
  std::latch all_started(num_threads);
  try {
    for (int i = 1; i < num_threads; ++i)
      threads.emplace_back([&] { all_started.arrive_and_wait(); });
  } catch (const std::system_error& error) {
    const auto num_started = static_cast<std::ptrdiff_t>(threads.size());
    all_started.count_down(num_threads - num_started);
    for (std::thread& thread : threads)
      thread.join();
    throw base::SystemError(
        base::ExitCode::resources,
        fmt::format("{} of {} threads cannot be started ({}). Raise the limits of this process on "
                    "threads and memory (ulimit -u, ulimit -v), or set OMP_NUM_THREADS lower.",
                    num_threads - 1 - num_started, num_threads, error.code().message()));
  }
  all_started.count_down();
  for (std::thread& thread : threads)
    thread.join();
  omp_set_num_threads(num_threads);
#pragma omp parallel
  {
    volatile int is_running = 1;
    static_cast<void>(is_running);
  }
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(const mpi::Communicator& world, int num_threads, GemmChoice choice)
      : world_(world),
        num_threads_(num_threads),
        choice_(choice),
        compute_(choice == GemmChoice::onednn ? make_onednn_gemm(false) : make_portable_gemm()) {
    base::expects(num_threads >= 1, "at least one thread");
    start_threads(num_threads);
  }

  std::string name() const override { return "cpu"; }

  std::string description() const override {
    return fmt::format("{} threads, kernels {}, products {}, oneDNN {} ({})", num_threads_,
                       simd::name_of(simd::active_isa()), compute_.gemm_family().name(),
                       onednn_version(), onednn_isa());
  }

  std::string identity() const override {
    const std::string isa = simd::name_of(simd::active_isa());
    const std::string products = compute_.gemm_family().name();
    return products.ends_with(isa) ? fmt::format("cpu {}", products)
                                   : fmt::format("cpu {} {}", products, isa);
  }

  std::vector<std::string> notes() const override { return notes_; }
  int num_threads() const override { return num_threads_; }

  void prepare(base::DType dtype, std::span<const WholeWeight> weights) override {
    ChosenGemm chosen = choose_gemm(choice_, dtype, weights, num_threads_);
    compute_.use(std::move(chosen.family));
    notes_ = std::move(chosen.notes);
  }

  Compute& compute() override { return compute_; }

  Buffer allocate(std::int64_t bytes) override { return std::make_unique<HostMemory>(bytes); }

  std::int64_t allocated_bytes() const override { return HostMemory::bytes_alive(); }

  void for_each(std::int64_t count, const std::function<void(std::int64_t)>& work) override {
    for_items(count, worth_waking, work);
  }

  std::unique_ptr<Communicator> make_communicator(std::span<const int> world_ranks,
                                                  const char* name) override {
    return std::make_unique<MpiCommunicator>(world_.subset(world_ranks, name));
  }

 private:
  const mpi::Communicator& world_;
  int num_threads_;
  GemmChoice choice_;
  CpuCompute compute_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const mpi::Communicator& world, int num_threads,
                                          GemmChoice gemm) {
  return std::make_unique<CpuBackend>(world, num_threads, gemm);
}

}  // namespace tetrarch::backend
