// Microbatches depend on the lengths alone; their sequences are assigned to EP ranks by cost.
// SPDX-License-Identifier: Apache-2.0
#include "plan/schedule.hpp"

#include <algorithm>
#include <random>

#include "support.hpp"

namespace tetrarch::plan {
namespace {

std::vector<SequenceLength> of_lengths(const std::vector<std::int64_t>& lengths) {
  std::vector<SequenceLength> sequences;
  for (const std::int64_t length : lengths)
    sequences.push_back({static_cast<std::int64_t>(sequences.size()), length});
  return sequences;
}

std::vector<SequenceLength> random_lengths(std::size_t count, std::int64_t longest) {
  std::mt19937 random(7);
  std::vector<std::int64_t> lengths(count);
  for (std::int64_t& length : lengths)
    length = 1 + static_cast<std::int64_t>(random()) % longest;
  return of_lengths(lengths);
}

Microbatch microbatch_of(const std::vector<SequenceLength>& sequences) {
  Microbatch microbatch{sequences, 0};
  for (const SequenceLength& sequence : sequences)
    microbatch.num_tokens += sequence.length;
  return microbatch;
}

std::vector<std::vector<std::int64_t>> lengths_of(const std::vector<Microbatch>& microbatches) {
  std::vector<std::vector<std::int64_t>> lengths;
  for (const Microbatch& microbatch : microbatches) {
    lengths.emplace_back();
    for (const SequenceLength& sequence : microbatch.sequences)
      lengths.back().push_back(sequence.length);
  }
  return lengths;
}

TEST(Schedule, AMicrobatchClosesBeforeItWouldExceedItsTokens) {
  const auto lengths = of_lengths({4, 6, 1, 10, 9, 1, 1});
  const auto microbatches = make_microbatches(lengths, 10);

  using Lengths = std::vector<std::vector<std::int64_t>>;
  EXPECT_EQ(lengths_of(microbatches), (Lengths{{4, 6}, {1}, {10}, {9, 1}, {1}}));
}

TEST(Schedule, ALongerSequenceIsAMicrobatchOfItsOwn) {
  const auto lengths = of_lengths({3, 25, 3, 30});
  const auto microbatches = make_microbatches(lengths, 10);

  using Lengths = std::vector<std::vector<std::int64_t>>;
  EXPECT_EQ(lengths_of(microbatches), (Lengths{{3}, {25}, {3}, {30}}));
}

TEST(Schedule, EverySequenceIsInOneMicrobatchInInputOrder) {
  const auto sequences = random_lengths(1000, 300);

  const auto microbatches = make_microbatches(sequences, 512);

  std::int64_t next = 0;
  for (const Microbatch& microbatch : microbatches) {
    std::int64_t tokens = 0;
    for (const SequenceLength& sequence : microbatch.sequences) {
      EXPECT_EQ(sequence.sequence, next++);
      tokens += sequence.length;
    }
    EXPECT_EQ(tokens, microbatch.num_tokens);
    EXPECT_LE(tokens, 512);
  }
  EXPECT_EQ(next, 1000);
}

TEST(Schedule, NoSequencesMakeNoMicrobatch) {
  EXPECT_TRUE(make_microbatches({}, 10).empty());
}

TEST(Schedule, EveryEpRankSetCoversEachSequenceOnceInInputOrder) {
  const auto lengths = random_lengths(100, 50);
  const Microbatch microbatch = microbatch_of(lengths);
  for (const int ep : {1, 2, 3, 16, 128}) {
    const auto parts = assign_to_ep(microbatch, ep, 10, 1);

    std::vector<int> seen(100, 0);
    EXPECT_EQ(parts.size(), static_cast<std::size_t>(ep));
    for (const auto& part : parts) {
      for (const SequenceLength& sequence : part)
        ++seen[static_cast<std::size_t>(sequence.sequence)];
      EXPECT_TRUE(std::is_sorted(part.begin(), part.end(), [](const auto& a, const auto& b) {
        return a.sequence < b.sequence;
      }));
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 100);
  }
}

TEST(Schedule, LongestFirstGoesToTheLeastLoadedRank) {
  // By linear cost alone: 8 goes to rank 0, 7 to rank 1, 6 to rank 1 (load 7), 5 to rank 0 (load
  // 8), and 4 to rank 0, because both loads are 13.
  const auto parts = assign_to_ep(microbatch_of(of_lengths({4, 5, 6, 7, 8})), 2, 1, 0);

  using Lengths = std::vector<std::vector<std::int64_t>>;
  Lengths lengths;
  for (const auto& part : parts) {
    lengths.emplace_back();
    for (const SequenceLength& sequence : part)
      lengths.back().push_back(sequence.length);
  }
  EXPECT_EQ(lengths, (Lengths{{4, 5, 8}, {6, 7}}));
}

TEST(Schedule, CostsDecideWhoIsLoaded) {
  const auto lengths = of_lengths({10, 5, 5, 2});
  const Microbatch microbatch = microbatch_of(lengths);

  const auto linear = assign_to_ep(microbatch, 2, 1, 0);
  const auto quadratic = assign_to_ep(microbatch, 2, 0, 1);

  EXPECT_EQ(linear[0].size(), 2u);     // lengths 10 and 2 | 5 and 5
  EXPECT_EQ(quadratic[0].size(), 1u);  // length 10 (55 pairs) | 5, 5 and 2 (33 pairs)
}

TEST(Schedule, LoadsDifferByNoMoreThanTheLongestSequence) {
  const auto lengths = random_lengths(2000, 400);
  const Microbatch microbatch = microbatch_of(lengths);
  const double linear = 100, quadratic = 1;
  const auto cost = [&](double length) {
    return length * linear + length * (length + 1) / 2 * quadratic;
  };

  const auto parts = assign_to_ep(microbatch, 16, linear, quadratic);

  double least = 1e300, most = 0;
  for (const auto& part : parts) {
    double load = 0;
    for (const SequenceLength& sequence : part)
      load += cost(static_cast<double>(sequence.length));
    least = std::min(least, load);
    most = std::max(most, load);
  }
  EXPECT_LE(most - least, cost(400));
  EXPECT_LT(most, 1.01 * least);
}

TEST(Schedule, ExtentsAreTheLargestParts) {
  const auto lengths = of_lengths({10, 3, 3, 3, 7});
  const auto microbatches = make_microbatches(lengths, 19);

  const Extents one = extents_of(microbatches, preset("tiny"), Grid{1, 1, 1, 4}, 100);
  const Extents two = extents_of(microbatches, preset("tiny"), Grid{1, 1, 2, 4}, 100);

  EXPECT_EQ(one.max_microbatch_tokens, 19);
  EXPECT_EQ(one.max_pass_tokens, 19);
  EXPECT_EQ(one.max_home_tokens, 5);
  EXPECT_EQ(one.max_cache_tokens, 0);
  EXPECT_EQ(one.max_sequence_length, 10);
  EXPECT_EQ(two.max_microbatch_tokens, 19);
  EXPECT_EQ(two.max_pass_tokens, 10);  // lengths 10 | 3, 3 and 3
  EXPECT_EQ(two.max_home_tokens, 3);
}

TEST(Schedule, ExtentsBoundTheHomeOfEveryTpRank) {
  const auto lengths = random_lengths(200, 50);
  const auto microbatches = make_microbatches(lengths, 333);
  const ModelSpec spec = preset("tiny");
  const Grid grid{1, 1, 4, 4};
  const Extents extents = extents_of(microbatches, spec, grid, 1000);
  std::int64_t largest_home = 0;
  for (const Microbatch& microbatch : microbatches)
    for (const auto& part :
         assign_to_ep(microbatch, grid.ep, linear_cost(spec), quadratic_cost(spec))) {
      const std::int64_t tokens = microbatch_of(part).num_tokens;
      for (int rank = 0; rank < grid.tp; ++rank)
        largest_home = std::max(largest_home, even_range(tokens, grid.tp, rank).size());
    }

  EXPECT_EQ(extents.max_home_tokens, largest_home);
}

TEST(Schedule, PassesTakeTheChunksOfEachSequenceInTurn) {
  const auto sequences = of_lengths({10, 3, 8, 4});
  const auto counts = [&](std::int64_t pass) {
    std::vector<std::int64_t> all;
    for (const SequenceSpan& span : spans_of_pass(sequences, 4, pass)) {
      EXPECT_EQ(span.first, 4 * pass);
      all.push_back(span.count);
    }
    return all;
  };

  EXPECT_EQ(num_passes(sequences, 4), 3);
  EXPECT_EQ(num_passes(sequences, 10), 1);
  EXPECT_EQ(num_passes({}, 4), 0);
  EXPECT_EQ(counts(0), (std::vector<std::int64_t>{4, 3, 4, 4}));
  EXPECT_EQ(counts(1), (std::vector<std::int64_t>{4, 4}));
  EXPECT_EQ(counts(2), (std::vector<std::int64_t>{2}));
  EXPECT_TRUE(spans_of_pass(sequences, 4, 2)[0].is_last());
  EXPECT_FALSE(spans_of_pass(sequences, 4, 1)[0].is_last());
}

TEST(Schedule, ExtentsWithChunksAreThoseOfThePasses) {
  const auto lengths = of_lengths({10, 3, 8, 4});
  const auto microbatches = make_microbatches(lengths, 100);

  const Extents extents = extents_of(microbatches, preset("tiny"), Grid{}, 4);

  EXPECT_EQ(extents.max_microbatch_tokens, 15);
  EXPECT_EQ(extents.max_pass_tokens, 15);
  EXPECT_EQ(extents.max_cache_tokens, 18);  // the two sequences that are longer than a chunk
  EXPECT_EQ(extents.num_chunked, 2);
  EXPECT_EQ(extents.max_sequence_length, 10);
}

TEST(Schedule, ExtentsAreThoseOfThePassesForEveryChunk) {
  const auto lengths = random_lengths(60, 40);
  const auto microbatches = make_microbatches(lengths, 300);
  const ModelSpec spec = preset("tiny");
  for (const std::int64_t chunk : {1, 2, 7, 39, 40, 41, 1000})
    for (const int ep : {1, 3}) {
      std::int64_t part_tokens = 0, all_tokens = 0;
      for (const Microbatch& microbatch : microbatches) {
        const auto parts = assign_to_ep(microbatch, ep, linear_cost(spec), quadratic_cost(spec));
        for (std::int64_t pass = 0; pass < num_passes(microbatch.sequences, chunk); ++pass) {
          std::int64_t all = 0;
          for (const auto& part : parts) {
            std::int64_t tokens = 0;
            for (const SequenceSpan& span : spans_of_pass(part, chunk, pass))
              tokens += span.count;
            part_tokens = std::max(part_tokens, tokens);
            all += tokens;
          }
          all_tokens = std::max(all_tokens, all);
        }
      }

      const Extents extents = extents_of(microbatches, spec, Grid{1, 1, ep, 1}, chunk);

      EXPECT_EQ(extents.max_pass_tokens, part_tokens) << chunk;
      EXPECT_EQ(extents.max_microbatch_tokens, all_tokens) << chunk;
    }
}

TEST(Schedule, CostsOfTheModelAreItsFlops) {
  const ModelSpec spec = preset("tiny");

  // q, k, v, o; the router; a quarter of the head, as there are 4 layers
  EXPECT_EQ(linear_cost(spec), 2.0 * 64 * (64 + 32 + 32 + 64) + 2.0 * 64 * 16 + 2.0 * 64 * 512 / 4);
  EXPECT_EQ(quadratic_cost(spec), 2.0 * 2 * 64);
}

}  // namespace
}  // namespace tetrarch::plan
