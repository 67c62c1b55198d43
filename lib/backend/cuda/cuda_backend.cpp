// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "backend/cuda/backend.hpp"
#include "backend/cuda/check.hpp"
#include "backend/cuda/cuda_compute.hpp"
#include "backend/cuda/device.hpp"
#include "backend/cuda/staged_communicator.hpp"

namespace tetrarch::backend {
namespace {

using namespace cuda;

class CudaBackend final : public Backend {
 public:
  CudaBackend(const mpi::Communicator& world, int num_threads)
      : world_(world),
        num_threads_(num_threads),
        device_(use_device(world)),
        stream_(make_stream()),
        compute_(stream_.get()) {}

  std::string name() const override { return is_emulated() ? "cuda-emulated" : "cuda"; }
  std::string description() const override {
    return fmt::format("{}, exchange by MPI through host memory", device_);
  }
  std::string identity() const override {
    return fmt::format("{} {} {}", name(), device_, compute_.products().identity());
  }
  std::vector<std::string> notes() const override {
    if (!is_emulated()) return {};
    return {"The GPU is emulated by this CPU: for tests only, and slow."};
  }
  int num_threads() const override { return num_threads_; }

  void prepare(base::DType dtype, std::span<const WholeWeight> weights) override {
    compute_.products().prepare(dtype, weights);
  }

  Compute& compute() override { return compute_; }
  Buffer allocate(std::int64_t bytes) override {
    return std::make_unique<DeviceMemory>(bytes, stream_.get());
  }
  std::int64_t allocated_bytes() const override { return DeviceMemory::bytes_alive(); }

  void for_each(std::int64_t count, const std::function<void(std::int64_t)>& work) override {
    // `work` is host work, such as checksums; the new threads have not chosen a GPU
    std::atomic<std::int64_t> next = 0;
    const auto run = [&] {
      for (std::int64_t i = next++; i < count; i = next++)
        work(i);
    };
    std::vector<std::jthread> others;
    for (std::int64_t i = 1; i < std::min<std::int64_t>(num_threads_, count); ++i)
      others.emplace_back(run);
    run();
  }

  std::unique_ptr<Communicator> make_communicator(std::span<const int> world_ranks,
                                                  const char* name) override {
    return std::make_unique<StagedCommunicator>(world_.subset(world_ranks, name), stream_.get());
  }

 private:
  const mpi::Communicator& world_;
  int num_threads_;
  std::string device_;
  Stream stream_;
  CudaCompute compute_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const mpi::Communicator& world, int num_threads) {
  return std::make_unique<CudaBackend>(world, num_threads);
}

}  // namespace tetrarch::backend
