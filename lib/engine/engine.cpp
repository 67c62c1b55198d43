// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.hpp"

#include <algorithm>
#include <limits>
#include <span>

#include "base/flight_recorder.hpp"
#include "base/stop_signal.hpp"
#include "engine/agree.hpp"
#include "engine/collector.hpp"
#include "engine/ep_share.hpp"
#include "engine/progress.hpp"
#include "engine/queue.hpp"
#include "engine/testing.hpp"
#include "engine/timed_communicator.hpp"
#include "mpi/bell.hpp"

namespace tetrarch::engine {

using base::Activity;
using base::During;
using base::Phase;

namespace {

constexpr int index_tag = 1;
// larger than any microbatch index
constexpr std::int64_t stop_now = std::numeric_limits<std::int64_t>::max();

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

/// The loop of one rank in one attempt: its steps, and the objects that they work on.
class Loop {
 public:
  Loop(const Job& job, DrawBook& book, std::optional<MicrobatchQueue>& queue, mpi::Bell& bell)
      : job_(job),
        plan_(job.plan),
        topology_(job.topology),
        timeline_(job.timeline),
        book_(book),
        queue_(queue),
        bell_(bell),
        tp_(timed(*topology_.tp, topology_.cart.tp())),
        ep_(timed(*topology_.ep, topology_.cart.ep())),
        all_(timed(*topology_.stage, topology_.cart.stage())),
        pp_(timed(*topology_.pp, topology_.cart.pp())),
        context_{
            plan_.model,
            plan_.reduction_shards,
            plan::local_sizes(plan_.model, plan_.reduction_shards, topology_.grid, topology_.place),
            job.backend.compute(),
            tp_,
            ep_,
            all_,
            timeline_,
            job.config.capacity_factor},
        memory_(plan::plan_memory(plan_.model, plan_.reduction_shards, topology_.grid,
                                  topology_.place,
                                  plan::memory_request(job.config, plan_, plan_.extents))),
        workspace_(memory_, job.backend),
        transformer_(
            context_, job.shard, plan_.depth,
            plan::stage_layers(plan_.depth.num_layers, topology_.grid.pp, topology_.place.pp),
            plan_.extents.max_sequence_length, job.backend),
        collector_(plan_, topology_, job.backend.compute(), timeline_, job.writer),
        request_{plan_.outputs.logprobs, plan_.outputs.last_logits,
                 plan_.outputs.topk ? plan_.outputs.top_k_logprobs : 0} {}

  void run(LoopReport& report);

 private:
  TimedCommunicator timed(backend::Communicator& inner, const mpi::Communicator& peers) const {
    const bool meets = job_.config.timing == plan::TimingDetail::layers;
    return {inner, peers, meets ? Meeting::first : Meeting::none, timeline_};
  }
  bool start(LoopReport& report);
  std::int64_t draw();
  bool needs_tokens() const {
    return topology_.is_first_stage() || (topology_.is_last_stage() && plan_.outputs.logprobs);
  }
  void run_pass(const model::PassRows& pass, std::int64_t cache_tokens, LoopReport& report);
  void run_microbatch(std::int32_t index, LoopReport& report);
  void commit(LoopReport& report);
  void finish(LoopReport& report);
  void sum_up(std::int64_t num_to_do, LoopReport& report);
  void gather_rest(LoopReport& report);

