// `tetrarch run`: all steps of a job, from the options to results.h5.
// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <optional>
#include <set>
#include <span>

#include <fmt/ranges.h>

#include "base/build_info.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "engine/agree.hpp"
#include "engine/backends.hpp"
#include "engine/engine.hpp"
#include "engine/loader.hpp"
#include "engine/memory_limit.hpp"
#include "engine/prepare.hpp"
#include "engine/report.hpp"
#include "mpi/session.hpp"
#include "run_end.hpp"
#include "run_files.hpp"
#include "storage/files/disk_space.hpp"
#include "storage/files/durable.hpp"
#include "storage/inputs/spool.hpp"
#include "storage/run/merge.hpp"
#include "storage/run/run_folder.hpp"
#include "subcommands.hpp"
#include "watch/watchdog.hpp"

namespace tetrarch::app {
namespace {

using base::ExitCode;
using engine::on_root;

std::string joined(int argc, char** argv) {
  return fmt::format("{}", fmt::join(argv, argv + argc, " "));
}

/// A text that two ranks share only if they run the same program file.
std::string build_identity() {
  const base::BuildInfo& build = base::build_info();
  return fmt::format("tetrarch {} ({}, {}, {}, program file xxh3 {})", build.version, build.git_sha,
                     build.build_type, build.compiler, storage::file_xxh3("/proc/self/exe"));
}

/// The name of the kernels that all ranks compute with. With --allow-mixed they may differ; then
/// each name once. Otherwise throws Refusal(communication) when they differ.
std::string kernels_of(const mpi::Communicator& world, const backend::Backend& backend,
                       bool allow_mixed) {
  const std::vector<std::string> all = world.all_gather(backend.identity());
  const std::set<std::string> names(all.begin(), all.end());
  for (int rank = 1; rank < world.size(); ++rank)
    if (all[rank] != all[0] && !allow_mixed)
      throw base::Refusal(
          ExitCode::communication,
          fmt::format("rank 0 computes with \"{}\", rank {} with \"{}\" (the bits of their results "
                      "differ). Use nodes of one kind, or --allow-mixed.",
                      all[0], rank, all[rank]));
  return fmt::format("{}", fmt::join(names, " + "));
}

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

/// The run folder. Only rank 0 holds it open, with its lock; the other ranks know its state.
struct HeldFolder {
  std::optional<storage::RunFolder> held;  // on rank 0 only; so is `committed`
  storage::Committed committed;
  std::string run_uuid;
  int attempt = 0;
  bool is_complete = false;
};

/// Opens or resumes the run folder on rank 0, and tells its state to all ranks. Only rank 0 calls
/// `settings`. Collective over `world`.
HeldFolder hold_folder(const plan::RunConfig& config, const mpi::Communicator& world,
                       const std::function<storage::RunSettings()>& settings, base::Log& log) {
  HeldFolder folder;
  on_root(world, [&] {
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

/// Bytes of disk space that the run still needs: the parts of the sequences in `left`, the
/// unpacked copy of compressed inputs, and the results.
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

/// The sequences that are not committed yet, the same list on every rank.
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

/// Makes the plan on every rank. Every rank returns the same plan or throws the same Refusal.
plan::Plan agreed_plan(const mpi::Communicator& world, const std::function<plan::Plan()>& make) {
  std::optional<plan::Plan> plan;
  engine::agree(world, engine::attempt([&] { plan = make(); }));
  const std::vector<std::string> grids = world.all_gather(plan::to_string(plan->grid));
  for (int rank = 1; rank < world.size(); ++rank)
    if (grids[rank] != grids[0])
      throw base::Refusal(
          ExitCode::usage,
          fmt::format("rank 0 chooses the grid {}, rank {} chooses {} (kernels of different CPUs "
                      "need different memory). Give --ep, --tp, --pp and --dp.",
                      grids[0], rank, grids[rank]));
  return std::move(*plan);
}

storage::TimingSummary timing_of(const plan::RunConfig& config, const plan::Plan& plan,
                                 const storage::InputSet& inputs, const engine::LoopReport& loop,
                                 int attempt, int num_ranks) {
  storage::TimingSummary timing;
  timing.attempt = attempt;
  timing.ttft_seconds = loop.ttft_seconds;
  timing.wall_seconds = loop.wall_seconds;
  timing.startup_seconds = loop.startup_seconds;
  timing.num_ranks = num_ranks;
  if (config.peak_tflops > 0) timing.peak_tflops = config.peak_tflops;
  timing.model_flops = 0;
  for (std::int64_t i = 0; i < inputs.count(); ++i)
    if (inputs.status(i) == storage::SequenceStatus::ok)
      timing.model_flops += plan::sequence_flops(plan.model, plan.outputs, plan.depth,
                                                 inputs.length(i), inputs.fed_length(i));
  return timing;
}

}  // namespace

int run(const plan::RunConfig& config, const Settings& options, int argc, char** argv) {
  keep_stop_signals();
  base::Timeline timeline;
  timeline.keep_cpu(config.timing == plan::TimingDetail::layers);
  FirstLook first_look(config);
  // Declared before the session, so that it also watches MPI's start and end, which may hang.
  std::optional<watch::Watchdog> watchdog;
  if (config.watchdog_s > 0) watchdog.emplace(config.watchdog_s);
  mpi::Session session(&argc, &argv);
  const mpi::Communicator& world = session.world();
  base::Log log(world.rank() == 0 ? base::Log::Sink::terminal : base::Log::Sink::none);
  mpi::check_start(world, mpi::find_launcher(), build_identity());
  const mpi::Communicator node = world.split_by_node();
  const engine::Machine machine = engine::describe_machine(world, node);
  if (watchdog) watchdog->meet(watch::watchdog_team(config.out, world, machine.hosts));
  first_look.end(world);

  // Read the description of the model and the labels of the inputs (ids, offsets, lengths).
  const std::int64_t limit = engine::memory_limit_bytes(world, node);
  check_synthetic(config, world, node, limit);
  const storage::WeightsFile weights = open_weights(config, world, log);
  const plan::ModelSpec& spec = weights.spec();
  storage::InputSet inputs = open_inputs(config, spec, world, node, limit);
  SequenceList all(inputs, {}, node);
  const auto backend = engine::make_backend(config.backend, world, machine.threads_per_rank);
  backend->prepare(spec.dtype, engine::whole_weights(spec, weights.reduction_shards()));
  const std::string kernels = kernels_of(world, *backend, config.allow_mixed);
  // Plan for all inputs, so that what cannot work is refused before the run folder is created.
  const auto layout = storage::results_layout(plan::resolve_outputs(config, spec), spec);
  plan::FileBytes files = label_bytes(inputs, all, world, node);
  // the smallest number of threads of all ranks, so that every rank plans with the same bytes
  files.loading = engine::loading_bytes(weights, world.min(std::int64_t{machine.threads_per_rank}));
  files.writer = storage::part_writer_bytes(layout);
  files.results = storage::merge_bytes(inputs.count(), layout);
  const plan::Ranks ranks{world.size(), limit, engine::packed_bytes_of(*backend, spec.dtype),
                          files};
  plan::Plan whole = agreed_plan(world, [&] {
    return plan::make_plan(config, spec, weights.reduction_shards(), all.lengths(), ranks);
  });
  whole.microbatches = {};  // freed: the plan below has its own list, of what is left to do

  storage::ResultsHeader header{
      .command_line = joined(argc, argv),
      .config_json = weights.config_json(),
      .options_json = options.json().dump(-1, ' ', false, base::Json::error_handler_t::replace),
      .weights_xxh3 = weights.identity(),
      .inputs_xxh3 = inputs.identity(),
      .grid = whole.grid,
      .backend = backend->name(),
      .dtype = std::string(base::name_of(spec.dtype)),
      .reproducible = kernels == backend->identity()};
  HeldFolder folder;
  if (!config.dry_run)
    folder = hold_folder(
        config, world,
        [&] {
          auto settings = settings_of(config, whole, weights, inputs, layout, kernels);
          settings.facts.update(storage::merge_facts(inputs, layout, header, spec));
          return settings;
        },
        log);
  engine::say_program(log, machine, header.command_line, *backend);
  for (const std::string& line : options.lines())
    log.say("option   {}", line);
  if (folder.is_complete) {
    log.say("complete {} exists already; nothing is left to do.", config.out + "/results.h5");
    return static_cast<int>(ExitCode::done);
  }

  // Plan what is left to do, on the grid that was chosen for all inputs: less work needs less
  // memory, and could lead to another grid.
  plan::RunConfig settled = config;
  settled.grid = {whole.grid.dp, whole.grid.pp, whole.grid.ep, whole.grid.tp};
  const SequenceList left = left_to_do(inputs, folder, world, node);
  if (config.capacity_factor == 0) all = {};
  plan::Plan plan = agreed_plan(world, [&] {
    return plan::make_plan(settled, spec, weights.reduction_shards(), left.lengths(), ranks,
                           all.lengths());
  });
  plan.grid_reason = whole.grid_reason;
  engine::say_plan(log, plan, weights, inputs, std::ssize(folder.committed.sequences), limit);
  if (folder.held)
    storage::note_scarce_space(config.out, space_needed(layout, inputs, left.lengths()), log);
  RunEnd end{.out = config.out, .num_before = std::ssize(folder.committed.sequences)};
  for (const plan::Microbatch& microbatch : plan.microbatches)
    end.num_to_do += std::ssize(microbatch.sequences);
  folder.committed = {};
  for (const std::string& note : backend->notes())
    log.note(note);
  if (config.dry_run) {
    log.say("dry run  all checks passed; nothing was loaded or written.");
    return static_cast<int>(ExitCode::done);
  }

  if (const int signal = engine::agreed_stop_signal(world); signal != 0)
    return say_stopped(end, world, signal, log);

  // Prepare: unpack compressed inputs, make communicators, load weights, open the part to write.
  std::optional<storage::Spool> spool;  // on rank 0 only
  if (!plan.microbatches.empty() && !inputs.packed().empty())
    on_root(world, [&] { spool.emplace(inputs, config.out, log); });
  inputs.read_packed_from(storage::spool_folder(config.out));
  const engine::Topology topology = engine::make_topology(plan.grid, world, *backend);
  const double load_started = timeline.now();
  engine::LoadReport load;
  const model::ModelShard shard = engine::load_shard(
      weights, config.verify,
      plan::local_sizes(spec, weights.reduction_shards(), plan.grid, topology.place), plan.depth,
      topology, world, *backend, timeline, load);
  engine::say_loaded(log, world, load, timeline.now() - load_started);
  std::optional<storage::PartWriter> writer;
  if (topology.is_writer())
    writer.emplace(storage::PartOptions{.run_dir = config.out,
                                        .run_uuid = folder.run_uuid,
                                        .attempt = folder.attempt,
                                        .dp = topology.place.dp,
                                        .ep = topology.place.ep,
                                        .commit_interval_s = config.commit_interval_s},
                   layout);

  const engine::Job job{config,         plan,
                        inputs,         world,
                        topology,       *backend,
                        shard,          writer ? &*writer : nullptr,
                        folder.attempt, [&] { return folder.held->stop_requested(); },
                        timeline,       log};
  const engine::LoopReport loop = engine::run_microbatches(job);

  end.num_done = loop.num_sequences;
  timeline.enter(base::Phase::commit);
  if (world.rank() > 0) timeline.begin(base::Activity::waiting);
  if (!loop.is_stopped)
    on_root(world, [&] {
      inputs.check_unchanged();
      const auto timing = timing_of(config, plan, inputs, loop, folder.attempt, world.size());
      end.num_failed = storage::merge(*folder.held, inputs, layout, header, timing, loop.rows,
                                      storage::Missing::refused, log)
                           .num_failed;
      if (!config.keep_parts) folder.held->remove_parts();
    });
  spool.reset();
  timeline.begin(base::Activity::work);
  timeline.enter(base::Phase::other);
  engine::say_end(job, machine, load, loop);
  return loop.is_stopped ? say_stopped(end, world, loop.stop_signal, log)
                         : say_done(end, world, log);
}

}  // namespace tetrarch::app
