// Collectives on rows. The bits of their sums do not depend on the number of ranks.
// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include <gtest/gtest.h>

#include "backend/arrays.hpp"
#include "backend/cpu/backend.hpp"
#include "backend/cpu/kernels/testing.hpp"
#include "mpi/row_exchange_testing.hpp"
#include "mpi/session.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

struct Kind {
  DType dtype;
  std::int64_t piece_bytes;
};
constexpr std::int64_t usual_piece_bytes = std::int64_t{16} << 20;

class Collectives : public ::testing::TestWithParam<Kind> {
 protected:
  Collectives()
      : world_(MPI_COMM_WORLD_copy()), backend_(make_cpu_backend(world_, 1)), comm_(everyone()) {
    mpi::testing::set_piece_bytes(::testing::TestWithParam<Kind>::GetParam().piece_bytes);
  }
  ~Collectives() override { mpi::testing::set_piece_bytes(usual_piece_bytes); }

  static DType GetParam() { return ::testing::TestWithParam<Kind>::GetParam().dtype; }

  static mpi::Communicator MPI_COMM_WORLD_copy() {
    MPI_Comm copy = MPI_COMM_NULL;
    mpi::check(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
    return mpi::Communicator(copy);
  }
  std::unique_ptr<Communicator> everyone() {
    std::vector<int> ranks(static_cast<std::size_t>(world_.size()));
    std::iota(ranks.begin(), ranks.end(), 0);
    return backend_->make_communicator(ranks, "tp");
  }
  int size() const { return world_.size(); }
  int rank() const { return world_.rank(); }

  mpi::Communicator world_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> comm_;
};
// With the usual piece size, all rows go in one piece; with 8 bytes, each row is a piece.
INSTANTIATE_TEST_SUITE_P(Kinds, Collectives,
                         ::testing::Values(Kind{DType::f32, usual_piece_bytes},
                                           Kind{DType::bf16, usual_piece_bytes},
                                           Kind{DType::f32, 8}, Kind{DType::bf16, 8}),
                         [](const auto& test) {
                           return std::string(base::name_of(test.param.dtype)) +
                                  (test.param.piece_bytes == 8 ? "_row_by_row" : "");
                         });

/// The number of rows of each rank: r for rank r if `is_ragged` (so rank 0 has none), else 3.
std::vector<std::int64_t> row_counts(int size, bool is_ragged) {
  std::vector<std::int64_t> counts;
  for (int r = 0; r < size; ++r)
    counts.push_back(is_ragged ? r : 3);
  return counts;
}

TEST_P(Collectives, KnowTheirRanks) {
  EXPECT_EQ(comm_->rank(), rank());
  EXPECT_EQ(comm_->size(), size());
}

TEST_P(Collectives, AllGatherPutsRowsInRankOrder) {
  for (const bool is_ragged : {false, true}) {
    const auto counts = row_counts(size(), is_ragged);
    const auto total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    const auto own = counts[static_cast<std::size_t>(rank())];
    const auto send = Array::random(GetParam(), own, 5, static_cast<std::uint32_t>(rank() + 1));
    Array receive(GetParam(), total, 5);

    comm_->all_gather_v(send, counts, receive);

    std::int64_t first = 0;
    for (int r = 0; r < size(); ++r) {
      const auto count = counts[static_cast<std::size_t>(r)];
      const auto expected = Array::random(GetParam(), count, 5, static_cast<std::uint32_t>(r + 1));
      EXPECT_TRUE(has_same_bits(receive.tensor().row_range(first, count), expected));
      first += count;
    }
  }
}

TEST_P(Collectives, EachPieceIsASignOfLife) {
  const auto send = Array::random(GetParam(), 100, 4, 1);
  Array receive(GetParam(), 100 * size(), 4);
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), 100);
  const std::uint64_t before = base::flight_recorder().status().events;

  comm_->all_gather_v(send, counts, receive);

  const std::uint64_t events = base::flight_recorder().status().events - before;
  const bool is_cut = ::testing::TestWithParam<Kind>::GetParam().piece_bytes == 8;
  if (size() > 1) {
    EXPECT_EQ(events >= 100, is_cut) << events;
  }
}

