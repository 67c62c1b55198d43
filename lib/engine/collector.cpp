// SPDX-License-Identifier: Apache-2.0
#include "engine/collector.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tetrarch::engine {

using backend::Tensor;
using base::DType;
using model::Origin;
using model::PassRows;

namespace {

std::string hidden_path(const plan::ModelSpec& spec, std::int64_t layer) {
  if (layer < 0) return "/hidden/embed";
  if (layer == spec.num_layers) return "/hidden/final";
  return storage::numbered_path("hidden", layer);
}

/// The number of elements of a key or value row that each tp rank sends. Of ranks that hold the
/// same heads, only the first sends them.
std::vector<std::int64_t> kv_widths(const plan::Plan& plan, const plan::Grid& grid) {
  std::vector<std::int64_t> widths;
  std::int64_t sent = 0;
  for (int tp = 0; tp < grid.tp; ++tp) {
    const plan::Range heads =
        plan::local_sizes(plan.model, plan.reduction_shards, grid, {0, 0, 0, tp}).kv_heads;
    widths.push_back(heads.begin < sent ? 0 : heads.size() * plan.model.head_size);
    sent = heads.end;
  }
  return widths;
}

std::vector<std::int64_t> vocab_widths(const plan::Plan& plan, const plan::Grid& grid) {
  std::vector<std::int64_t> widths;
  for (int tp = 0; tp < grid.tp; ++tp)
    widths.push_back(
        plan::local_sizes(plan.model, plan.reduction_shards, grid, {0, 0, 0, tp}).vocab_count());
  return widths;
}

bool all_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

}  // namespace

std::vector<storage::TimingRow> timing_rows_from(std::span<const std::byte> bytes) {
  std::vector<storage::TimingRow> rows(bytes.size() / sizeof(storage::TimingRow));
  if (!rows.empty()) std::memcpy(rows.data(), bytes.data(), bytes.size());
  return rows;
}

Collector::Collector(const plan::Plan& plan, const Topology& topology, backend::Compute& compute,
                     base::Timeline& timeline, storage::PartWriter* writer)
    : plan_(plan),
      spec_(plan.model),
      outputs_(plan.outputs),
      topology_(topology),
      compute_(compute),
      timeline_(timeline),
      writer_(writer),
      gatherer_(topology, compute, timeline,
                plan::outbox_bytes(
                    plan.model, topology.grid, topology.place,
                    {.extents = plan.extents, .depth = plan.depth, .outputs = plan.outputs})),
      stage_layers_(plan::stage_layers(plan.depth.num_layers, topology.grid.pp, topology.place.pp)),
      kv_width_(kv_widths(plan, topology.grid)),
      vocab_width_(vocab_widths(plan, topology.grid)),
      dropped_(static_cast<std::size_t>(plan.model.num_layers), 0) {}

void Collector::begin(std::span<const plan::SequenceLength> sequences,
                      const storage::InputSet& inputs) {
  counts_.assign(outputs_.routing ? stage_layers_.size() * (spec_.num_experts + 1) : 0, 0);
  poolers_.clear();
  sequences_.begin(sequences, inputs);
  if (!writer_) return;
  std::vector<storage::PartSequence> part;
  for (const SequenceSums& each : sequences_.all())
    part.push_back({each.sequence, each.length});
  writer_->begin(part);
  if (outputs_.experts) write_dense_experts();
}

/// Writes "no expert" to the `experts` output of layers without experts.
void Collector::write_dense_experts() {
  constexpr std::uint16_t none = 0xffff;
  const std::int64_t rows = sequences_.num_rows();
  constexpr std::int64_t step = 4096;
  expert_ids_.assign(static_cast<std::size_t>(std::min(rows, step) * spec_.top_k), none);
  for (std::int64_t layer = 0; layer < spec_.num_layers; ++layer)
    for (std::int64_t row = 0; row < rows && !spec_.is_moe[layer]; row += step)
      writer_->write(storage::numbered_path("experts", layer), row, std::min(step, rows - row),
                     expert_ids_.data());
}

bool Collector::wants_hidden(std::int64_t layer) const {
  return outputs_.hidden &&
         std::binary_search(outputs_.hidden_layers.begin(), outputs_.hidden_layers.end(), layer);
}

