// SPDX-License-Identifier: Apache-2.0
#include "engine/loader.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/clock.hpp"
#include "engine/agree.hpp"
#include "engine/memory_limit.hpp"
#include "storage/files/checksum.hpp"

namespace tetrarch::engine {
namespace {

using base::Clock;
using base::seconds_since;
using Blocks = std::vector<storage::WeightBlock>;

// bytes of a window for each thread
constexpr std::int64_t bytes_of_thread = 2 * storage::checksum_block_bytes;

std::size_t bytes_of(std::span<const storage::WeightBlock> blocks) {
  std::int64_t bytes = 0;
  for (const storage::WeightBlock& block : blocks)
    bytes += block.bytes;
  return static_cast<std::size_t>(bytes);
}

/// A window: blocks of a tensor that are read together, expert after expert.
struct Window {
  const plan::TensorSpec* tensor = nullptr;
  const mpi::Communicator* sharing = nullptr;  // the ranks that need it; null: only this rank
  int reader = 0;                              // the one of them that reads it
  Blocks blocks;

  std::size_t bytes() const { return bytes_of(blocks); }
  bool is_mine() const { return sharing == nullptr || sharing->rank() == reader; }
};

class Loader {
 public:
  /// `window_bytes` must be the same on every rank.
  Loader(const storage::WeightsFile& weights, bool verifies, std::int64_t window_bytes,
         backend::Backend& backend, base::Timeline& timeline, LoadReport& report)
      : weights_(weights),
        verifies_(verifies),
        window_bytes_(window_bytes),
        backend_(backend),
        timeline_(timeline),
        report_(report) {}

  /// Cuts the units of a tensor that this rank needs into windows. The ranks of `sharing` read the
  /// windows in turn; the first reader differs from tensor to tensor.
  void plan(const plan::TensorSpec& tensor, const plan::Shard& shard,
            const mpi::Communicator* sharing);
  /// Reads, exchanges and packs all windows in order. After a problem it reads no more.
  void run(model::ShardBuilder& builder);
  const std::optional<Problem>& problem() const { return problem_; }

 private:
  std::size_t end_of_round(std::size_t begin) const;
  void announce_next();
  void read(const Window& window);
  void pack(const Window& window, std::span<const std::byte> bytes, model::ShardBuilder& builder);

  const storage::WeightsFile& weights_;
  bool verifies_;
  std::int64_t window_bytes_;
  backend::Backend& backend_;
  base::Timeline& timeline_;
  LoadReport& report_;
  std::vector<Window> windows_;
  std::size_t next_announced_ = 0;
  std::vector<std::byte> own_, received_;
  std::optional<Problem> problem_;
};

void Loader::plan(const plan::TensorSpec& tensor, const plan::Shard& shard,
                  const mpi::Communicator* sharing) {
  auto reader = static_cast<int>(&tensor - weights_.tensors().data());
  std::int64_t bytes = window_bytes_;
  for (std::int64_t expert = shard.experts.begin; expert < shard.experts.end; ++expert)
    for (const storage::WeightBlock& block : weights_.blocks(
             tensor, expert * tensor.num_slices + shard.slices.begin, shard.slices.size())) {
      if (bytes + block.bytes > window_bytes_) {
        windows_.push_back({&tensor, sharing, 0, {}});
        if (sharing != nullptr) windows_.back().reader = reader++ % sharing->size();
        bytes = 0;
      }
      windows_.back().blocks.push_back(block);
      bytes += block.bytes;
    }
}

/// The index after the last window of the round that begins with window `begin`. A round is the
/// consecutive windows of one tensor that different ranks read at the same time.
std::size_t Loader::end_of_round(std::size_t begin) const {
  const Window& first = windows_[begin];
  const std::size_t most = first.sharing == nullptr ? 1 : first.sharing->size();
  std::size_t end = begin + 1;
  while (end < std::min(windows_.size(), begin + most) && windows_[end].tensor == first.tensor)
    ++end;
  return end;
}

/// Announces the window that this rank reads after the present one, so that the system can start to
/// read it.
void Loader::announce_next() {
  while (next_announced_ < windows_.size() && !windows_[next_announced_].is_mine())
    ++next_announced_;
  if (next_announced_ < windows_.size()) weights_.announce(windows_[next_announced_++].blocks);
}

void Loader::read(const Window& window) {
  announce_next();
  own_.resize(std::max(own_.size(), window.bytes()));
  if (problem_) return;
  Clock::time_point at = Clock::now();
  problem_ = attempt([&] {
    const storage::ReadSeconds of_threads = weights_.read(
        *window.tensor, window.blocks, own_.data(), verifies_,
        [&](std::int64_t count, const auto& work) { backend_.for_each(count, work); });
    const double seconds = seconds_since(at), sum = of_threads.reading + of_threads.verifying;
    const double reading = sum > 0 ? seconds * of_threads.reading / sum : 0;
    report_.read_seconds += reading;
    report_.verify_seconds += seconds - reading;
  });
  report_.bytes_read += static_cast<std::int64_t>(window.bytes());
}

void Loader::pack(const Window& window, std::span<const std::byte> bytes,
                  model::ShardBuilder& builder) {
  const std::span<const storage::WeightBlock> blocks = window.blocks;
  const auto expert_of = [&](const storage::WeightBlock& block) {
    return block.unit / window.tensor->num_slices;
  };
  for (std::size_t begin = 0, end = 0; begin < blocks.size(); begin = end) {
    while (end < blocks.size() && expert_of(blocks[end]) == expert_of(blocks[begin]))
      ++end;
    const std::size_t of_expert = bytes_of(blocks.subspan(begin, end - begin));
    builder.add(*window.tensor, expert_of(blocks[begin]), bytes.first(of_expert));
    bytes = bytes.subspan(of_expert);
  }
}

void Loader::run(model::ShardBuilder& builder) {
  announce_next();
  for (std::size_t begin = 0, end = 0; begin < windows_.size(); begin = end) {
    end = end_of_round(begin);
    for (std::size_t i = begin; i < end; ++i)
      if (windows_[i].is_mine()) read(windows_[i]);
    for (std::size_t i = begin; i < end; ++i) {
      const Window& window = windows_[i];
      Clock::time_point at = Clock::now();
      if (!window.is_mine()) {
        received_.resize(std::max(received_.size(), window.bytes()));
        report_.bytes_received += static_cast<std::int64_t>(window.bytes());
      }
      const std::span bytes(window.is_mine() ? own_.data() : received_.data(), window.bytes());
      if (window.sharing != nullptr) window.sharing->broadcast(bytes, window.reader);
      report_.exchange_seconds += seconds_since(at);
      pack(window, bytes, builder);
      report_.pack_seconds += seconds_since(at);
      timeline_.add_bytes(bytes.size());
    }
  }
}

/// Groups of ranks, over all instances, that need the same part of a tensor. They share one read of
/// it.
class Sharing {
 public:
  /// Collective over the grid.
  Sharing(const std::vector<plan::TensorSpec>& tensors, const Topology& topology)
      : everywhere_(peers(topology, 0)),
        of_tp_(peers(topology, topology.place.tp)),
        of_kv_(peers(topology, first_kv_slice(tensors, topology))),
        of_place_(peers(topology, topology.place.ep * topology.grid.tp + topology.place.tp)) {}

