// `tetrarch run`: all steps of a job, from the options to results.h5.
// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <memory>
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
#include "run_state.hpp"
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

/// A run on one rank: what it has opened and decided so far, and its steps in their order.
class Run {
 public:
  /// Opens the weights and the inputs: their descriptions and labels, not yet the values and
  /// tokens.
  Run(const plan::RunConfig& config, const Settings& options, std::string command_line,
      const mpi::Communicator& world, const mpi::Communicator& node, base::Timeline& timeline,
      base::Log& log)
      : config_(config),
        options_(options),
        command_line_(std::move(command_line)),
        world_(world),
        node_(node),
        timeline_(timeline),
        log_(log),
        limit_(engine::memory_limit_bytes(world, node)),
        weights_(open_weights(config, world, node, limit_, log)),
        spec_(weights_.spec()),
        inputs_(open_inputs(config, spec_, world, node, limit_)),
        all_(inputs_, {}, node) {}

  /// All that follows. Returns the exit code of this rank.
  int execute(const engine::Machine& machine);

 private:
  plan::Ranks ranks_to_plan_for(int threads_per_rank) const;
  plan::Plan plan_all() const;
  storage::ResultsHeader results_header(const plan::Plan& whole) const;
  void open_folder(const plan::Plan& whole);
  plan::Plan plan_left(const plan::Plan& whole, std::span<const plan::SequenceLength> left) const;
  RunEnd end_of(const plan::Plan& plan) const;
  std::unique_ptr<storage::Spool> unpack_inputs(const plan::Plan& plan);
  std::unique_ptr<storage::PartWriter> open_part(const engine::Topology& topology) const;
  std::int64_t write_results(const plan::Plan& plan, const engine::LoopReport& loop);
  int compute(const plan::Plan& plan, RunEnd end, const engine::Machine& machine);

  const plan::RunConfig& config_;
  const Settings& options_;
  const std::string command_line_;
  const mpi::Communicator& world_;
  const mpi::Communicator& node_;
  base::Timeline& timeline_;
  base::Log& log_;
  const std::int64_t limit_;  // bytes of memory that this rank may use; 0: no limit
  const storage::WeightsFile weights_;
  const plan::ModelSpec& spec_;
  storage::InputSet inputs_;
  SequenceList all_;  // all sequences that can be computed
  std::unique_ptr<backend::Backend> backend_;
  std::string kernels_;
  std::vector<storage::DatasetPlan> layout_;  // of results.h5
  plan::Ranks ranks_;
  storage::ResultsHeader header_;
  HeldFolder folder_;
};

plan::Ranks Run::ranks_to_plan_for(int threads_per_rank) const {
  plan::FileBytes files = label_bytes(inputs_, all_, world_, node_);
  // the smallest number of threads of all ranks, so that every rank plans with the same bytes
  files.loading = engine::loading_bytes(weights_, world_.min(std::int64_t{threads_per_rank}));
  files.writer = storage::part_writer_bytes(layout_);
  files.results = storage::merge_bytes(inputs_.count(), layout_);
  files.ranks_of_node = static_cast<int>(world_.min(std::int64_t{node_.size()}));
  return {world_.size(), limit_, engine::packed_bytes_of(*backend_, spec_.dtype), files};
}

/// The plan for all inputs, also in a resumed run, so that what cannot work is refused before the
/// run folder is created.
plan::Plan Run::plan_all() const {
  plan::Plan whole = agreed_plan(world_, [&] {
    return plan::make_plan(config_, spec_, weights_.reduction_shards(), all_.lengths(), ranks_);
  });
  whole.microbatches = {};  // frees memory: plan_left() makes a list of its own
  return whole;
}

storage::ResultsHeader Run::results_header(const plan::Plan& whole) const {
  return {
      .command_line = command_line_,
      .config_json = weights_.config_json(),
      .options_json = options_.json().dump(-1, ' ', false, base::Json::error_handler_t::replace),
      .weights_xxh3 = weights_.identity(),
      .inputs_xxh3 = inputs_.identity(),
      .grid = whole.grid,
      .backend = backend_->name(),
      .dtype = std::string(base::name_of(spec_.dtype)),
      .reproducible = kernels_ == backend_->identity()};
}

void Run::open_folder(const plan::Plan& whole) {
  if (config_.dry_run) return;
  const auto settings = [&] {
    auto all = settings_of(config_, whole, weights_, inputs_, layout_, kernels_);
    all.facts.update(storage::merge_facts(inputs_, layout_, header_, spec_));
    return all;
  };
  folder_ = hold_folder(config_, world_, settings, log_);
}

/// The plan for the sequences that are left, on the grid that was chosen for all inputs: less work
/// needs less memory, and could lead to another grid.
plan::Plan Run::plan_left(const plan::Plan& whole,
                          std::span<const plan::SequenceLength> left) const {
  plan::RunConfig settled = config_;
  settled.grid = {whole.grid.dp, whole.grid.pp, whole.grid.ep, whole.grid.tp};
  plan::Plan plan = agreed_plan(world_, [&] {
    return plan::make_plan(settled, spec_, weights_.reduction_shards(), left, ranks_,
                           all_.lengths());
  });
  plan.grid_reason = whole.grid_reason;
  return plan;
}

RunEnd Run::end_of(const plan::Plan& plan) const {
  RunEnd end{.out = config_.out, .num_before = std::ssize(folder_.committed.sequences)};
  for (const plan::Microbatch& microbatch : plan.microbatches)
    end.num_to_do += std::ssize(microbatch.sequences);
  return end;
}

