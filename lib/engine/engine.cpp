// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.hpp"

#include <algorithm>
#include <numeric>
#include <span>

#include "engine/agree.hpp"
#include "engine/collector.hpp"
#include "engine/progress.hpp"

namespace tetrarch::engine {

using base::Phase;

namespace {

/// The parts of all EP ranks, and how evenly their attention cost is spread.
struct Assignment {
  std::vector<std::vector<plan::SequenceLength>> parts;
  double imbalance = 1;
};

Assignment assign(const Job& job, const plan::Microbatch& microbatch) {
  const double linear = plan::linear_cost(job.plan.model);
  const double quadratic = plan::quadratic_cost(job.plan.model);
  const int ep = job.topology.grid.ep;
  Assignment assignment{plan::assign_to_ep(microbatch, ep, linear, quadratic), 1};
  double total = 0, largest = 0;
  for (const auto& part : assignment.parts) {
    double cost = 0;
    for (const plan::SequenceLength& sequence : part) {
      const auto length = static_cast<double>(sequence.length);
      cost += length * linear + length * (length + 1) / 2 * quadratic;
    }
    total += cost;
    largest = std::max(largest, cost);
  }
  if (total > 0) assignment.imbalance = largest * ep / total;
  return assignment;
}

/// What goes wrong here is known to this rank alone, so that it must end the others as well.
void read_alone(const storage::InputSet& inputs, std::int64_t sequence, std::uint32_t* to) {
  const std::optional<Problem> problem = attempt([&] { inputs.read_tokens(sequence, to); });
  if (problem) throw base::SystemError(problem->code, problem->message);
}

/// One tp rank reads the tokens, all have them.
model::MicroBatch read_part(const Job& job, std::int32_t index,
                            std::span<const plan::SequenceLength> sequences) {
  job.timeline.enter(Phase::input);
  model::MicroBatch batch;
  batch.index = index;
  std::int64_t num_tokens = 0;
  for (const plan::SequenceLength& sequence : sequences) {
    batch.rows.push_back({sequence.sequence, 0, sequence.length});
    num_tokens += sequence.length;
  }
  batch.token.resize(num_tokens);
  if (job.topology.place.tp == 0) {
    std::vector<std::uint32_t> tokens;
    auto to = batch.token.begin();
    for (const plan::SequenceLength& sequence : sequences) {
      tokens.resize(sequence.length);
      read_alone(job.inputs, sequence.sequence, tokens.data());
      to = std::copy(tokens.begin(), tokens.end(), to);
    }
  }
  job.topology.cart.tp().broadcast(std::as_writable_bytes(std::span(batch.token)), 0);
  job.timeline.add_bytes(batch.token.size() * sizeof(std::int32_t));
  return batch;
}

std::vector<storage::TimingRow> timing_rows(const Job& job,
                                            const std::vector<base::PhaseRecord>& records) {
  std::vector<storage::TimingRow> rows;
  for (const base::PhaseRecord& record : records) {
    storage::TimingRow row;
    row.attempt = job.attempt;
    row.rank = job.world.rank();
    row.dp = job.topology.place.dp;
    row.pp = job.topology.place.pp;
    row.ep = job.topology.place.ep;
    row.tp = job.topology.place.tp;
    row.microbatch = record.microbatch;
    row.layer = record.layer;
    row.set_phase(base::name_of(record.phase));
    row.start_s = record.start_s;
    row.seconds = record.seconds;
    row.bytes = record.bytes;
    row.flops = record.flops;
    rows.push_back(row);
  }
  return rows;
}

bool must_stop(const Job& job, double elapsed) {
  std::int64_t stop = 0;
  if (job.world.rank() == 0)
    stop =
        job.stop_requested() || (job.config.stop_after_s > 0 && elapsed >= job.config.stop_after_s);
  return job.world.max(stop) != 0;
}

/// Records that no part has go to rank 0, which writes them with the results.
void gather_rest(const Job& job, const std::vector<base::PhaseRecord>& records,
                 LoopReport& report) {
  const std::vector<storage::TimingRow> mine = timing_rows(job, records);
  const std::vector<std::byte> all = job.world.gather_v(std::as_bytes(std::span(mine)), 0);
  report.rows = timing_rows_from(all);
}

}  // namespace

LoopReport run_microbatches(const Job& job) {
  const plan::ModelSpec& spec = job.plan.model;
  base::Timeline& timeline = job.timeline;
  timeline.keep_layers(job.config.timing == plan::TimingDetail::layers);
  const model::Context context{
      spec,
      job.plan.reduction_shards,
      plan::local_sizes(spec, job.plan.reduction_shards, job.topology.grid, job.topology.place),
      job.backend.compute(),
      *job.topology.tp,
      *job.topology.ep,
      *job.topology.stage,
      timeline};
  const plan::MemoryPlan memory = plan::plan_memory(
      spec, job.plan.reduction_shards, job.topology.grid, job.topology.place, job.plan.extents);
  model::Workspace workspace(memory, job.backend);
  const model::Transformer transformer(context, job.shard, job.plan.extents.max_sequence_length,
                                       job.backend);
  Collector collector(spec, job.plan.outputs, job.topology, job.backend.compute(), timeline,
                      job.writer);
  const model::HeadRequest request{job.plan.outputs.logprobs, job.plan.outputs.last_logits};
  const bool keeps_microbatches = job.config.timing != plan::TimingDetail::summary;

  LoopReport report;
  const auto total_tokens = std::accumulate(
      job.plan.microbatches.begin(), job.plan.microbatches.end(), std::int64_t{0},
      [](std::int64_t sum, const plan::Microbatch& m) { return sum + m.num_tokens; });
  std::int64_t total_sequences = 0;
  for (const plan::Microbatch& microbatch : job.plan.microbatches)
    total_sequences += static_cast<std::int64_t>(microbatch.sequences.size());
  job.world.barrier();
  std::vector<base::PhaseRecord> before = timeline.cut(-1);  // loading; goes with the first part
  report.startup_seconds = timeline.now();
  Progress progress(job.log, job.config.progress_interval_s, total_sequences, total_tokens);

  for (std::size_t index = 0; index < job.plan.microbatches.size(); ++index) {
    const plan::Microbatch& microbatch = job.plan.microbatches[index];
    const Assignment assignment = assign(job, microbatch);
    report.part_imbalance = std::max(report.part_imbalance, assignment.imbalance);
    const model::MicroBatch batch =
        read_part(job, static_cast<std::int32_t>(index), assignment.parts[job.topology.place.ep]);
    const double started = timeline.now();
    timeline.enter(Phase::other);
    workspace.begin(batch, spec.hidden_size, spec.dtype, context.tp.size(), context.tp.rank());
    collector.begin(batch, job.inputs);
    transformer.embed(workspace, collector);
    report.extra_rounds += transformer.run_layers({0, spec.num_layers}, workspace, collector);
    collector.scores(transformer.finish(request, workspace, collector));
    if (index == 0) report.ttft_seconds = job.world.max(timeline.now() - started);

    timeline.enter(Phase::output);
    std::vector<base::PhaseRecord> records = std::exchange(before, {});
    if (keeps_microbatches) {
      const std::vector<base::PhaseRecord> own = timeline.cut(static_cast<std::int32_t>(index));
      records.insert(records.end(), own.begin(), own.end());
    }
    collector.end(timing_rows(job, records));
    timeline.enter(Phase::commit);
    if (job.writer && job.writer->is_due()) job.writer->commit();

    timeline.enter(Phase::other);
    report.num_sequences += static_cast<std::int64_t>(microbatch.sequences.size());
    report.num_tokens += microbatch.num_tokens;
    progress.update(report.num_sequences, report.num_tokens);
    const bool is_last = index + 1 == job.plan.microbatches.size();
    if (!is_last && must_stop(job, timeline.now())) {
      report.is_stopped = true;
      break;
    }
  }

  timeline.enter(Phase::commit);
  if (job.writer) job.writer->close();
  timeline.enter(Phase::other);
  job.world.barrier();
  report.wall_seconds = job.world.max(timeline.now() - report.startup_seconds);
  gather_rest(job, timeline.cut(-1), report);
  return report;
}

}  // namespace tetrarch::engine
