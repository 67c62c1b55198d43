// SPDX-License-Identifier: Apache-2.0
#include "engine/report.hpp"

#include <algorithm>
#include <map>
#include <span>

#include <fmt/ranges.h>

#include "base/build_info.hpp"
#include "base/host_name.hpp"
#include "base/text.hpp"
#include "engine/backends.hpp"
#include "engine/end_table.hpp"
#include "engine/memory_limit.hpp"
#include "mpi/session.hpp"
#include "storage/inputs/error_reasons.hpp"

namespace tetrarch::engine {

using base::bytes_text;
using base::count_text;
using base::counted;

namespace {

/// One line for each host, for example "n001 ranks 0-7", in rank order.
std::vector<std::string> host_lines(const std::vector<std::string>& hosts) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < hosts.size();) {
    std::size_t end = begin;
    while (end < hosts.size() && hosts[end] == hosts[begin])
      ++end;
    lines.push_back(end - begin == 1 ? fmt::format("{} rank {}", hosts[begin], begin)
                                     : fmt::format("{} ranks {}-{}", hosts[begin], begin, end - 1));
    begin = end;
  }
  return lines;
}

/// Prints how many copies of tokens were dropped because their expert was full.
void say_dropped(const Job& job, const LoopReport& loop) {
  std::int64_t sum = 0, num_layers = 0;
  for (std::size_t layer = 0; layer < loop.dropped.size(); ++layer) {
    sum += loop.dropped[layer];
    num_layers += job.plan.model.is_moe[layer] &&
                  static_cast<std::int64_t>(layer) < job.plan.depth.num_layers;
  }
  const std::int64_t of_layer = loop.num_tokens * job.plan.model.top_k;
  if (num_layers == 0 || of_layer == 0) return;
  const auto worst = std::max_element(loop.dropped.begin(), loop.dropped.end());
  const auto percent = [](std::int64_t part, std::int64_t whole) {
    return 100 * static_cast<double>(part) / static_cast<double>(whole);
  };
  job.log.say(
      "dropped  {} of {} copies of tokens ({:.2f} %), because their expert was full "
      "(--capacity-factor); layer {} dropped the most, {:.2f} % of its copies",
      count_text(sum), count_text(of_layer * num_layers), percent(sum, of_layer * num_layers),
      worst - loop.dropped.begin(), percent(*worst, of_layer));
}

/// Prints where sequences of this attempt failed, one line for each place.
void say_failed(const Job& job, const LoopReport& loop) {
  constexpr std::ptrdiff_t most_lines = 32;
  const std::ptrdiff_t shown = std::min(most_lines, std::ssize(loop.failed));
  for (const NotFinitePlace& place : std::span(loop.failed).first(static_cast<std::size_t>(shown)))
    job.log.say("failed   {}", log_text(place, job.plan.model));
  if (shown < std::ssize(loop.failed))
    job.log.say("failed   more sequences at {} other places: see /sequences/error.",
                std::ssize(loop.failed) - shown);
}