Tensor Collector::like(DType dtype, std::int64_t columns) const {
  return {nullptr, dtype, 1, 0, columns};
}

void Collector::write_rows(std::string_view path, const PassRows& pass, std::int64_t first_row,
                           const Tensor& rows) {
  const int dataset = storage::find_dataset(writer_->layout(), path);
  // rows that are neighbours in the output part are written by one call
  std::int64_t at = -1, count = 0;
  const std::byte* from = nullptr;
  sequences_.for_runs(pass, first_row, rows,
                      [&](std::int64_t index, const plan::SequenceSpan& span, const Tensor& run) {
                        const std::int64_t row = sequences_.all()[index].first_row + span.first;
                        if (row != at + count) {
                          if (count > 0) writer_->write(dataset, at, count, from);
                          at = row;
                          count = 0;
                          from = static_cast<const std::byte*>(run.data);
                        }
                        count += run.rows;
                      });
  if (count > 0) writer_->write(dataset, at, count, from);
}

void Collector::take_hidden(int stage, std::int64_t layer, const PassRows& pass,
                            const Tensor* own) {
  const std::string path = hidden_path(spec_, layer);
  const Tensor shape = like(spec_.dtype, spec_.hidden_size);
  if (outputs_.pooling == plan::Pooling::none) {
    gatherer_.take_rows(stage, pass, shape, own, [&](std::int64_t first, const Tensor& rows) {
      write_rows(path, pass, first, rows);
    });
    return;
  }
  Pooler& pooler = poolers_.try_emplace(layer, outputs_.pooling).first->second;
  gatherer_.take_rows(stage, pass, shape, own, [&](std::int64_t first, const Tensor& rows) {
    sequences_.for_runs(
        pass, first, rows,
        [&](std::int64_t index, const plan::SequenceSpan& span, const Tensor& run) {
          const std::span<const float> pooled = pooler.add(span, run);
          if (pooled.empty()) return;
          writer_->write(path, index, 1, pooled.data());
          if (!all_finite(pooled))
            sequences_.note({span.sequence, spec_.num_layers, span.length - 1, Origin::pooling});
        });
  });
}

void Collector::take_kv(int stage, std::int64_t layer, const PassRows& pass, const Tensor* key,
                        const Tensor* value) {
  for (const auto& [name, own] : {std::pair{"k", key}, std::pair{"v", value}}) {
    const std::string path = storage::numbered_path("kv", layer) + "/" + name;
    gatherer_.take_columns(
        stage, pass.num_tokens(), spec_.dtype, kv_width_, own,
        [&](std::int64_t first, const Tensor& rows) {
          write_rows(path, pass, first, rows);
          sequences_.for_runs(pass, first, rows,
                              [&](std::int64_t, const plan::SequenceSpan& span, const Tensor& run) {
                                sequences_.check_rows(layer, Origin::attention, span, run);
                              });
        });
  }
}

void Collector::take_experts(int stage, std::int64_t layer, const PassRows& pass,
                             const Tensor* own) {
  gatherer_.take_rows(stage, pass, like(DType::i32, spec_.top_k), own,
                      [&](std::int64_t first, const Tensor& rows) {
                        const auto* ids = rows.as<std::int32_t>();
                        expert_ids_.assign(ids, ids + rows.elements());
                        write_rows(storage::numbered_path("experts", layer), pass, first,
                                   {expert_ids_.data(), DType::u16, 1, rows.rows, rows.columns});
                      });
}

void Collector::take_earlier_stages(const PassRows& pass) {
  if (!writer_) return;
  timeline_.enter(base::Phase::output);
  for (int stage = 0; stage < topology_.place.pp; ++stage) {
    if (stage == 0 && wants_hidden(-1)) take_hidden(stage, -1, pass, nullptr);
    const plan::Range layers = plan::stage_layers(plan_.depth.num_layers, topology_.grid.pp, stage);
    for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) {
      if (outputs_.kv) take_kv(stage, layer, pass, nullptr, nullptr);
      if (outputs_.experts && spec_.is_moe[layer]) take_experts(stage, layer, pass, nullptr);
      if (wants_hidden(layer)) take_hidden(stage, layer, pass, nullptr);
    }
  }
}

