// The files of a run: a weights file, perhaps yet to be made, and inputs.
// SPDX-License-Identifier: Apache-2.0
#include "run_files.hpp"

#include <utility>

#include <fmt/format.h>

#include "base/flight_recorder.hpp"
#include "mpi/launcher.hpp"
#include "storage/durable.hpp"
#include "storage/input_paths.hpp"
#include "storage/run_folder.hpp"
#include "storage/synthesize.hpp"

namespace tetrarch::app {
namespace {

using base::ExitCode;
using engine::on_root;

constexpr std::string_view synth_prefix = "synth:";
constexpr std::uint64_t synth_seed = 1;

bool is_synthetic(const plan::RunConfig& config) {
  return config.weights.starts_with(synth_prefix);
}

/// The weights file; where "synth:PRESET" is asked for, the one that the run folder has of it.
std::string weights_path(const plan::RunConfig& config) {
  if (!is_synthetic(config)) return config.weights;
  return config.out + "/synth-" + config.weights.substr(synth_prefix.size()) + ".h5";
}

plan::ModelSpec synthetic_spec(const plan::RunConfig& config) {
  return plan::preset(config.weights.substr(synth_prefix.size()));
}

/// A file that an earlier attempt made, or somebody else.
void refuse_other_model(const storage::WeightsFile& weights, const plan::RunConfig& config) {
  const plan::ModelSpec spec = synthetic_spec(config);
  if (storage::is_synthesis(weights, spec, plan::default_reduction_shards(spec), synth_seed))
    return;
  throw base::UsageError(
      ExitCode::weights,
      fmt::format("{}: is not the model {} (its sizes or values are others). Remove it, so that it "
                  "is made again, or give it by its path as --weights.",
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

storage::WeightsFile open_weights(const plan::RunConfig& config, const mpi::Communicator& world,
                                  base::Log& log) {
  const std::string path = weights_path(config);
  on_root(world, [&] {
    if (is_synthetic(config) && !storage::is_there(path)) {
      if (config.dry_run)
        throw base::UsageError(
            ExitCode::usage,
            fmt::format("--dry-run writes nothing, and {} is yet to be written. Make the model "
                        "with tetrarch synth, or leave out --dry-run.",
                        config.weights));
      const plan::ModelSpec spec = synthetic_spec(config);
      storage::synthesize_weights(spec, plan::default_reduction_shards(spec), synth_seed, path,
                                  log);
    }
    const storage::WeightsFile proved = storage::WeightsFile::open(path);
    if (is_synthetic(config)) refuse_other_model(proved, config);
    if (config.verify == plan::VerifyMode::full) proved.verify_all({});
  });
  std::optional<storage::WeightsFile> weights;
  engine::agree(world, engine::attempt([&] { weights = storage::WeightsFile::open(path); }));
  const std::vector<std::string> all = world.all_gather(weights->identity());
  for (int rank = 1; rank < world.size(); ++rank)
    if (all[rank] != all[0])
      throw base::UsageError(
          ExitCode::weights,
          fmt::format("{}: rank 0 sees the weights {}, rank {} sees {} (the path names different "
                      "files on different nodes). Put one file where all ranks see it.",
                      path, all[0], rank, all[rank]));
  return std::move(*weights);
}

storage::InputSet open_inputs(const plan::RunConfig& config, const plan::ModelSpec& spec,
                              const mpi::Communicator& world) {
  std::string bytes;
  on_root(world, [&] {
    const bool is_scored = plan::only_scores(plan::resolve_outputs(config, spec));
    const auto found = storage::InputSet::open(
                           config.inputs, spec.vocab_size, spec.max_position, config.tokenizer,
                           is_scored ? storage::LastToken::only_scored : storage::LastToken::fed)
                           .to_bytes();
    bytes.assign(reinterpret_cast<const char*>(found.data()), found.size());
  });
  bytes = world.broadcast(bytes, 0);
  return storage::InputSet::from_bytes(std::as_bytes(std::span(bytes)));
}

void check_synthetic(const plan::RunConfig& config, const mpi::Communicator& world,
                     std::int64_t memory_limit) {
  if (!is_synthetic(config)) return;
  const plan::ModelSpec spec = synthetic_spec(config);
  const storage::InputSet inputs = open_inputs(config, spec, world);
  plan::make_plan(config, spec, plan::default_reduction_shards(spec), inputs.lengths_ok(),
                  {.number = world.size(),
                   .memory_limit_bytes = memory_limit,
                   .packed_bytes = {},
                   .label_bytes = inputs.label_bytes()});
}

}  // namespace tetrarch::app