/// Rank 0 unpacks compressed inputs if there is work to do. The copy is removed when the returned
/// object ends; it is null on the other ranks.
std::unique_ptr<storage::Spool> Run::unpack_inputs(const plan::Plan& plan) {
  std::unique_ptr<storage::Spool> spool;
  if (!plan.microbatches.empty() && !inputs_.packed().empty())
    on_root(world_, [&] { spool = std::make_unique<storage::Spool>(inputs_, config_.out, log_); });
  inputs_.read_packed_from(storage::spool_folder(config_.out));
  return spool;
}

/// The part that this rank writes; null if it writes none.
std::unique_ptr<storage::PartWriter> Run::open_part(const engine::Topology& topology) const {
  if (!topology.is_writer()) return nullptr;
  return std::make_unique<storage::PartWriter>(
      storage::PartOptions{.run_dir = config_.out,
                           .run_uuid = folder_.run_uuid,
                           .attempt = folder_.attempt,
                           .dp = topology.place.dp,
                           .ep = topology.place.ep,
                           .commit_interval_s = config_.commit_interval_s},
      layout_);
}

/// Merges the parts into results.h5, on rank 0. Returns the number of its error records.
std::int64_t Run::write_results(const plan::Plan& plan, const engine::LoopReport& loop) {
  std::int64_t num_failed = 0;
  on_root(world_, [&] {
    inputs_.check_unchanged();
    const auto timing = timing_of(config_, plan, inputs_, loop, folder_.attempt, world_.size());
    num_failed = storage::merge(*folder_.held, inputs_, layout_, header_, timing, loop.rows,
                                storage::Missing::refused, log_)
                     .num_failed;
    if (!config_.keep_parts) folder_.held->remove_parts();
  });
  return num_failed;
}

/// Loads the weights, computes all microbatches of the plan, and writes the results.
int Run::compute(const plan::Plan& plan, RunEnd end, const engine::Machine& machine) {
  std::unique_ptr<storage::Spool> spool = unpack_inputs(plan);
  const engine::Topology topology = engine::make_topology(plan.grid, world_, *backend_);
  const double load_started = timeline_.now();
  engine::LoadReport load;
  const model::ModelShard shard = engine::load_shard(
      weights_, config_.verify,
      plan::local_sizes(spec_, weights_.reduction_shards(), plan.grid, topology.place), plan.depth,
      topology, world_, *backend_, timeline_, load);
  engine::say_loaded(log_, world_, load, timeline_.now() - load_started);
  const std::unique_ptr<storage::PartWriter> writer = open_part(topology);

  const engine::Job job{config_,         plan,
                        inputs_,         world_,
                        topology,        *backend_,
                        shard,           writer.get(),
                        folder_.attempt, [&] { return folder_.held->stop_requested(); },
                        timeline_,       log_};
  const engine::LoopReport loop = engine::run_microbatches(job);
  end.num_done = loop.num_sequences;
  timeline_.enter(base::Phase::commit);
  if (world_.rank() > 0) timeline_.begin(base::Activity::waiting);
  if (!loop.is_stopped) end.num_failed = write_results(plan, loop);
  spool.reset();
  timeline_.begin(base::Activity::work);
  timeline_.enter(base::Phase::other);
  engine::say_end(job, machine, load, loop);
  return loop.is_stopped ? say_stopped(end, world_, loop.stop_signal, log_)
                         : say_done(end, world_, log_);
}

int Run::execute(const engine::Machine& machine) {
  backend_ = engine::make_backend(config_.backend, world_, machine.threads_per_rank);
  backend_->prepare(spec_.dtype, engine::whole_weights(spec_, weights_.reduction_shards()));
  kernels_ = kernels_of(world_, *backend_, config_.allow_mixed);
  layout_ = storage::results_layout(plan::resolve_outputs(config_, spec_), spec_);
  ranks_ = ranks_to_plan_for(machine.threads_per_rank);
  const plan::Plan whole = plan_all();
  header_ = results_header(whole);
  open_folder(whole);
  engine::say_program(log_, machine, command_line_, *backend_);
  for (const std::string& line : options_.lines())
    log_.say("option   {}", line);
  if (folder_.is_complete) {
    log_.say("complete {} exists already; nothing is left to do.", config_.out + "/results.h5");
    return static_cast<int>(ExitCode::done);
  }

  const SequenceList left = left_to_do(inputs_, folder_, world_, node_);
  if (config_.capacity_factor == 0) all_ = {};
  const plan::Plan plan = plan_left(whole, left.lengths());
  const RunEnd end = end_of(plan);
  engine::say_plan(log_, plan, weights_, inputs_, end.num_before, limit_);
  if (folder_.held)
    storage::note_scarce_space(config_.out, space_needed(layout_, inputs_, left.lengths()), log_);
  folder_.committed = {};
  for (const std::string& note : backend_->notes())
    log_.note(note);
  if (config_.dry_run) {
    log_.say("dry run  all checks passed; nothing was loaded or written.");
    return static_cast<int>(ExitCode::done);
  }
  if (const int signal = engine::agreed_stop_signal(world_); signal != 0)
    return say_stopped(end, world_, signal, log_);
  return compute(plan, end, machine);
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
  Run run(config, options, joined(argc, argv), world, node, timeline, log);
  return run.execute(machine);
}

}  // namespace tetrarch::app
