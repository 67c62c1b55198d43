// SPDX-License-Identifier: Apache-2.0
#include "run_state.hpp"

#include "base/build_info.hpp"
#include "engine/agree.hpp"

namespace tetrarch::app {

storage::RunSettings settings_of(const plan::RunConfig& config, const plan::Plan& plan,
                                 const storage::WeightsFile& weights,
                                 const storage::InputSet& inputs,
                                 const std::vector<storage::DatasetPlan>& layout,
                                 const std::string& kernels) {
  storage::RunSettings settings;
  settings.frozen["weights"]["xxh3"] = weights.identity();
  settings.frozen["inputs"]["xxh3"] = inputs.identity();
  if (inputs.tokenizer() == plan::Tokenizer::bytes) settings.frozen["tokenizer"] = "bytes";
  settings.frozen["dtype"] = std::string(base::name_of(weights.spec().dtype));
  settings.frozen["outputs"]["pooling"] = static_cast<int>(plan.outputs.pooling);
  if (plan.outputs.topk) settings.frozen["outputs"]["top_k_logprobs"] = plan.outputs.top_k_logprobs;
  for (const storage::DatasetPlan& dataset : layout)
    settings.frozen["outputs"]["datasets"].push_back(dataset.path);
  if (config.capacity_factor > 0) {  // which copies are dropped depends on these
    settings.frozen["capacity_factor"] = config.capacity_factor;
    settings.frozen["tokens_per_microbatch"] = config.tokens_per_microbatch;
    settings.frozen["grid"] = plan::to_string(plan.grid);
    settings.facts["ep_set"] = plan.grid.ep;
  }
  settings.mixable["version"] = base::build_info().version;
  settings.mixable["build"] = base::build_info().git_sha;
  settings.mixable["backend"] = kernels;
  return settings;
}

HeldFolder hold_folder(const plan::RunConfig& config, const mpi::Communicator& world,
                       const std::function<storage::RunSettings()>& settings, base::Log& log) {
  HeldFolder folder;
  engine::on_root(world, [&] {
    const storage::RunFolderOptions how{
        .allow_mixed = config.allow_mixed, .keep_parts = config.keep_parts, .parts_wait_s = 60};
    folder.held = storage::RunFolder::open(config.out, settings(), how, log);
    log.also_to(folder.held->log_path());
    folder.run_uuid = folder.held->run_uuid();
    folder.attempt = folder.held->attempt();
    folder.is_complete = folder.held->is_complete();
    if (!folder.is_complete) folder.committed = folder.held->committed(log);
  });
  std::int64_t state[2] = {folder.attempt, folder.is_complete};
  world.broadcast(std::as_writable_bytes(std::span(state)), 0);
  folder.attempt = static_cast<int>(state[0]);
  folder.is_complete = state[1] != 0;
  folder.run_uuid = world.broadcast(folder.run_uuid, 0);
  return folder;
}

std::int64_t space_needed(const std::vector<storage::DatasetPlan>& layout,
                          const storage::InputSet& inputs,
                          std::span<const plan::SequenceLength> left) {
  std::int64_t num_tokens = 0;
  for (const plan::SequenceLength& each : left)
    num_tokens += inputs.length(each.sequence);
  return storage::payload_bytes(layout, std::ssize(left), num_tokens) +
         (left.empty() ? 0 : inputs.unpacked_bytes()) +
         storage::payload_bytes(layout, inputs.count(), inputs.total_tokens());
}

SequenceList left_to_do(const storage::InputSet& inputs, const HeldFolder& folder,
                        const mpi::Communicator& world, const mpi::Communicator& node) {
  const auto count = static_cast<std::size_t>(inputs.count());
  const auto fill = [&](std::span<std::byte> done) {
    for (const storage::CommittedSequence& each : folder.committed.sequences) {
      base::expects(each.entry.sequence < inputs.count(), "sequences of the inputs");
      done[static_cast<std::size_t>(each.entry.sequence)] = std::byte{'1'};
    }
  };
  const mpi::NodeMemory done = broadcast_by_node(count, fill, world, node);
  return {inputs, done.bytes(), node};
}

}  // namespace tetrarch::app