void Collector::hidden(std::int64_t layer, const PassRows& pass, const Tensor& home) {
  if (!wants_hidden(layer)) return;
  timeline_.enter(base::Phase::output);
  if (writer_) {
    take_hidden(topology_.place.pp, layer, pass, &home);
  } else {
    gatherer_.post_rows(home);
  }
}

void Collector::kv(std::int64_t layer, const Tensor& key, const Tensor& value) {
  if (!outputs_.kv) return;
  timeline_.enter(base::Phase::output);
  if (writer_) {
    take_kv(topology_.place.pp, layer, *pass_, &key, &value);
  } else if (kv_width_[topology_.place.tp] > 0) {
    const std::int64_t columns = spec_.num_kv_heads * spec_.head_size;
    gatherer_.post_columns(key, columns);
    gatherer_.post_columns(value, columns);
  }
}

void Collector::experts(std::int64_t layer, const model::Routing& routing) {
  dropped_[layer] += routing.num_dropped;
  if (outputs_.routing) {
    std::vector<std::int32_t> count(routing.count.columns);
    compute_.download(routing.count, count.data());
    std::uint64_t* counts = &counts_[(layer - stage_layers_.begin) * (spec_.num_experts + 1)];
    for (std::size_t i = 0; i < count.size(); ++i)
      counts[i] += static_cast<std::uint64_t>(count[i]);
    counts[spec_.num_experts] += static_cast<std::uint64_t>(routing.num_dropped);
  }
  if (!outputs_.experts) return;
  timeline_.enter(base::Phase::output);
  if (writer_) {
    take_experts(topology_.place.pp, layer, *pass_, &routing.expert_id);
  } else {
    gatherer_.post_rows(routing.expert_id);
  }
}

void Collector::last_logits(const PassRows& pass, std::span<const std::int64_t> runs,
                            const Tensor& logits) {
  timeline_.enter(base::Phase::output);
  if (!writer_) {
    gatherer_.post_columns(logits, spec_.vocab_size);
    return;
  }
  gatherer_.take_columns(
      topology_.place.pp, logits.rows, DType::f32, vocab_width_, &logits,
      [&](std::int64_t first, const Tensor& rows) {
        for (std::int64_t i = 0; i < rows.rows; ++i) {
          const model::SequenceRows& run = pass.rows[runs[first + i]];
          const Tensor row = rows.row_range(i, 1);
          writer_->write("/last_logits", sequences_.index_of(run.sequence), 1, row.data);
          sequences_.check_rows(spec_.num_layers, Origin::head,
                                {run.sequence, run.length - 1, 1, run.length}, row);
        }
      });
}

void Collector::scores(const PassRows& pass, const model::TokenScores& scores) {
  if (!writer_ || !outputs_.logprobs) return;
  timeline_.enter(base::Phase::output);
  const float none = base::failed_value();  // the first token has no log-probability
  std::vector<float> neighbours;  // values of adjacent rows of the output part, from `first_row` on
  std::int64_t first_row = 0, row = 0;
  const auto flush = [&] {
    writer_->write("/logprobs/token", first_row, std::ssize(neighbours), neighbours.data());
    neighbours.clear();
  };
  for (const model::SequenceRows& run : pass.rows) {
    const plan::SequenceSpan span = run.span();
    SequenceSums& at = sequences_.of(run.sequence);
    const std::int64_t count = std::min(span.count, span.length - 1 - span.first);
    const std::int64_t begin = at.first_row + span.first + (span.first > 0 ? 1 : 0);
    if (begin != first_row + std::ssize(neighbours)) {
      flush();
      first_row = begin;
    }
    if (span.first == 0) neighbours.push_back(none);
    at.has_first = at.has_first || span.first == 0;
    const auto logprob = std::span(scores.next_logprob).subspan(row, count);
    neighbours.insert(neighbours.end(), logprob.begin(), logprob.end());
    sequences_.add_scores(span, logprob, std::span(scores.is_greedy).subspan(row, count),
                          spec_.num_layers);
    row += run.count;
  }
  flush();
}