/// Prints notes on the machine, on imbalance and on waiting.
void say_notes(const Job& job, const Machine& machine, const LoopReport& loop,
               const EndTable& table) {
  base::Log& log = job.log;
  const std::vector<EndRow>& rows = table.rows;
  const double wall = table.wall;
  const int wanted = machine.threads_per_rank * machine.ranks_on_node;
  if (wanted > machine.cores)
    log.note(
        fmt::format("{} ranks x {} threads share {} cores of this node: the cores are "
                    "oversubscribed, so all times are longer. Start fewer ranks{}.",
                    machine.ranks_on_node, machine.threads_per_rank, machine.cores,
                    machine.threads_per_rank > 1 ? ", or set OMP_NUM_THREADS lower" : ""));
  if (loop.share_imbalance > 1.05 && job.topology.grid.ep > 1)
    log.note(fmt::format(
        "in one microbatch the busiest EP rank had {:.2f} times the mean attention work "
        "(all tokens of a sequence are on one EP rank). A larger "
        "--tokens-per-microbatch balances the work better.",
        loop.share_imbalance));
  if (loop.extra_rounds > 0)
    log.note(fmt::format(
        "routing was uneven: {} extra exchange rounds in {} layers and {} microbatches (an EP rank "
        "receives at most twice the mean number of rows in one round).",
        count_text(loop.extra_rounds), job.plan.model.num_layers, job.plan.microbatches.size()));
  for (const EndRow& row : rows)
    if (row.phase == base::Phase::pp_wait && row.average > 0.05 * wall)
      log.note(fmt::format(
          "pipeline: on average a rank waited {:.1f} s ({:.0f} % of the wall time) for a "
          "neighbouring stage. More microbatches (a smaller --tokens-per-microbatch) reduce the "
          "waiting.",
          row.average, 100 * row.average / wall));
  for (const EndRow& row : rows)
    if ((row.phase == base::Phase::experts || row.phase == base::Phase::attention) &&
        row.max - row.average > 0.05 * wall)
      log.note(fmt::format(
          "{}: the slowest rank took {:.1f} s more than the average, {:.0f} % of "
          "the wall time. {}",
          base::name_of(row.phase), row.max - row.average, 100 * (row.max - row.average) / wall,
          row.phase == base::Phase::experts
              ? "Some experts get more tokens than others. A smaller --ep balances the work better."
              : "Sequences differ in length. A larger --tokens-per-microbatch balances the work "
                "better."));
}

}  // namespace

Machine describe_machine(const mpi::Communicator& world, const mpi::Communicator& node) {
  Machine machine;
  machine.launcher = mpi::find_launcher();
  machine.hosts = world.all_gather(base::host_name());
  machine.threads_per_rank = mpi::threads_per_rank(node);
  machine.cores = mpi::cores_in_mask();
  machine.ranks_on_node = node.size();
  return machine;
}

void say_program(base::Log& log, const Machine& machine, const std::string& command_line,
                 const backend::Backend& backend) {
  const base::BuildInfo& build = base::build_info();
  log.say("tetrarch {} ({}, {}, {})", build.version, build.git_sha, build.build_type,
          build.compiler);
  log.say("command  {}", command_line);
  if (!machine.launcher.job_id.empty())
    log.say("job      {} restart {}", machine.launcher.job_id, machine.launcher.restart_count);
  log.say("libs     {} | HDF5 {} | {}", mpi::Session::library_version(),
          storage::h5::library_version(), describe_backends());
  log.say("ranks    {} started {}, {} each; {} in the CPU mask of rank 0", machine.hosts.size(),
          machine.launcher.name == "none" ? "without a launcher" : "by " + machine.launcher.name,
          counted(machine.threads_per_rank, "thread"), counted(machine.cores, "core"));
  for (const std::string& line : host_lines(machine.hosts))
    log.say("host     {}", line);
  log.say("backend  {}", backend.description());
}

namespace {

std::string rows_text(plan::RowsWanted rows) {
  switch (rows) {
    case plan::RowsWanted::none:
      return "its keys, values and router only";
    case plan::RowsWanted::last:
      return "the last row of each sequence";
    case plan::RowsWanted::predicting:
      return "the rows that predict a token";
    case plan::RowsWanted::all:
      break;
  }
  return "every row";
}

/// Prints how much of the model is computed, the layers of each stage, and the chunks.
void say_passage(base::Log& log, const plan::Plan& plan) {
  const plan::Depth& depth = plan.depth;
  if (depth.num_layers == 0)
    log.say("depth    none of {} layers is computed", plan.model.num_layers);
  else if (depth.num_layers < plan.model.num_layers || depth.rows != plan::RowsWanted::all)
    log.say("depth    {} of {} layers are computed, the last of them for {}", depth.num_layers,
            plan.model.num_layers, rows_text(depth.rows));
  if (plan.grid.pp > 1) {
    std::vector<std::string> stages;
    for (int pp = 0; pp < plan.grid.pp; ++pp) {
      const plan::Range layers = plan::stage_layers(depth.num_layers, plan.grid.pp, pp);
      stages.push_back(layers.size() == 0   ? "none"
                       : layers.size() == 1 ? fmt::format("{}", layers.begin)
                                            : fmt::format("{}-{}", layers.begin, layers.end - 1));
    }
    log.say("stages   layers {}", fmt::join(stages, " | "));
  }
  if (plan.extents.num_chunked > 0)
    log.say(
        "chunks   {} longer than {} tokens, computed in chunks of that many tokens; the KV cache "
        "of an EP rank holds {} tokens",
        counted(plan.extents.num_chunked, "sequence"), count_text(plan.chunk_tokens),
        count_text(plan.extents.max_cache_tokens));
}

}  // namespace

