// SPDX-License-Identifier: Apache-2.0
#include "emulated/kernel.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "emulated/block.hpp"
#include "emulated/call.hpp"
#include "emulated/device_memory.hpp"
#include "emulated/function_name.hpp"
#include "emulated/settings.hpp"
#include "emulated/shared_memory.hpp"
#include "emulated/stream.hpp"

extern "C" {
extern uint3 blockIdx;
extern dim3 blockDim, gridDim;
}

namespace tetrarch::emulated {
namespace {

std::map<const void*, std::size_t>& dynamic_limits() {
  static std::map<const void*, std::size_t> limits;
  return limits;
}

std::size_t dynamic_limit(const void* function) {
  const auto found = dynamic_limits().find(function);
  return found == dynamic_limits().end() ? most_shared_bytes_by_default : found->second;
}

/// What is wrong with a launch; empty if nothing is.
std::string problem_of(const cudaLaunchConfig_t& config, const void* function) {
  const dim3 grid = config.gridDim, extent = config.blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return "a grid without blocks";
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return "a grid of more than 2^31 - 1, 65535 and 65535 blocks";
  if (extent.x == 0 || extent.y == 0 || extent.z == 0) return "a block without threads";
  if (extent.x > most_threads || extent.y > most_threads || extent.z > 64 ||
      std::uint64_t{extent.x} * extent.y * extent.z > most_threads)
    return "a block of more than 1024 threads, or of more than 64 in z";
  if (config.dynamicSmemBytes > dynamic_limit(function))
    return "more dynamic shared memory (" + std::to_string(config.dynamicSmemBytes) +
           " bytes) than 48 KiB or than cudaFuncSetAttribute allowed";
  if (config.numAttrs != 0) return "launch attributes, which are not emulated";
  return "";
}

std::string name_of(const Kernel& kernel) {
  return name_of_function(kernel.function) + ", started at " + text_of(kernel.place);
}

/// All numbers below `count` once: first + i * stride modulo count, with no common divisor.
class RandomWalk {
 public:
  explicit RandomWalk(std::uint64_t count) : count_(count), at_(draw_below(count)) {
    do {
      stride_ = 1 + draw_below(count);
    } while (std::gcd(stride_, count_) != 1);
  }
  std::uint64_t next() { return std::exchange(at_, (at_ + stride_) % count_); }

 private:
  static std::uint64_t draw_below(std::uint64_t count) {
    constexpr std::uint64_t most = 0xffffffffu;
    return draw(static_cast<std::uint32_t>(count < most ? count : most));
  }
  std::uint64_t count_, at_, stride_ = 1;
};

/// The blocks run one after the other, in a random order.
void run_grid(const cudaLaunchConfig_t& config, const Kernel& kernel, KernelOrder& order) {
  const dim3 grid = config.gridDim;
  ::blockDim = config.blockDim;
  ::gridDim = grid;
  const std::uint64_t num_blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  RandomWalk walk(num_blocks);
  for (std::uint64_t i = 0; i < num_blocks; ++i) {
    const std::uint64_t at = walk.next();
    ::blockIdx = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                  static_cast<unsigned>(at / grid.x / grid.y)};
    start_shared_memory(config.dynamicSmemBytes);
    if (!block().run(config.blockDim, order, kernel.thread)) return;
  }
}

}  // namespace

void allow_dynamic_shared(const void* function, std::size_t bytes) {
  dynamic_limits()[function] = bytes;
}

cudaError_t enqueue_kernel(const cudaLaunchConfig_t& config, const Kernel& kernel) {
  const Call call;
  const std::string problem = problem_of(config, kernel.function);
  if (!problem.empty())
    return call.fault(name_of(kernel) + ": " + problem, cudaErrorInvalidConfiguration);
  Stream* stream = call.stream(config.stream);
  if (!stream) return cudaErrorInvalidResourceHandle;
  stream->push({[kernel] { return name_of(kernel); },
                [config, stream, kernel] {
                  run_grid(config, kernel, stream->kernel_order());
                  ++counters().kernels;
                  device_memory().check_canaries([&] { return name_of(kernel); });
                  return Step::done;
                }});
  return cudaSuccess;
}

}  // namespace tetrarch::emulated