void Collector::likely(const PassRows& pass, std::int64_t first_row, std::span<std::uint32_t> ids,
                       std::span<float> logprobs) {
  if (!writer_) return;
  timeline_.enter(base::Phase::output);
  const std::int64_t top_k = outputs_.top_k_logprobs;
  const std::int64_t count = std::ssize(ids) / top_k;
  const Tensor values{logprobs.data(), DType::f32, 1, count, top_k};
  write_rows("/topk/ids", pass, first_row, {ids.data(), DType::u32, 1, count, top_k});
  write_rows("/topk/logprobs", pass, first_row, values);
  sequences_.for_runs(pass, first_row, values,
                      [&](std::int64_t, const plan::SequenceSpan& span, const Tensor& run) {
                        sequences_.check_rows(spec_.num_layers, Origin::head, span, run);
                      });
}

/// Writes the sums over each sequence, after all its tokens have passed.
void Collector::write_sums() {
  std::vector<double> sum;
  std::vector<std::uint64_t> count;
  std::vector<std::uint8_t> is_greedy;
  for (const SequenceSums& at : sequences_.all()) {
    sum.push_back(at.sum);
    count.push_back(at.count);
    is_greedy.push_back(at.is_greedy);
  }
  const float none = base::failed_value();
  for (const SequenceSums& at : sequences_.all())  // a sequence of one token has no scores
    if (!at.has_first) writer_->write("/logprobs/token", at.first_row, 1, &none);
  const std::int64_t rows = std::ssize(sequences_.all());
  writer_->write("/logprobs/sum", 0, rows, sum.data());
  writer_->write("/logprobs/count", 0, rows, count.data());
  writer_->write("/logprobs/is_greedy", 0, rows, is_greedy.data());
}

void Collector::add_counts(int stage, std::span<const std::byte> counts) {
  const plan::Range layers = plan::stage_layers(plan_.depth.num_layers, topology_.grid.pp, stage);
  const std::int64_t width = spec_.num_experts + 1;
  std::vector<std::uint64_t> host(static_cast<std::size_t>(layers.size() * width));
  base::expects(counts.size() == host.size() * sizeof(std::uint64_t), "counts of the stage");
  if (!host.empty()) std::memcpy(host.data(), counts.data(), counts.size());
  for (std::int64_t i = 0; i < layers.size(); ++i) {
    const std::uint64_t* of_layer = &host[i * width];
    writer_->add("/routing/tokens_per_expert", layers.begin + i, 1, of_layer);
    writer_->add("/routing/dropped", layers.begin + i, 1, of_layer + spec_.num_experts);
  }
}

void Collector::take_not_finite(std::span<const std::byte> bytes) {
  std::vector<model::NotFinite> found(bytes.size() / sizeof(model::NotFinite));
  if (!found.empty()) std::memcpy(found.data(), bytes.data(), bytes.size());
  for (const model::NotFinite& each : found)
    sequences_.note(each);
}

void Collector::end(std::span<const storage::TimingRow> timing) {
  if (!writer_) {
    gatherer_.post_bytes(std::as_bytes(timing));
    if (outputs_.routing) gatherer_.post_bytes(std::as_bytes(std::span(counts_)));
    std::vector<model::NotFinite> found;
    for (const auto& [sequence, first] : sequences_.not_finite())
      found.push_back(first);
    gatherer_.post_bytes(std::as_bytes(std::span(found)));
    return;
  }
  if (outputs_.logprobs) write_sums();
  for (int stage = 0; stage < topology_.grid.pp; ++stage)
    for (int tp_rank = 0; tp_rank < topology_.grid.tp; ++tp_rank) {
      const bool is_own = stage == topology_.place.pp && tp_rank == topology_.place.tp;
      if (is_own) {
        writer_->append_timing(timing);
        if (outputs_.routing) add_counts(stage, std::as_bytes(std::span(counts_)));
        continue;
      }
      writer_->append_timing(timing_rows_from(gatherer_.take_bytes(stage, tp_rank)));
      if (outputs_.routing) add_counts(stage, gatherer_.take_bytes(stage, tp_rank));
      take_not_finite(gatherer_.take_bytes(stage, tp_rank));
    }
  for (const auto& [sequence, found] : sequences_.not_finite()) {
    writer_->set_status(sequence, storage::SequenceStatus::not_finite, error_text(found, spec_));
    failed_.add(found);
  }
  writer_->end();
}

}  // namespace tetrarch::engine
