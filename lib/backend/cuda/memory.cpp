// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/memory.hpp"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

#include "backend/cuda/check.hpp"
#include "base/shape.hpp"
#include "base/text.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr std::int64_t unit = 256;
std::atomic<std::int64_t> alive = 0;

}  // namespace

std::int64_t DeviceMemory::taken(std::int64_t bytes) {
  return base::round_up(std::max<std::int64_t>(1, bytes), unit);
}

std::int64_t DeviceMemory::bytes_alive() {
  return alive;
}

DeviceMemory::DeviceMemory(std::int64_t bytes, cudaStream_t stream) : bytes_(bytes) {
  base::expects(bytes >= 0, "a number of bytes that is not negative");
  const auto size = static_cast<std::size_t>(taken(bytes));
  check(cudaMalloc(&data_, size), "cudaMalloc");
  alive += bytes;
  const cudaError_t status = cudaMemsetAsync(data_, 0, size, stream);
  if (status == cudaSuccess) return;
  alive -= bytes;
  cudaFree(data_);
  check(status, "cudaMemsetAsync");
}

DeviceMemory::~DeviceMemory() {
  alive -= bytes_;
  cudaFree(data_);
}

PinnedMemory::~PinnedMemory() {
  if (data_ != nullptr) cudaFreeHost(data_);
}

std::byte* PinnedMemory::reserve(std::int64_t bytes) {
  if (bytes <= bytes_) return data_;
  if (data_ != nullptr) check(cudaFreeHost(data_), "cudaFreeHost");
  data_ = nullptr, bytes_ = 0;
  void* memory = nullptr;
  if (cudaMallocHost(&memory, static_cast<std::size_t>(bytes)) != cudaSuccess)
    throw base::SystemError(
        base::ExitCode::resources,
        fmt::format("cudaMallocHost: the system refused {} of host memory for copies. Use fewer "
                    "ranks per node, or fewer tokens per microbatch.",
                    base::bytes_text(bytes)));
  data_ = static_cast<std::byte*>(memory), bytes_ = bytes;
  return data_;
}

}  // namespace tetrarch::backend::cuda