  /// The ranks that need the same part of `tensor` as this rank; null if only this rank needs it.
  const mpi::Communicator* of(const plan::TensorSpec& tensor) const {
    const bool is_kv = tensor.kind().cut == plan::Cut::kv_heads;
    const mpi::Communicator& all = tensor.num_experts > 1   ? of_place_
                                   : is_kv                  ? of_kv_
                                   : tensor.num_slices == 1 ? everywhere_
                                                            : of_tp_;
    return all.size() == 1 ? nullptr : &all;
  }

 private:
  /// The ranks of all instances, at this rank's stage, that pass the same number `part`.
  static mpi::Communicator peers(const Topology& topology, int part) {
    const int parts = topology.grid.ep * topology.grid.tp * most_slices;
    const mpi::Communicator& grid = topology.cart.grid();
    return grid.split(topology.place.pp * parts + part, grid.rank(), "readers");
  }
  static int first_kv_slice(const std::vector<plan::TensorSpec>& tensors,
                            const Topology& topology) {
    const auto key = std::ranges::find(tensors, plan::Role::k, &plan::TensorSpec::role);
    if (key == tensors.end()) return 0;
    return static_cast<int>(plan::shard_of(*key, topology.grid, topology.place).slices.begin);
  }

  static constexpr int most_slices = 8;  // largest number of slices of a tensor
  mpi::Communicator everywhere_, of_tp_, of_kv_, of_place_;
};

}  // namespace

std::int64_t loading_bytes(const storage::WeightsFile& weights, std::int64_t threads_per_rank) {
  return 2 * std::min(weights.total_bytes(), bytes_of_thread * threads_per_rank);
}

model::ModelShard load_shard(const storage::WeightsFile& weights, plan::VerifyMode verify,
                             const plan::LocalSizes& local, const plan::Depth& depth,
                             const Topology& topology, const mpi::Communicator& world,
                             backend::Backend& backend, base::Timeline& timeline,
                             LoadReport& report) {
  timeline.enter(base::Phase::load);
  report.resident_bytes = resident_bytes();
  const plan::Held held = plan::held_by(depth, topology.grid.pp, topology.place.pp);
  const std::int64_t window_bytes =
      bytes_of_thread * world.min(std::int64_t{backend.num_threads()});
  Loader loader(weights, verify != plan::VerifyMode::none, window_bytes, backend, timeline, report);
  const Sharing sharing(weights.tensors(), topology);
  for (const plan::TensorSpec& tensor : weights.tensors()) {
    if (!plan::is_held(tensor, weights.spec(), held)) continue;
    const plan::Shard shard = plan::shard_of(tensor, topology.grid, topology.place);
    loader.plan(tensor, shard, sharing.of(tensor));
  }
  model::ShardBuilder builder(weights.spec(), local, held, backend);
  loader.run(builder);
  agree(world, loader.problem());
  timeline.enter(base::Phase::other);
  return builder.take();
}

}  // namespace tetrarch::engine