TEST_P(Collectives, AllToAllSendsEachPeerItsRows) {
  // rank r sends r + p rows of the value 10 r + p to rank p, with a gap of one row between peers
  std::vector<std::int64_t> send_count, send_offset, receive_count, receive_offset;
  std::int64_t sent = 0, received = 0;
  for (int p = 0; p < size(); ++p) {
    send_count.push_back(rank() + p);
    send_offset.push_back(sent);
    sent += rank() + p + 1;
    receive_count.push_back(p + rank());
    receive_offset.push_back(received);
    received += p + rank() + 1;
  }
  Array send(GetParam(), sent, 3), receive(GetParam(), received, 3);
  for (std::size_t p = 0; p < send_count.size(); ++p)
    for (std::int64_t i = 0; i < send_count[p] * 3; ++i)
      send.set(send_offset[p] * 3 + i, static_cast<float>(10 * rank()) + static_cast<float>(p));

  comm_->all_to_all_v(send, send_count, send_offset, receive, receive_count, receive_offset);

  for (std::size_t p = 0; p < send_count.size(); ++p) {
    for (std::int64_t i = 0; i < receive_count[p] * 3; ++i)
      EXPECT_EQ(receive[receive_offset[p] * 3 + i],
                static_cast<float>(10 * p) + static_cast<float>(rank()));
    for (std::int64_t c = 0; c < 3; ++c)
      EXPECT_EQ(receive.at(receive_offset[p] + receive_count[p], c), 0);
  }
}

struct Reduction {
  std::int64_t rows, own, first;
  std::vector<std::int64_t> counts;
  Array slices, residual, out;
};

/// Reduces V = 4 slices of all rows, of which each rank has its part. The values are the same for
/// every number of ranks.
Reduction reduce(Communicator& comm, DType dtype, bool is_ragged, bool has_index,
                 bool has_residual) {
  const std::int64_t width = 21, V = 4, local = V / comm.size();
  const auto rank = static_cast<std::size_t>(comm.rank());
  std::vector<std::int64_t> counts;
  for (int r = 0; r < comm.size(); ++r)
    counts.push_back(is_ragged ? (r == 0 ? 0 : 12 * r) : 24 / comm.size());
  if (is_ragged && comm.size() == 1) counts = {24};
  const auto rows = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const auto first = std::accumulate(counts.begin(), counts.begin() + comm.rank(), std::int64_t{0});
  Reduction r{rows,
              counts[rank],
              first,
              counts,
              Array::random(dtype, rows, width, 5, 2, V),
              Array::random(dtype, rows, width, 6, 2),
              Array(dtype, counts[rank], width)};
  Array partial(dtype, rows, width, local), staging(dtype, rows, width),
      received(dtype, r.own, width, V);
  std::memcpy(partial.tensor().data, r.slices.tensor().slice(comm.rank() * local).data,
              static_cast<std::size_t>(partial.tensor().bytes()));
  std::vector<std::int32_t> reversed;
  for (std::int64_t i = 0; i < rows; ++i)
    reversed.push_back(static_cast<std::int32_t>(rows - 1 - i));
  const auto index = Array::of_ints(rows, 1, reversed);
  ReduceScatter call;
  call.partial = partial;
  call.row_count = r.counts;
  if (has_index) call.index = index;
  if (has_residual) call.residual = r.residual.tensor().row_range(r.first, r.own);
  call.out = r.out;
  call.send_staging = staging;
  call.received = received;
  comm.tree_reduce_scatter_v(call);
  return r;
}

float tree_at(const Reduction& r, std::int64_t row, std::int64_t c) {
  const std::int64_t slice = r.rows * 21, at = row * 21 + c;
  return (r.slices[at] + r.slices[slice + at]) +
         (r.slices[2 * slice + at] + r.slices[3 * slice + at]);
}

float running_sum_at(const Reduction& r, std::int64_t row, std::int64_t c, DType dtype) {
  float sum = 0;
  for (std::int64_t slice = 0; slice < 4; ++slice)
    sum = rounded(sum + r.slices[(slice * r.rows + row) * 21 + c], dtype);
  return sum;
}

