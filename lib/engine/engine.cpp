// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.hpp"

#include <algorithm>
#include <map>
#include <span>

#include "engine/agree.hpp"
#include "engine/collector.hpp"
#include "engine/progress.hpp"
#include "engine/queue.hpp"
#include "engine/testing.hpp"

namespace tetrarch::engine {

using base::Phase;

namespace {

constexpr int index_tag = 1;

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
void read_alone(const storage::InputSet& inputs, const plan::SequenceSpan& span,
                std::uint32_t* to) {
  const std::optional<Problem> problem =
      attempt([&] { inputs.read_tokens(span.sequence, span.first, span.count, to); });
  if (problem) throw base::SystemError(problem->code, problem->message);
}

/// Where this EP rank's share of each sequence in chunks stands in the KV cache; returns the rows
/// of all of them.
std::int64_t place_in_cache(std::span<const plan::SequenceLength> part, std::int64_t chunk_tokens,
                            std::map<std::int64_t, std::int64_t>& cache_row) {
  std::int64_t rows = 0;
  for (const plan::SequenceLength& sequence : part) {
    if (sequence.length <= chunk_tokens) continue;
    cache_row[sequence.sequence] = rows;
    rows += sequence.length;
  }
  return rows;
}

/// With a capacity factor: where each row of the stage stands in the whole microbatch.
void place_in_microbatch(const plan::Microbatch& microbatch, const Assignment& assignment, int tp,
                         model::MicroBatch& batch) {
  std::map<std::int64_t, std::int64_t> first;
  std::int64_t place = 0;
  for (const plan::SequenceLength& sequence : microbatch.sequences) {
    first[sequence.sequence] = place;
    place += sequence.length;
  }
  for (const std::vector<plan::SequenceLength>& part : assignment.parts) {
    std::int64_t rows = 0;
    for (const plan::SequenceLength& sequence : part) {
      for (std::int64_t i = 0; i < sequence.length; ++i)
        batch.stage_place.push_back(static_cast<std::int32_t>(first[sequence.sequence] + i));
      rows += sequence.length;
    }
    for (int rank = 0; rank < tp; ++rank)
      batch.stage_count.push_back(plan::even_range(rows, tp, rank).size());
  }
}

/// One tp rank reads the tokens of a pass and those that its runs predict, all have them.
void read_tokens(const Job& job, model::MicroBatch& batch) {
  job.timeline.enter(Phase::input);
  const std::int64_t rows = batch.num_tokens();
  std::vector<std::int32_t> tokens(rows + batch.rows.size(), -1);
  if (job.topology.place.tp == 0) {
    std::vector<std::uint32_t> of_run;
    auto to = tokens.begin();
    for (std::size_t run = 0; run < batch.rows.size(); ++run) {
      plan::SequenceSpan span = batch.rows[run].span();
      const bool has_next = !span.is_last();
      span.count += has_next ? 1 : 0;
      of_run.resize(span.count);
      read_alone(job.inputs, span, of_run.data());
      to = std::copy_n(of_run.begin(), batch.rows[run].count, to);
      if (has_next) tokens[rows + run] = static_cast<std::int32_t>(of_run.back());
    }
  }
  job.topology.cart.tp().broadcast(std::as_writable_bytes(std::span(tokens)), 0);
  job.timeline.add_bytes(tokens.size() * sizeof(std::int32_t));
  for (std::size_t run = 0; run < batch.rows.size(); ++run)
    batch.rows[run].next_token = tokens[rows + run];
  tokens.resize(rows);
  batch.token = std::move(tokens);
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

/// Records that no part has go to rank 0, which writes them with the results.
void gather_rest(const Job& job, const std::vector<base::PhaseRecord>& records,
                 LoopReport& report) {
  const std::vector<storage::TimingRow> mine = timing_rows(job, records);
  const std::vector<std::byte> all = job.world.gather_v(std::as_bytes(std::span(mine)), 0);
  report.rows = timing_rows_from(all);
}

/// A rank's part in one attempt: the steps of the loop, and what they work on.
class Loop {
 public:
  Loop(const Job& job, DrawBook& book, std::optional<MicrobatchQueue>& queue)
      : job_(job),
        plan_(job.plan),
        topology_(job.topology),
        timeline_(job.timeline),
        book_(book),
        queue_(queue),
        context_{
            plan_.model,
            plan_.reduction_shards,
            plan::local_sizes(plan_.model, plan_.reduction_shards, topology_.grid, topology_.place),
            job.backend.compute(),
            *topology_.tp,
            *topology_.ep,
            *topology_.stage,
            timeline_,
            job.config.capacity_factor},
        workspace_(
            plan::plan_memory(plan_.model, plan_.reduction_shards, topology_.grid, topology_.place,
                              plan::memory_request(job.config, plan_, topology_.grid)),
            job.backend),
        transformer_(
            context_, job.shard, plan_.depth,
            plan::stage_layers(plan_.depth.num_layers, topology_.grid.pp, topology_.place.pp),
            plan_.extents.max_sequence_length, job.backend),
        collector_(plan_, topology_, job.backend.compute(), timeline_, job.writer),
        request_{plan_.outputs.logprobs, plan_.outputs.last_logits,
                 plan_.outputs.topk ? plan_.outputs.top_k_logprobs : 0} {}

  void run(LoopReport& report);

 private:
  std::int64_t draw();
  model::MicroBatch make_pass(const plan::Microbatch& microbatch, const Assignment& assignment,
                              std::int64_t pass) const;
  bool needs_tokens() const {
    return topology_.is_first_stage() || (topology_.is_last_stage() && plan_.outputs.logprobs);
  }
  void run_pass(model::MicroBatch batch, std::int64_t cache_tokens, LoopReport& report);
  void run_microbatch(std::int32_t index, LoopReport& report);
  void commit();

  const Job& job_;
  const plan::Plan& plan_;
  const Topology& topology_;
  base::Timeline& timeline_;
  DrawBook& book_;
  std::optional<MicrobatchQueue>& queue_;
  model::Context context_;
  model::Workspace workspace_;
  model::Transformer transformer_;
  Collector collector_;
  model::HeadRequest request_;
  std::vector<base::PhaseRecord> before_;  // loading; goes with the first part
  double input_seconds_ = 0;               // of microbatch 0
  double first_finish_ = 0;
};

/// The leader draws, its stage hears of it, and each rank tells its peer in the next stage.
std::int64_t Loop::draw() {
  std::int64_t index = queue_ ? queue_->next() : -1;
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(&index, 1));
  timeline_.enter(topology_.is_first_stage() ? Phase::other : Phase::pp_wait);
  const int stage = topology_.place.pp;
  if (topology_.is_first_stage()) {
    topology_.cart.stage().broadcast(bytes, 0);
  } else {
    topology_.cart.pp().receive(bytes, stage - 1, index_tag);
  }
  if (!topology_.is_last_stage()) topology_.cart.pp().send(bytes, stage + 1, index_tag);
  return index;
}

model::MicroBatch Loop::make_pass(const plan::Microbatch& microbatch, const Assignment& assignment,
                                  std::int64_t pass) const {
  const auto& part = assignment.parts[topology_.place.ep];
  model::MicroBatch batch;
  std::map<std::int64_t, std::int64_t> cache_row;
  place_in_cache(part, plan_.chunk_tokens, cache_row);
  for (const plan::SequenceSpan& span : plan::spans_of_pass(part, plan_.chunk_tokens, pass)) {
    model::SequenceRows rows{span.sequence, span.first, span.count, span.length};
    const auto cached = cache_row.find(span.sequence);
    if (cached != cache_row.end()) rows.cache_row = cached->second;
    batch.rows.push_back(rows);
  }
  model::spread_evenly(batch, topology_.grid.tp);
  if (job_.config.capacity_factor > 0)
    place_in_microbatch(microbatch, assignment, topology_.grid.tp, batch);
  return batch;
}

void Loop::run_pass(model::MicroBatch batch, std::int64_t cache_tokens, LoopReport& report) {
  const model::MicroBatch& pass = batch;
  workspace_.begin(batch, plan_.model.hidden_size, plan_.model.dtype, topology_.place.tp,
                   cache_tokens);
  collector_.begin_pass(pass);
  if (topology_.is_first_stage()) {
    transformer_.embed(workspace_, collector_);
  } else {
    collector_.take_earlier_stages(pass);
    timeline_.enter(Phase::pp_wait);
    topology_.pp->receive(workspace_.residual(), topology_.place.pp - 1);
    timeline_.add_bytes(workspace_.residual().bytes());
  }
  report.extra_rounds += transformer_.run_layers(workspace_, collector_);
  if (topology_.is_last_stage()) {
    model::TokenScores scores = transformer_.finish(request_, workspace_, collector_);
    collector_.scores(workspace_.batch(), std::move(scores));
  } else {
    timeline_.enter(Phase::pp_wait);
    topology_.pp->send(workspace_.residual(), topology_.place.pp + 1);
  }
}

void Loop::run_microbatch(std::int32_t index, LoopReport& report) {
  const plan::Microbatch& microbatch = plan_.microbatches[index];
  timeline_.enter(Phase::other);
  const Assignment assignment = assign(job_, microbatch);
  report.part_imbalance = std::max(report.part_imbalance, assignment.imbalance);
  const auto& part = assignment.parts[topology_.place.ep];
  std::map<std::int64_t, std::int64_t> cache_row;
  const std::int64_t cache_tokens = place_in_cache(part, plan_.chunk_tokens, cache_row);
  collector_.begin(part, job_.inputs);
  const std::int64_t passes = plan::num_passes(microbatch.sequences, plan_.chunk_tokens);
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    model::MicroBatch batch = make_pass(microbatch, assignment, pass);
    batch.index = index;
    const double started = timeline_.now();
    if (needs_tokens()) read_tokens(job_, batch);
    if (index == 0 && topology_.is_first_stage()) input_seconds_ += timeline_.now() - started;
    timeline_.enter(Phase::other);
    run_pass(std::move(batch), cache_tokens, report);
  }
  if (index == 0) first_finish_ = timeline_.now();