  const Job& job_;
  const plan::Plan& plan_;
  const Topology& topology_;
  base::Timeline& timeline_;
  DrawBook& book_;
  std::optional<MicrobatchQueue>& queue_;
  mpi::Bell& bell_;  // rung when this rank gets a stop signal
  TimedCommunicator tp_, ep_, all_, pp_;
  model::Context context_;
  plan::MemoryPlan memory_;
  model::Workspace workspace_;
  model::Transformer transformer_;
  Collector collector_;
  model::HeadRequest request_;
  std::vector<base::PhaseRecord> before_;  // records of loading; written with the first microbatch
  double input_seconds_ = 0;               // of microbatch 0
  double first_finish_ = 0;
};

/// Returns the next microbatch, -1 after the last. The leader draws it; the ranks of its stage get
/// it by a collective; each rank sends it to its peer in the next stage. After a signal on a rank
/// of the first stage the instance ends here. After a signal on another rank it ends at one of the
/// next draws.
std::int64_t Loop::draw() {
  timeline_.enter(topology_.is_first_stage() ? Phase::other : Phase::pp_wait);
  const During waiting(timeline_, Activity::waiting);
  const bool has_signal = base::stop_signal() != 0;
  if (has_signal) bell_.ring();
  std::int64_t index = queue_ ? queue_->next() : -1;
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(&index, 1));
  const int stage = topology_.place.pp;
  if (topology_.is_first_stage()) {
    index = topology_.cart.stage().max(has_signal ? stop_now : index);
    if (index == stop_now) index = -1;
  } else {
    topology_.cart.pp().receive(bytes, stage - 1, index_tag);
  }
  if (!topology_.is_last_stage()) topology_.cart.pp().send(bytes, stage + 1, index_tag);
  return index;
}

void Loop::run_pass(const model::PassRows& pass, std::int64_t cache_tokens, LoopReport& report) {
  workspace_.begin(pass, plan_.model.hidden_size, plan_.model.dtype, topology_.place.tp,
                   cache_tokens);
  collector_.begin_pass(pass);
  if (topology_.is_first_stage()) {
    transformer_.embed(workspace_, collector_);
  } else {
    collector_.take_earlier_stages(pass);
    timeline_.enter(Phase::pp_wait);
    pp_.receive(workspace_.residual(), topology_.place.pp - 1);
    timeline_.add_bytes(workspace_.residual().bytes());
  }
  report.extra_rounds += transformer_.run_layers(workspace_, collector_);
  if (topology_.is_last_stage()) {
    const model::TokenScores scores = transformer_.finish(request_, workspace_, collector_);
    collector_.scores(workspace_.pass_rows(), scores);
  } else {
    timeline_.enter(Phase::pp_wait);
    pp_.send(workspace_.residual(), topology_.place.pp + 1);
  }
}

void Loop::run_microbatch(std::int32_t index, LoopReport& report) {
  const plan::Microbatch& microbatch = plan_.microbatches[index];
  base::flight_recorder().begin_microbatch(index);
  timeline_.enter(Phase::other);
  EpShare share(plan_, topology_, job_.inputs, index,
                job_.config.capacity_factor > 0 ? Capacity::limited : Capacity::none);
  report.share_imbalance = std::max(report.share_imbalance, share.imbalance());
  collector_.begin(share.sequences(), job_.inputs);
  const double started = timeline_.now();
  if (needs_tokens()) share.read_tokens(timeline_);
  if (index == 0 && topology_.is_first_stage()) input_seconds_ = timeline_.now() - started;
  timeline_.enter(Phase::other);
  for (std::int64_t pass = 0; pass < share.num_passes(); ++pass)
    run_pass(share.pass(pass), share.cache_tokens(), report);
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

/// Commits the written microbatches when it is time. With a capacity factor a microbatch is done
/// only when the parts of all EP ranks are committed, so all writers of an instance commit
/// together.
void Loop::commit(LoopReport& report) {
  timeline_.enter(Phase::commit);
  std::int64_t is_due = job_.writer && job_.writer->is_due();
  if (job_.config.capacity_factor > 0 && topology_.is_last_stage())
    is_due = topology_.cart.stage().max(is_due);
  if (job_.writer && is_due != 0) {
    job_.writer->commit();
    if (report.h5_objects[0] == 0) report.h5_objects[0] = storage::h5::num_open_objects();
  }
  timeline_.enter(Phase::other);
}

/// Waits until all ranks have loaded. Returns whether a rank has got a stop signal by then.
bool Loop::start(LoopReport& report) {
  bool has_signal = false;
  {
    const During waiting(timeline_, Activity::waiting);
    has_signal = agreed_stop_signal(job_.world) != 0;
  }
  before_ = timeline_.cut(-1);
  report.before = timeline_.spending();
  report.startup_seconds = timeline_.now();
  return has_signal;
}

/// Writes and commits what is left, and waits until all instances are done.
void Loop::finish(LoopReport& report) {
  timeline_.enter(Phase::output);
  {
    const During waiting(timeline_, Activity::waiting);
    collector_.flush();
  }
  timeline_.enter(Phase::commit);
  if (job_.writer) job_.writer->close();
  timeline_.enter(Phase::other);
  base::flight_recorder().begin_microbatch(-1);
  report.planned_bytes = memory_.total_bytes();
  report.planned_tensor_bytes = memory_.tensor_bytes();
  report.allocated_bytes = job_.backend.allocated_bytes();
  report.h5_objects[1] = storage::h5::num_open_objects();
  if (report.h5_objects[0] == 0) report.h5_objects[0] = report.h5_objects[1];
  const During waiting(timeline_, Activity::waiting);
  queue_.reset();
  job_.world.barrier();
}

/// Replaces this rank's times and counts by those of all ranks.
void Loop::sum_up(std::int64_t num_to_do, LoopReport& report) {
  const mpi::Communicator& world = job_.world;
  report.wall_seconds = world.max(timeline_.now() - report.startup_seconds);
  const double first = first_finish_ > 0 ? first_finish_ - report.startup_seconds : 0.0;
  report.ttft_seconds = std::max(0.0, world.max(first) - world.max(input_seconds_));
  report.num_sequences = world.sum(report.num_sequences);
  report.num_tokens = world.sum(report.num_tokens);
  const bool speaks_for_stage = topology_.place.ep == 0 && topology_.place.tp == 0;
  report.extra_rounds = world.sum(speaks_for_stage ? report.extra_rounds : 0);
  report.share_imbalance = world.max(report.share_imbalance);
  report.is_stopped = report.num_sequences < num_to_do;
  report.stop_signal = agreed_stop_signal(world);
  if (job_.config.capacity_factor > 0)
    for (const std::int64_t dropped : collector_.dropped())
      report.dropped.push_back(world.sum(dropped));
  report.failed = collector_.failed().gather(world);
}

/// Sends timing records that are in no output part to rank 0, which writes them with the results.
void Loop::gather_rest(LoopReport& report) {
  // not empty on a rank that drew no microbatch
  std::vector<base::PhaseRecord> rest = std::move(before_);
  const std::vector<base::PhaseRecord> after = timeline_.cut(-1);
  rest.insert(rest.end(), after.begin(), after.end());
  const std::vector<storage::TimingRow> mine = timing_rows(job_, rest);
  const std::vector<std::byte> all = job_.world.gather_v(std::as_bytes(std::span(mine)), 0);
  report.rows = timing_rows_from(all);
}

void Loop::run(LoopReport& report) {
  std::int64_t num_sequences = 0, num_tokens = 0;
  for (const plan::Microbatch& microbatch : plan_.microbatches) {
    num_sequences += std::ssize(microbatch.sequences);
    num_tokens += microbatch.num_tokens;
  }
  const bool has_signal = start(report);
  Progress progress(job_.log, job_.config.progress_interval_s, num_sequences, num_tokens);
  for (std::int64_t index = has_signal ? -1 : draw(); index >= 0; index = draw()) {
    run_microbatch(static_cast<std::int32_t>(index), report);
    commit(report);
    testing::delay(topology_.place.dp);
    if (job_.world.rank() == 0) {
      const DrawBook::Done done = book_.done();
      progress.update(done.sequences, done.tokens);
    }
  }
  finish(report);
  sum_up(num_sequences, report);
  gather_rest(report);
}

}  // namespace

LoopReport run_microbatches(const Job& job) {
  job.timeline.keep_layers(job.config.timing == plan::TimingDetail::layers);
  mpi::Bell bell(job.world);
  DrawBook book(job.plan.microbatches, [&] {
    return bell.is_rung() || job.stop_requested() ||
           (job.config.stop_after_s > 0 && job.timeline.now() >= job.config.stop_after_s);
  });
  const mpi::Communicator leaders =
      job.world.split(job.topology.is_leader() ? 0 : 1, job.world.rank(), "leaders");
  std::optional<MicrobatchQueue> queue;
  if (job.topology.is_leader()) queue.emplace(leaders, book);
  LoopReport report;
  Loop(job, book, queue, bell).run(report);
  return report;
}

}  // namespace tetrarch::engine
