// The grid's coordinates and sub-communicators, at every factorisation of the number of ranks.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/cart.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "mpi/world.hpp"

namespace tetrarch::mpi {
namespace {

using Extents = std::array<int, 4>;  // dp, pp, ep, tp

std::vector<Extents> factorisations(int size) {
  std::vector<Extents> all;
  for (int dp = 1; dp <= size; ++dp)
    for (int pp = 1; dp * pp <= size; ++pp)
      for (int ep = 1; dp * pp * ep <= size; ++ep)
        if (size % (dp * pp * ep) == 0) all.push_back({dp, pp, ep, size / (dp * pp * ep)});
  return all;
}

int rank_at(const Extents& n, const Extents& at) {
  return ((at[0] * n[1] + at[1]) * n[2] + at[2]) * n[3] + at[3];
}

/// World ranks whose coordinates equal those of `at`, except in the dimensions that are `free`; in
/// rising order.
std::vector<std::int64_t> peers(const Extents& n, const Extents& at, std::array<bool, 4> free) {
  std::vector<std::int64_t> ranks;
  for (int rank = 0; rank < n[0] * n[1] * n[2] * n[3]; ++rank) {
    const Extents other{rank / (n[1] * n[2] * n[3]), rank / (n[2] * n[3]) % n[1],
                        rank / n[3] % n[2], rank % n[3]};
    bool is_peer = true;
    for (std::size_t d = 0; d < 4; ++d)
      is_peer = is_peer && (free[d] || other[d] == at[d]);
    if (is_peer) ranks.push_back(rank);
  }
  return ranks;
}

TEST(Cart, CoordinatesAreThoseOfThePlansFormula) {
  const Communicator world = everyone();
  for (const Extents& extents : factorisations(world.size())) {
    const Cart cart(world, extents);

    EXPECT_EQ(rank_at(extents, cart.coordinates()), world.rank());
    EXPECT_EQ(cart.grid().rank(), world.rank());
    EXPECT_EQ(cart.grid().size(), world.size());
    for (std::size_t d = 0; d < 4; ++d)
      EXPECT_LT(cart.coordinates()[d], extents[d]);
  }
}

TEST(Cart, EachSubCommunicatorHoldsItsPeersInOrder) {
  const Communicator world = everyone();
  const std::int64_t mine = world.rank();
  for (const Extents& extents : factorisations(world.size())) {
    const Cart cart(world, extents);
    const Extents& at = cart.coordinates();
    const auto expect_peers = [&](const Communicator& comm, std::array<bool, 4> free) {
      EXPECT_EQ(comm.all_gather(std::span(&mine, 1)), peers(extents, at, free));
    };

    expect_peers(cart.dp(), {true, false, false, false});
    expect_peers(cart.pp(), {false, true, false, false});
    expect_peers(cart.ep(), {false, false, true, false});
    expect_peers(cart.tp(), {false, false, false, true});
    expect_peers(cart.stage(), {false, false, true, true});
    EXPECT_EQ(cart.dp().rank(), at[0]);
    EXPECT_EQ(cart.pp().rank(), at[1]);
    EXPECT_EQ(cart.ep().rank(), at[2]);
    EXPECT_EQ(cart.tp().rank(), at[3]);
    EXPECT_EQ(cart.stage().rank(), at[2] * extents[3] + at[3]);
  }
}

TEST(Cart, AGridLargerThanTheWorldIsRefused) {
  const Communicator world = everyone();

  EXPECT_THROW(Cart(world, {1, 1, 1, world.size() + 1}), base::SystemError);
}

}  // namespace
}  // namespace tetrarch::mpi