  timeline_.enter(Phase::output);
  std::vector<base::PhaseRecord> records = std::exchange(before_, {});
  if (job_.config.timing != plan::TimingDetail::summary) {
    const std::vector<base::PhaseRecord> own = timeline_.cut(index);
    records.insert(records.end(), own.begin(), own.end());
  }
  collector_.end(timing_rows(job_, records));
  if (topology_.is_leader()) {
    report.num_sequences += static_cast<std::int64_t>(microbatch.sequences.size());
    report.num_tokens += microbatch.num_tokens;
  }
}

/// With a capacity factor a microbatch counts only when all of its parts are there: so the writers
/// of an instance commit together.
void Loop::commit() {
  timeline_.enter(Phase::commit);
  std::int64_t is_due = job_.writer && job_.writer->is_due();
  if (job_.config.capacity_factor > 0 && topology_.is_last_stage())
    is_due = topology_.cart.stage().max(is_due);
  if (job_.writer && is_due != 0) job_.writer->commit();
  timeline_.enter(Phase::other);
}

void Loop::run(LoopReport& report) {
  std::int64_t total_sequences = 0, total_tokens = 0;
  for (const plan::Microbatch& microbatch : plan_.microbatches) {
    total_sequences += static_cast<std::int64_t>(microbatch.sequences.size());
    total_tokens += microbatch.num_tokens;
  }
  job_.world.barrier();
  before_ = timeline_.cut(-1);
  report.startup_seconds = timeline_.now();
  Progress progress(job_.log, job_.config.progress_interval_s, total_sequences, total_tokens);
  for (std::int64_t index = draw(); index >= 0; index = draw()) {
    run_microbatch(static_cast<std::int32_t>(index), report);
    commit();
    testing::delay(topology_.place.dp);
    if (job_.world.rank() == 0) {
      const DrawBook::Done done = book_.done();
      progress.update(done.sequences, done.tokens);
    }
  }

  timeline_.enter(Phase::output);
  collector_.flush();
  timeline_.enter(Phase::commit);
  if (job_.writer) job_.writer->close();
  timeline_.enter(Phase::other);  // for the slowest instance
  queue_.reset();
  job_.world.barrier();
  report.wall_seconds = job_.world.max(timeline_.now() - report.startup_seconds);
  report.ttft_seconds = std::max(
      0.0, job_.world.max(first_finish_ > 0 ? first_finish_ - report.startup_seconds : 0.0) -
               job_.world.max(input_seconds_));
  report.num_sequences = job_.world.sum(report.num_sequences);
  report.num_tokens = job_.world.sum(report.num_tokens);
  const bool speaks_for_stage = topology_.place.ep == 0 && topology_.place.tp == 0;
  report.extra_rounds = job_.world.sum(speaks_for_stage ? report.extra_rounds : 0);
  report.part_imbalance = job_.world.max(report.part_imbalance);
  report.is_stopped = report.num_sequences < total_sequences;
  if (job_.config.capacity_factor > 0)
    for (const std::int64_t dropped : collector_.dropped())
      report.dropped.push_back(job_.world.sum(dropped));
  gather_rest(job_, timeline_.cut(-1), report);
}

}  // namespace

LoopReport run_microbatches(const Job& job) {
  job.timeline.keep_layers(job.config.timing == plan::TimingDetail::layers);
  DrawBook book(job.plan.microbatches, [&] {
    return job.stop_requested() ||
           (job.config.stop_after_s > 0 && job.timeline.now() >= job.config.stop_after_s);
  });
  const mpi::Communicator leaders =
      job.world.split(job.topology.is_leader() ? 0 : 1, job.world.rank());
  std::optional<MicrobatchQueue> queue;
  if (job.topology.is_leader()) queue.emplace(leaders, book);
  LoopReport report;
  Loop(job, book, queue).run(report);
  return report;
}

}  // namespace tetrarch::engine
