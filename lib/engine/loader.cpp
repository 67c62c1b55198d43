// SPDX-License-Identifier: Apache-2.0
#include "engine/loader.hpp"

#include <chrono>
#include <optional>
#include <vector>

#include "engine/agree.hpp"

namespace tetrarch::engine {
namespace {

using Clock = std::chrono::steady_clock;

/// Reads the units of a shard, sharing the work with the ranks that need the same ones.
class ShardReader {
 public:
  ShardReader(const storage::WeightsFile& weights, bool verifies, LoadReport& report)
      : weights_(weights), verifies_(verifies), report_(report) {}

  /// The rows of `slices` of one expert. After a problem the bytes are zeros, and nothing is read.
  void read(const plan::TensorSpec& tensor, std::int64_t expert, plan::Range slices,
            std::span<std::byte> to) {
    if (problem_) return;
    problem_ = attempt([&] {
      std::byte* at = to.data();
      for (std::int64_t slice = slices.begin; slice < slices.end; ++slice) {
        const std::int64_t unit = expert * tensor.num_slices + slice;
        weights_.read_unit(tensor, unit, at, verifies_);
        at += tensor.unit_bytes(unit);
      }
    });
    report_.bytes_read += static_cast<std::int64_t>(to.size());
  }
  const std::optional<Problem>& problem() const { return problem_; }

 private:
  const storage::WeightsFile& weights_;
  bool verifies_;
  LoadReport& report_;
  std::optional<Problem> problem_;
};

std::int64_t slice_bytes(const plan::TensorSpec& tensor, std::int64_t expert, plan::Range slices) {
  std::int64_t bytes = 0;
  for (std::int64_t slice = slices.begin; slice < slices.end; ++slice)
    bytes += tensor.unit_bytes(expert * tensor.num_slices + slice);
  return bytes;
}

}  // namespace

model::ModelShard load_shard(const storage::WeightsFile& weights, plan::VerifyMode verify,
                             const plan::LocalSizes& local, const plan::Depth& depth,
                             const Topology& topology, const mpi::Communicator& world,
                             backend::Backend& backend, base::Timeline& timeline,
                             LoadReport& report) {
  timeline.enter(base::Phase::load);
  const plan::Held held = plan::held_by(depth, topology.grid.pp, topology.place.pp);
  model::ShardBuilder builder(weights.spec(), local, held, backend);
  ShardReader reader(weights, verify != plan::VerifyMode::none, report);
  const std::vector<plan::TensorSpec>& tensors = weights.tensors();

  // Ranks that hold the same kv heads, all EP ranks together.
  std::optional<mpi::Communicator> kv_peers;
  for (const plan::TensorSpec& tensor : tensors)
    if (tensor.role == plan::Role::k && !kv_peers) {
      const plan::Shard shard = plan::shard_of(tensor, topology.grid, topology.place);
      kv_peers = topology.cart.stage().split(static_cast<int>(shard.slices.begin),
                                             topology.cart.stage().rank());
    }

  std::vector<std::byte> host;
  for (std::size_t number = 0; number < tensors.size(); ++number) {
    const plan::TensorSpec& tensor = tensors[number];
    if (!plan::is_held(tensor, weights.spec(), held)) continue;
    const plan::Shard shard = plan::shard_of(tensor, topology.grid, topology.place);
    for (std::int64_t expert = shard.experts.begin; expert < shard.experts.end; ++expert) {
      host.assign(slice_bytes(tensor, expert, shard.slices), std::byte{0});
      if (tensor.num_experts > 1) {
        reader.read(tensor, expert, shard.slices, host);  // nobody else needs it
      } else {
        const bool is_kv = tensor.role == plan::Role::k || tensor.role == plan::Role::v;
        const mpi::Communicator& sharing = is_kv                    ? *kv_peers
                                           : tensor.num_slices == 1 ? topology.cart.stage()
                                                                    : topology.cart.ep();
        const int root = static_cast<int>(number % sharing.size());
        if (sharing.rank() == root) {
          reader.read(tensor, expert, shard.slices, host);
        } else {
          report.bytes_received += static_cast<std::int64_t>(host.size());
        }
        if (sharing.size() > 1) sharing.broadcast(host, root);
      }
      timeline.add_bytes(host.size());
      const auto started = Clock::now();
      builder.add(tensor, expert, host);
      report.pack_seconds += std::chrono::duration<double>(Clock::now() - started).count();
    }
  }
  agree(world, reader.problem());
  timeline.enter(base::Phase::other);
  return builder.take();
}

}  // namespace tetrarch::engine
