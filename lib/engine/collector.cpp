// SPDX-License-Identifier: Apache-2.0
#include "engine/collector.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tetrarch::engine {

using backend::Tensor;
using base::DType;

namespace {

constexpr int rows_tag = 1, logits_tag = 2;

std::string hidden_path(const plan::ModelSpec& spec, std::int64_t layer) {
  if (layer < 0) return "/hidden/embed";
  if (layer == spec.num_layers) return "/hidden/final";
  return storage::numbered_path("hidden", layer);
}

}  // namespace

std::vector<storage::TimingRow> timing_rows_from(std::span<const std::byte> bytes) {
  std::vector<storage::TimingRow> rows(bytes.size() / sizeof(storage::TimingRow));
  if (!rows.empty()) std::memcpy(rows.data(), bytes.data(), bytes.size());
  return rows;
}

Collector::Collector(const plan::ModelSpec& spec, const plan::Outputs& outputs,
                     const Topology& topology, backend::Compute& compute, base::Timeline& timeline,
                     storage::PartWriter* writer)
    : spec_(spec),
      outputs_(outputs),
      topology_(topology),
      compute_(compute),
      timeline_(timeline),
      writer_(writer) {}

void Collector::begin(const model::MicroBatch& batch, const storage::InputSet& inputs) {
  batch_ = &batch;
  score_from_.clear();
  std::vector<storage::PartSequence> sequences;
  for (const model::SequenceRows& rows : batch.rows) {
    sequences.push_back({rows.sequence, rows.count});
    score_from_.push_back(inputs.score_from(rows.sequence));
  }
  if (writer_) writer_->begin(sequences);
}

void Collector::gather(const Tensor& home, const std::function<void(const Tensor&)>& take) {
  timeline_.enter(base::Phase::output);
  const std::int64_t piece_rows = std::max<std::int64_t>(1, piece_bytes / home.row_bytes());
  const mpi::Communicator& tp = topology_.cart.tp();
  piece_.resize(std::min(piece_rows, batch_->num_tokens()) * home.row_bytes());
  const auto pieces = [&](std::int64_t rows,
                          const std::function<void(std::int64_t, Tensor)>& each) {
    for (std::int64_t begin = 0; begin < rows; begin += piece_rows)
      each(begin, {piece_.data(), home.dtype, 1, std::min(piece_rows, rows - begin), home.columns});
  };
  const auto bytes_of = [&](const Tensor& piece) { return std::span(piece_).first(piece.bytes()); };

  pieces(home.rows, [&](std::int64_t begin, const Tensor& piece) {
    compute_.download(home.row_range(begin, piece.rows), piece_.data());
    if (writer_) {
      take(piece);
    } else {
      tp.send(bytes_of(piece), 0, rows_tag);
    }
  });
  if (!writer_) return;
  for (int rank = 1; rank < tp.size(); ++rank)
    pieces(batch_->home(tp.size(), rank).size(), [&](std::int64_t, const Tensor& piece) {
      tp.receive(bytes_of(piece), rank, rows_tag);
      timeline_.add_bytes(piece.bytes());
      take(piece);
    });
}

void Collector::append(const std::string& path, const Tensor& rows) {
  writer_->append(path, rows.rows, rows.data);
}

void Collector::hidden(std::int64_t layer, const Tensor& home) {
  if (!outputs_.hidden ||
      !std::binary_search(outputs_.hidden_layers.begin(), outputs_.hidden_layers.end(), layer))
    return;
  const std::string path = hidden_path(spec_, layer);
  if (outputs_.pooling == plan::Pooling::none) {
    gather(home, [&](const Tensor& rows) { append(path, rows); });
    return;
  }
  std::vector<std::int64_t> lengths;
  for (const model::SequenceRows& rows : batch_->rows)
    lengths.push_back(rows.count);
  pooler_.begin(outputs_.pooling, std::move(lengths), home.columns);
  gather(home, [&](const Tensor& rows) {
    pooled_.clear();
    pooler_.add(rows, pooled_);
    const auto finished = static_cast<std::int64_t>(pooled_.size()) / home.columns;
    writer_->append(path, finished, pooled_.data());
  });
}

