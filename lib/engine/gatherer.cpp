// SPDX-License-Identifier: Apache-2.0
#include "engine/gatherer.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace tetrarch::engine {

using backend::Tensor;

namespace {

constexpr int rows_tag = 1, size_tag = 2, bytes_tag = 3;
// timing rows, counts and places of non-finite values
constexpr std::int64_t most_other_bytes = 1 << 20;

std::int64_t rows_of_piece(std::int64_t row_bytes) {
  return std::max<std::int64_t>(1, Gatherer::piece_bytes / row_bytes);
}

}  // namespace

Gatherer::Gatherer(const Topology& topology, backend::Compute& compute, base::Timeline& timeline,
                   std::int64_t outbox_bytes)
    : topology_(topology),
      compute_(compute),
      timeline_(timeline),
      outbox_(topology.cart.grid(), outbox_bytes + most_other_bytes) {}

int Gatherer::rank_of(int stage, int tp_rank) const {
  return plan::rank_of(topology_.grid, {topology_.place.dp, stage, topology_.place.ep, tp_rank});
}

void Gatherer::receive(int from, std::span<std::byte> bytes, int tag) {
  const base::During waiting(timeline_, base::Activity::waiting);
  topology_.cart.grid().receive(bytes, from, tag);
}

void Gatherer::post_piece(const Tensor& rows) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows.bytes()));
  compute_.download(rows, bytes.data());
  timeline_.add_bytes(bytes.size());
  outbox_.post(std::move(bytes), topology_.writer_rank(), rows_tag);
}

void Gatherer::post_rows(const Tensor& home) {
  const std::int64_t step = rows_of_piece(home.row_bytes());
  for (std::int64_t row = 0; row < home.rows; row += step)
    post_piece(home.row_range(row, std::min(step, home.rows - row)));
}

void Gatherer::post_columns(const Tensor& columns, std::int64_t full_columns) {
  const std::int64_t step = rows_of_piece(full_columns * base::size_of(columns.dtype));
  for (std::int64_t row = 0; row < columns.rows; row += step)
    post_piece(columns.row_range(row, std::min(step, columns.rows - row)));
}

void Gatherer::post_bytes(std::span<const std::byte> bytes) {
  const std::uint64_t size = bytes.size();
  const auto* at = reinterpret_cast<const std::byte*>(&size);
  outbox_.post({at, at + sizeof size}, topology_.writer_rank(), size_tag);
  if (size > 0) outbox_.post({bytes.begin(), bytes.end()}, topology_.writer_rank(), bytes_tag);
}

void Gatherer::take_rows(int stage, const model::PassRows& pass, const Tensor& like,
                         const Tensor* own, const Take& take) {
  const std::int64_t step = rows_of_piece(like.row_bytes());
  for (int tp_rank = 0; tp_rank < topology_.grid.tp; ++tp_rank) {
    const plan::Range home = pass.home(tp_rank);
    const bool is_own = own != nullptr && tp_rank == topology_.place.tp;
    for (std::int64_t row = 0; row < home.size(); row += step) {
      const std::int64_t count = std::min(step, home.size() - row);
      piece_.resize(static_cast<std::size_t>(count * like.row_bytes()));
      if (is_own) {
        compute_.download(own->row_range(row, count), piece_.data());
      } else {
        receive(rank_of(stage, tp_rank), piece_, rows_tag);
        timeline_.add_bytes(piece_.size());
      }
      take(home.begin + row, {piece_.data(), like.dtype, 1, count, like.columns});
    }
  }
}

void Gatherer::take_columns(int stage, std::int64_t num_rows, base::DType dtype,
                            std::span<const std::int64_t> width, const Tensor* own,
                            const Take& take) {
  const std::int64_t columns = std::accumulate(width.begin(), width.end(), std::int64_t{0});
  const std::int64_t size = base::size_of(dtype), step = rows_of_piece(columns * size);
  for (std::int64_t row = 0; row < num_rows; row += step) {
    const std::int64_t count = std::min(step, num_rows - row);
    full_.resize(static_cast<std::size_t>(count * columns * size));
    std::byte* to = full_.data();
    for (int tp_rank = 0; tp_rank < topology_.grid.tp; ++tp_rank) {
      const std::int64_t bytes = width[tp_rank] * size;
      if (bytes == 0) continue;
      piece_.resize(static_cast<std::size_t>(count * bytes));
      if (own != nullptr && tp_rank == topology_.place.tp) {
        compute_.download(own->row_range(row, count), piece_.data());
      } else {
        receive(rank_of(stage, tp_rank), piece_, rows_tag);
        timeline_.add_bytes(piece_.size());
      }
      for (std::int64_t i = 0; i < count; ++i)
        std::memcpy(to + i * columns * size, piece_.data() + i * bytes,
                    static_cast<std::size_t>(bytes));
      to += bytes;
    }
    take(row, {full_.data(), dtype, 1, count, columns});
  }
}

std::vector<std::byte> Gatherer::take_bytes(int stage, int tp_rank) {
  std::uint64_t size = 0;
  const int source = rank_of(stage, tp_rank);
  receive(source, std::as_writable_bytes(std::span(&size, 1)), size_tag);
  std::vector<std::byte> bytes(size);
  if (size > 0) receive(source, bytes, bytes_tag);
  return bytes;
}

}  // namespace tetrarch::engine