void say_plan(base::Log& log, const plan::Plan& plan, const storage::WeightsFile& weights,
              const storage::InputSet& inputs, std::int64_t num_done,
              std::int64_t memory_limit_bytes) {
  const plan::ModelSpec& spec = plan.model;
  log.say("layout   {}", plan.grid_reason);
  log.say(
      "model    {}: {} layers, hidden size {}, {} heads and {} KV heads of size {}, {} experts of "
      "FFN size {} (top {}), vocabulary {}, {:.3f} B parameters, {}",
      spec.family, spec.num_layers, spec.hidden_size, spec.num_heads, spec.num_kv_heads,
      spec.head_size, spec.num_experts, spec.expert_ffn, spec.top_k, spec.vocab_size,
      static_cast<double>(spec.num_parameters()) / 1e9, base::name_of(spec.dtype));
  log.say("weights  {}  {}, {} reduction shards, xxh3 {}", weights.path(),
          bytes_text(weights.total_bytes()), plan.reduction_shards, weights.identity());
  std::int64_t to_do = 0, tokens = 0;
  for (const plan::Microbatch& microbatch : plan.microbatches) {
    to_do += static_cast<std::int64_t>(microbatch.sequences.size());
    tokens += microbatch.num_tokens;
  }
  log.say("inputs   {}, {} in {}; {} done already, {} to do with {}",
          counted(inputs.count(), "sequence"), counted(inputs.total_tokens(), "token"),
          counted(std::ssize(inputs.files()), "file"), count_text(num_done), count_text(to_do),
          counted(tokens, "token"));
  if (!inputs.packed().empty())
    log.say("inputs   {} compressed file{} {} unpacked (in the run folder, until the run ends)",
            inputs.packed().size(), inputs.packed().size() == 1 ? " takes" : "s take",
            bytes_text(inputs.unpacked_bytes()));
  for (const std::string& note : inputs.notes())
    log.note(note);
  if (const std::string errors = storage::error_summary(inputs); !errors.empty()) log.note(errors);
  log.say(
      "plan     {} microbatches; at most {} tokens pass the layers together, at most {} of them on "
      "one EP rank",
      count_text(static_cast<std::int64_t>(plan.microbatches.size())),
      count_text(plan.extents.max_microbatch_tokens), count_text(plan.extents.max_pass_tokens));
  say_passage(log, plan);
  log.say("memory   {} per rank: {}; {}", bytes_text(plan.memory.needed_bytes()),
          plan::to_string(plan.memory),
          memory_limit_bytes == 0 ? "the system reports no limit"
                                  : bytes_text(memory_limit_bytes) + " available to each rank");
}