void Collector::experts(std::int64_t layer, const Tensor& expert_id) {
  if (!outputs_.experts) return;
  gather(expert_id, [&](const Tensor& rows) {
    const auto* ids = rows.as<std::int32_t>();
    expert_ids_.assign(ids, ids + rows.elements());
    writer_->append(storage::numbered_path("experts", layer), rows.rows, expert_ids_.data());
  });
}

// Each tp rank has its own columns; the writer lays them side by side, some rows at a time.
void Collector::last_logits(std::int64_t, const Tensor& logits) {
  timeline_.enter(base::Phase::output);
  const mpi::Communicator& tp = topology_.cart.tp();
  const std::int64_t vocab = spec_.vocab_size;
  const std::int64_t block = std::max<std::int64_t>(1, piece_bytes / (vocab * 4));
  const std::vector<std::int64_t> width = tp.all_gather(std::span(&logits.columns, 1));
  for (std::int64_t begin = 0; begin < logits.rows; begin += block) {
    const std::int64_t rows = std::min(block, logits.rows - begin);
    piece_.resize(rows * *std::max_element(width.begin(), width.end()) * 4);
    logits_.resize(writer_ ? rows * vocab : 0);
    std::int64_t column = 0;
    for (int rank = 0; rank < tp.size(); ++rank) {
      const std::span<std::byte> bytes = std::span(piece_).first(rows * width[rank] * 4);
      if (rank == tp.rank()) {
        compute_.download(logits.row_range(begin, rows), piece_.data());
        if (!writer_) tp.send(bytes, 0, logits_tag);
      } else if (writer_) {
        tp.receive(bytes, rank, logits_tag);
      }
      if (!writer_) continue;
      const auto* from = reinterpret_cast<const float*>(piece_.data());
      for (std::int64_t row = 0; row < rows; ++row)
        std::copy_n(from + row * width[rank], width[rank], &logits_[row * vocab + column]);
      column += width[rank];
    }
    if (writer_) writer_->append("/last_logits", rows, logits_.data());
  }
}

void Collector::finite(const Tensor& flag) {
  flags_.clear();
  gather(flag, [&](const Tensor& rows) {
    const auto* flags = rows.as<std::int32_t>();
    flags_.insert(flags_.end(), flags, flags + rows.rows);
  });
  if (!writer_) return;
  auto at = flags_.begin();
  for (const model::SequenceRows& rows : batch_->rows) {
    const bool all = std::all_of(at, at + rows.count, [](std::int32_t f) { return f != 0; });
    at += rows.count;
    if (!all)
      writer_->set_status(rows.sequence, storage::SequenceStatus::not_finite,
                          "a hidden state after the last layer is not finite");
  }
}

void Collector::scores(const model::TokenScores& scores) {
  if (!writer_ || !outputs_.logprobs) return;
  timeline_.enter(base::Phase::output);
  writer_->append("/logprobs/token", batch_->num_tokens(), scores.logprob.data());
  std::int64_t row = 0;
  for (std::size_t run = 0; run < batch_->rows.size(); ++run) {
    const model::SequenceRows& rows = batch_->rows[run];
    double sum = 0;
    std::uint64_t count = 0;
    std::uint8_t is_greedy = 1;
    bool is_finite = true;
    for (std::int64_t i = 1; i < rows.count; ++i) {
      is_finite = is_finite && std::isfinite(scores.logprob[row + i]);
      if (i < score_from_[run]) continue;
      sum += static_cast<double>(scores.logprob[row + i]);
      is_greedy = is_greedy & scores.is_greedy[row + i];
      ++count;
    }
    row += rows.count;
    writer_->append("/logprobs/sum", 1, &sum);
    writer_->append("/logprobs/count", 1, &count);
    writer_->append("/logprobs/is_greedy", 1, &is_greedy);
    if (!is_finite)
      writer_->set_status(rows.sequence, storage::SequenceStatus::not_finite,
                          "a log-probability is not finite");
  }
}

void Collector::end(std::span<const storage::TimingRow> timing) {
  const std::vector<std::byte> all = topology_.cart.tp().gather_v(std::as_bytes(timing), 0);
  if (!writer_) return;
  writer_->append_timing(timing_rows_from(all));
  writer_->end();
}

}  // namespace tetrarch::engine
