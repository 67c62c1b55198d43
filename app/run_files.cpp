// Opens the files that a run reads; makes the weights file when a preset is asked for.
// SPDX-License-Identifier: Apache-2.0
#include "run_files.hpp"

#include <utility>

#include <fmt/format.h>

#include "base/flight_recorder.hpp"
#include "base/shape.hpp"
#include "mpi/launcher.hpp"
#include "storage/files/durable.hpp"
#include "storage/inputs/input_paths.hpp"
#include "storage/run/run_folder.hpp"
#include "storage/weights/foreign_weights.hpp"
#include "storage/weights/synthesize_weights.hpp"

namespace tetrarch::app {
namespace {

using base::ExitCode;
using engine::on_root;

constexpr std::string_view synth_prefix = "synth:";
constexpr std::uint64_t synth_seed = 1;

bool is_synthetic(const plan::RunConfig& config) {
  return config.weights.starts_with(synth_prefix);
}

/// The path of the weights file. For "synth:PRESET" it is a file in the run folder.
std::string weights_path(const plan::RunConfig& config) {
  if (!is_synthetic(config)) return config.weights;
  return config.out + "/synth-" + config.weights.substr(synth_prefix.size()) + ".h5";
}

plan::ModelSpec synthetic_spec(const plan::RunConfig& config) {
  return plan::preset(config.weights.substr(synth_prefix.size()));
}

/// Throws Refusal(weights) when the file in the run folder is not the model of the preset. An
/// earlier attempt may have made it, or somebody else.
void refuse_other_model(const storage::WeightsFile& weights, const plan::RunConfig& config) {
  const plan::ModelSpec spec = synthetic_spec(config);
  if (storage::is_synthesis(weights, spec, plan::default_reduction_shards(spec), synth_seed))
    return;
  throw base::Refusal(ExitCode::weights,
                      fmt::format("{}: is not the model {} (its sizes or values differ). Remove "
                                  "it, so that it is made again, or give its path as --weights.",
                                  weights.path(), config.weights));
}

}  // namespace

FirstLook::FirstLook(const plan::RunConfig& config) {
  if (mpi::find_launcher().local_rank != 0) return;
  failure_ = engine::attempt([&] {
    storage::refuse_foreign_folder(config.out);
    std::vector<ForeignFile> files = {{weights_path(config), storage::Purpose::weights}};
    for (const std::string& path : storage::input_files(config.inputs))
      files.push_back({path, storage::Purpose::inputs});
    files.push_back({config.out + "/results.h5", storage::Purpose::results});
    probe_.emplace(files);
  });
}

void FirstLook::end(const mpi::Communicator& world) {
  if (probe_) failure_ = probe_->wait([] { base::flight_recorder().enter(base::Phase::other); });
  engine::agree(world, failure_);
}

mpi::NodeMemory broadcast_by_node(std::size_t bytes,
                                  const std::function<void(std::span<std::byte>)>& fill,
                                  const mpi::Communicator& world, const mpi::Communicator& node) {
  mpi::NodeMemory memory(node, bytes);
  if (world.rank() == 0) fill(memory.bytes());
  const bool is_first = node.rank() == 0;  // true on world rank 0
  const mpi::Communicator nodes = world.split(is_first ? 0 : 1, world.rank(), "nodes");
  if (is_first) nodes.broadcast(memory.bytes(), 0);
  memory.share(node);
  return memory;
}

storage::InputSet open_inputs(const plan::RunConfig& config, const plan::ModelSpec& spec,
                              const mpi::Communicator& world, const mpi::Communicator& node,
                              std::int64_t memory_limit) {
  std::optional<storage::InputSet> inputs;
  std::string head;
  on_root(world, [&] {
    const std::int64_t most =
        memory_limit == 0 ? storage::InputSet::no_limit : memory_limit * node.size();
    const bool is_scored = plan::only_scores(plan::resolve_outputs(config, spec));
    inputs = storage::InputSet::open(
        config.inputs, spec.vocab_size, spec.max_position, config.tokenizer,
        is_scored ? storage::LastToken::only_scored : storage::LastToken::fed, most);
    const std::vector<std::byte> bytes = inputs->head();
    head.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  head = world.broadcast(head, 0);
  if (!inputs) inputs = storage::InputSet::from_head(std::as_bytes(std::span(head)));
  inputs->take_columns(broadcast_by_node(
      static_cast<std::size_t>(inputs->column_bytes()),
      [&](std::span<std::byte> to) { inputs->copy_columns(to); }, world, node));
  return std::move(*inputs);
}

SequenceList::SequenceList(const storage::InputSet& inputs, std::span<const std::byte> done,
                           const mpi::Communicator& node) {
  const auto is_left = [&](std::int64_t i) {
    return inputs.status(i) == storage::SequenceStatus::ok &&
           (done.empty() || done[static_cast<std::size_t>(i)] != std::byte{'1'});
  };
  std::int64_t count = 0;
  if (node.rank() == 0)
    for (std::int64_t i = 0; i < inputs.count(); ++i)
      count += is_left(i);
  node.broadcast(std::as_writable_bytes(std::span(&count, 1)), 0);
  memory_ = mpi::NodeMemory(node, static_cast<std::size_t>(count) * sizeof(plan::SequenceLength));
  auto* to = reinterpret_cast<plan::SequenceLength*>(memory_.bytes().data());
  if (node.rank() == 0)
    for (std::int64_t i = 0; i < inputs.count(); ++i)
      if (is_left(i)) *to++ = {i, inputs.fed_length(i)};
  memory_.share(node);
}

std::span<const plan::SequenceLength> SequenceList::lengths() const {
  const std::span<std::byte> bytes = memory_.bytes();
  return {reinterpret_cast<const plan::SequenceLength*>(bytes.data()),
          bytes.size() / sizeof(plan::SequenceLength)};
}

plan::FileBytes label_bytes(const storage::InputSet& inputs, const SequenceList& list,
                            const mpi::Communicator& world, const mpi::Communicator& node) {
  const std::int64_t of_node =
      inputs.column_bytes() +
      std::ssize(list.lengths()) * static_cast<std::int64_t>(sizeof(plan::SequenceLength));
  const std::int64_t sharing = list.is_shared() ? node.size() : 1;
  plan::FileBytes bytes;
  bytes.labels = base::ceil_div(of_node, world.min(sharing));
  const std::int64_t of_all = world.min(inputs.id_bytes());
  bytes.labels += of_all;
  bytes.ids = inputs.id_bytes() - of_all;
  world.broadcast(std::as_writable_bytes(std::span(&bytes.ids, 1)), 0);
  return bytes;
}

namespace {

/// Makes a plan for the preset, and throws as make_plan() does.
void check_plan_of_preset(const plan::RunConfig& config, const mpi::Communicator& world,
                          const mpi::Communicator& node, std::int64_t memory_limit) {
  const plan::ModelSpec spec = synthetic_spec(config);
  const storage::InputSet inputs = open_inputs(config, spec, world, node, memory_limit);
  const SequenceList list(inputs, {}, node);
  plan::make_plan(config, spec, plan::default_reduction_shards(spec), list.lengths(),
                  {.number = world.size(),
                   .memory_limit_bytes = memory_limit,
                   .packed_bytes = {},
                   .files = label_bytes(inputs, list, world, node)});
}

}  // namespace

storage::WeightsFile open_weights(const plan::RunConfig& config, const mpi::Communicator& world,
                                  const mpi::Communicator& node, std::int64_t memory_limit,
                                  base::Log& log) {
  if (is_synthetic(config)) check_plan_of_preset(config, world, node, memory_limit);
  const std::string path = weights_path(config);
  on_root(world, [&] {
    if (is_synthetic(config) && !storage::is_there(path)) {
      if (config.dry_run)
        throw base::Refusal(
            ExitCode::usage,
            fmt::format("--dry-run writes nothing, but {} does not exist yet and would have to be "
                        "written. Make the model with tetrarch synth, or leave out --dry-run.",
                        config.weights));
      const plan::ModelSpec spec = synthetic_spec(config);
      storage::synthesize_weights(spec, plan::default_reduction_shards(spec), synth_seed, path,
                                  log);
    }
    storage::refuse_foreign_weights(path);
    const storage::WeightsFile proved = storage::WeightsFile::open(path);
    if (is_synthetic(config)) refuse_other_model(proved, config);
    if (config.verify == plan::VerifyMode::full) proved.verify_all({});
  });
  std::optional<storage::WeightsFile> weights;
  engine::agree(world, engine::attempt([&] { weights = storage::WeightsFile::open(path); }));
  const std::vector<std::string> all = world.all_gather(weights->identity());
  for (int rank = 1; rank < world.size(); ++rank)
    if (all[rank] != all[0])
      throw base::Refusal(
          ExitCode::weights,
          fmt::format("{}: rank 0 sees the weights {}, rank {} sees {} (the path names different "
                      "files on different nodes). Put one file where all ranks see it.",
                      path, all[0], rank, all[rank]));
  return std::move(*weights);
}

}  // namespace tetrarch::app
