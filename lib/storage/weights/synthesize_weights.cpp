// Makes random models with a counter-based generator.
// SPDX-License-Identifier: Apache-2.0
#include "storage/weights/synthesize_weights.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "storage/files/counter_random.hpp"
#include "storage/files/durable.hpp"
#include "storage/weights/weights_writer.hpp"

namespace tetrarch::storage {
namespace {

using plan::TensorSpec;

constexpr unsigned most_threads = 8;

/// The sum of four uniform 16-bit numbers minus its mean. Its standard deviation is
/// 65536 / sqrt(3), with a relative error below 1e-9.
float centred_sum(std::uint64_t bits) {
  const auto sum = static_cast<std::int32_t>((bits & 0xffffu) + (bits >> 16 & 0xffffu) +
                                             (bits >> 32 & 0xffffu) + (bits >> 48));
  return static_cast<float>(sum - 2 * 0xffff);
}

double deviation(const TensorSpec& tensor) {
  const plan::TensorKind& kind = tensor.kind();
  if (!kind.deviation.by_fan_in) return kind.deviation.value;
  const std::int64_t fan_in = kind.cut == plan::Cut::inputs ? tensor.rows() : tensor.columns();
  return kind.deviation.value / std::sqrt(static_cast<double>(fan_in));
}

double mean(const TensorSpec& tensor) {
  return tensor.shape.size() == 1 ? 1 : 0;
}

/// Makes the bytes of one unit in the tensor's dtype, in pieces that fit the cache.
void synthesize_unit(const TensorSpec& tensor, std::uint64_t seed, std::int64_t unit,
                     std::vector<std::byte>& to) {
  const std::int64_t element_bytes = base::size_of(tensor.dtype);
  const std::int64_t bytes = tensor.unit_bytes(unit);
  const std::int64_t expert = unit / tensor.num_slices;
  const std::int64_t begin = tensor.slice_rows(unit % tensor.num_slices).begin * tensor.columns();
  const std::int64_t count = bytes / element_bytes;
  to.resize(static_cast<std::size_t>(bytes));
  std::vector<float> piece(static_cast<std::size_t>(std::min<std::int64_t>(count, 1 << 14)));
  for (std::int64_t at = 0; at < count; at += static_cast<std::int64_t>(piece.size())) {
    const auto size = static_cast<std::size_t>(
        std::min<std::int64_t>(static_cast<std::int64_t>(piece.size()), count - at));
    const std::span<float> values(piece.data(), size);
    synthesize_values(tensor, seed, expert, begin + at, values);
    std::byte* out = to.data() + at * element_bytes;
    if (tensor.dtype == base::DType::bf16)
      base::to_bf16(values, {reinterpret_cast<base::bf16*>(out), size});
    else
      std::copy(values.begin(), values.end(), reinterpret_cast<float*>(out));
  }
}

/// Makes the units in several threads. Only one thread writes at a time, because HDF5 must not be
/// called by several.
class UnitFactory {
 public:
  UnitFactory(WeightsWriter& writer, std::uint64_t seed) : writer_(writer), seed_(seed) {
    for (std::size_t tensor = 0; tensor < writer.tensors().size(); ++tensor)
      for (std::int64_t unit = 0; unit < writer.tensors()[tensor].num_units(); ++unit)
        jobs_.push_back({tensor, unit});
  }

  void run() {
    const unsigned num_threads = std::clamp(std::thread::hardware_concurrency(), 1u, most_threads);
    std::vector<std::jthread> threads;  // joined also if starting one fails
    for (unsigned i = 1; i < num_threads; ++i)
      threads.emplace_back([this] { work(); });
    work();
    threads.clear();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  struct Job {
    std::size_t tensor;
    std::int64_t unit;
  };

  void work() {
    try {
      std::vector<std::byte> bytes;
      for (std::size_t i = next_++; i < jobs_.size(); i = next_++) {
        synthesize_unit(writer_.tensors()[jobs_[i].tensor], seed_, jobs_[i].unit, bytes);
        const std::lock_guard lock(mutex_);
        writer_.write_unit(jobs_[i].tensor, jobs_[i].unit, bytes);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      next_ = jobs_.size();
    }
  }

  WeightsWriter& writer_;
  std::uint64_t seed_;
  std::vector<Job> jobs_;
  std::atomic<std::size_t> next_ = 0;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

void synthesize_values(const TensorSpec& tensor, std::uint64_t seed, std::int64_t expert,
                       std::int64_t begin, std::span<float> to) {
  const std::uint64_t key = key_of(seed, tensor.path, expert);
  const auto scale = static_cast<float>(deviation(tensor) * std::sqrt(3.0) / 65536);
  const auto centre = static_cast<float>(mean(tensor));
  const auto first = static_cast<std::uint64_t>(begin);
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] = centre + scale * centred_sum(random_bits(key, first + i));
}

void synthesize_weights(const plan::ModelSpec& spec, std::int64_t reduction_shards,
                        std::uint64_t seed, const std::string& path, base::Log& log) {
  const auto begin = std::chrono::steady_clock::now();
  make_folder_of(path);
  WeightsWriter writer(path, spec, reduction_shards, fmt::format("synth, seed {}", seed));
  UnitFactory(writer, seed).run();
  writer.finish();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  log.say("{}: {} parameters, {}, in {} ({:.2f} GB/s)", path,
          base::count_text(spec.num_parameters()), base::bytes_text(writer.total_bytes()),
          base::duration_text(seconds), 1e-9 * static_cast<double>(writer.total_bytes()) / seconds);
}

bool is_synthesis(const WeightsFile& weights, const plan::ModelSpec& spec,
                  std::int64_t reduction_shards, std::uint64_t seed) {
  if (weights.spec() != spec || weights.reduction_shards() != reduction_shards) return false;
  std::vector<std::byte> expected, found;
  for (const TensorSpec& tensor : weights.tensors()) {
    if (tensor.shape.size() != 1) continue;
    synthesize_unit(tensor, seed, 0, expected);
    found.resize(expected.size());
    weights.read_unit(tensor, 0, found.data(), true);
    if (found != expected) return false;
  }
  return true;
}

}  // namespace tetrarch::storage