TEST_P(Collectives, TreeReduceHasTheBitsOfTheTreeOnAnyNumberOfRanks) {
  for (const bool is_ragged : {false, true})
    for (const bool has_index : {false, true})
      for (const bool has_residual : {false, true}) {
        const Reduction r = reduce(*comm_, GetParam(), is_ragged, has_index, has_residual);

        for (std::int64_t i = 0; i < r.own; ++i)
          for (std::int64_t c = 0; c < 21; ++c) {
            const std::int64_t row = has_index ? r.rows - 1 - r.first - i : r.first + i;
            const float tree = tree_at(r, row, c);
            const float sum = has_residual ? r.residual.at(r.first + i, c) + tree : tree;
            EXPECT_EQ(r.out.at(i, c), rounded(sum, GetParam()));
          }
      }
}

TEST_P(Collectives, APlainSumKnowsTheNumberOfRanks) {
  testing::set_plain_reduction(true);
  const Reduction r = reduce(*comm_, GetParam(), false, false, false);
  testing::set_plain_reduction(false);

  // one rank adds s0, s1, s2, s3 in order; this differs from the tree and from what more ranks do
  std::int64_t differences = 0;
  for (std::int64_t i = 0; i < r.own; ++i)
    for (std::int64_t c = 0; c < 21; ++c) {
      const std::int64_t row = r.first + i;
      const float expected = size() == 1 ? rounded(tree_at(r, row, c), GetParam())
                                         : running_sum_at(r, row, c, GetParam());
      differences += r.out.at(i, c) != expected;
    }
  EXPECT_GT(world_.sum(differences), 0);
}

TEST_P(Collectives, SendAndReceiveCarryBits) {
  const auto expected = Array::random(GetParam(), 40, 7, 3);
  Array received(GetParam(), 40, 7);
  if (size() == 1) return;  // a rank sends nothing to itself

  if (rank() == 0) comm_->send(expected, size() - 1);
  if (rank() == size() - 1) {
    comm_->receive(received, 0);
    EXPECT_TRUE(has_same_bits(received, expected));
  }
}

TEST_P(Collectives, SubsetsSpeakInTheirOwnOrder) {
  std::vector<int> backwards;
  for (int r = size() - 1; r >= 0; --r)
    backwards.push_back(r);
  const auto comm = backend_->make_communicator(backwards, "backwards");
  const std::vector<std::int64_t> one(static_cast<std::size_t>(size()), 1);
  const auto send = Array::of_floats(GetParam(), 1, 1, {static_cast<float>(rank())});
  Array receive(GetParam(), size(), 1);

  comm->all_gather_v(send, one, receive);

  EXPECT_EQ(comm->rank(), size() - 1 - rank());
  for (int r = 0; r < size(); ++r)
    EXPECT_EQ(receive[r], static_cast<float>(size() - 1 - r));
}

TEST_P(Collectives, NoRowsAnywhereIsACallLikeOthers) {
  const std::vector<std::int64_t> none(static_cast<std::size_t>(size()), 0);
  const Array nothing(GetParam(), 0, 9);

  EXPECT_NO_THROW(comm_->all_gather_v(nothing, none, nothing));
  EXPECT_NO_THROW(comm_->all_to_all_v(nothing, none, none, nothing, none, none));
}

TEST_P(Collectives, TheBackendSaysWhatItIs) {
  backend_->prepare(GetParam(), std::vector<WholeWeight>{{64, 32, 4}});

  EXPECT_EQ(backend_->name(), "cpu");
  EXPECT_EQ(backend_->num_threads(), 1);
  EXPECT_TRUE(backend_->identity().starts_with("cpu ")) << backend_->identity();
  EXPECT_NE(backend_->description().find(onednn_version()), std::string::npos);
}

TEST_P(Collectives, MemoryIsZeroedAlignedAndRefusedByName) {
  const Buffer buffer = backend_->allocate(1000), empty = backend_->allocate(0);

  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 64, 0u);
  EXPECT_EQ(buffer->bytes(), 1000);
  EXPECT_NE(empty->data(), nullptr);
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(static_cast<char*>(buffer->data())[i], 0);
  try {
    backend_->allocate(std::int64_t{1} << 60);
    ADD_FAILURE() << "an exabyte was given";
  } catch (const base::SystemError& error) {
    EXPECT_EQ(error.code(), base::ExitCode::resources);
    EXPECT_NE(std::string(error.what()).find("1152921504606846976 bytes"), std::string::npos);
  }
}

}  // namespace
}  // namespace tetrarch::backend::cpu