void say_loaded(base::Log& log, const mpi::Communicator& world, const LoadReport& load,
                double seconds) {
  const std::int64_t read = world.sum(load.bytes_read);
  const std::int64_t packed = read + world.sum(load.bytes_received);
  const auto step = [&](double of_rank, std::int64_t bytes) {
    const double slowest_rank = world.max(of_rank);
    return fmt::format("{} ({:.2f} GB/s)", base::duration_text(slowest_rank),
                       static_cast<double>(bytes) / std::max(slowest_rank, 1e-9) / 1e9);
  };
  const double slowest = world.max(seconds);
  const std::string reading = step(load.read_seconds, read);
  const std::string verifying = step(load.verify_seconds, read);
  const std::string packing = step(load.pack_seconds, packed);
  const double exchanging = world.max(load.exchange_seconds);
  log.say(
      "loaded   {} bytes read by all ranks in {}: reading {}, verifying {}, packing {}, exchange "
      "{}",
      count_text(read), base::duration_text(slowest), reading, verifying, packing,
      base::duration_text(exchanging));
}

namespace {

/// The smallest and the largest value of all ranks, as text.
std::string spread_text(const mpi::Communicator& world, std::int64_t bytes) {
  const std::int64_t least = world.min(bytes), most = world.max(bytes);
  return least == most ? bytes_text(most)
                       : fmt::format("{} to {}", bytes_text(least), bytes_text(most));
}

/// Prints the memory of ranks: planned in total and for tensors, allocated for tensors, and largest
/// resident memory.
void say_memory(const Job& job, const LoadReport& load, const LoopReport& loop) {
  const mpi::Communicator& world = job.world;
  const std::string planned = spread_text(world, loop.planned_bytes);
  const std::string tensors = spread_text(world, loop.planned_tensor_bytes);
  const std::string allocated = spread_text(world, loop.allocated_bytes);
  const std::int64_t unlike =
      world.sum(std::int64_t{loop.planned_tensor_bytes != loop.allocated_bytes});
  const std::string base = spread_text(world, load.resident_bytes);
  const std::string peak = spread_text(world, peak_resident_bytes());
  const auto objects = [&](int at) { return world.sum(loop.h5_objects[at]); };
  const std::int64_t before = objects(0), after = objects(1);
  job.log.say(
      "memory   per rank: planned {}; tensors: planned {}, allocated {} ({}); resident: {} before "
      "loading, {} at most; open HDF5 objects of all ranks: {} after the first commit, {} after "
      "the last",
      planned, tensors, allocated,
      unlike == 0 ? "the same on every rank"
                  : fmt::format("different from the plan on {} ranks", unlike),
      base, peak, before, after);
}

}  // namespace

void say_end(const Job& job, const Machine& machine, const LoadReport& load,
             const LoopReport& loop) {
  base::Log& log = job.log;
  const EndTable table = make_end_table(job.world, job.timeline.spending(), loop.before);
  const auto flops =
      static_cast<double>(job.world.sum(static_cast<std::int64_t>(job.timeline.total_flops())));
  const auto resident = job.world.max(peak_resident_bytes());
  say_end_table(log, table);
  if (job.world.size() > 1 && job.config.timing != plan::TimingDetail::layers)
    log.say(
        "           move s includes waiting for the last rank of an exchange; --timing layers "
        "shows the two separately, and CPU time");
  log.say("");
  const double rate = static_cast<double>(loop.num_tokens) / loop.wall_seconds;
  log.say(
      "{}, {} in {}: {:.1f} tokens/s, {:.2f} tokens/s per rank; first scores "
      "after {:.3f} s",
      counted(loop.num_sequences, "sequence"), counted(loop.num_tokens, "token"),
      base::duration_text(loop.wall_seconds), rate, rate / job.world.size(), loop.ttft_seconds);
  log.say(
      "{:.2f} GFLOP/s of useful work ({:.4g} GFLOP: matrix products, attention to visible keys, "
      "router, requested rows of the head); largest resident memory of a rank {}",
      flops / loop.wall_seconds / 1e9, flops / 1e9, bytes_text(resident));
  say_memory(job, load, loop);
  if (!loop.dropped.empty()) say_dropped(job, loop);
  say_failed(job, loop);
  say_notes(job, machine, loop, table);
}

}  // namespace tetrarch::engine
