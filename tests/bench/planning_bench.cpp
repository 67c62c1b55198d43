// CPU seconds that make_plan takes for many sequences, and to find what would fit where it refuses.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>

#include "base/error.hpp"
#include "plan/plan.hpp"

namespace {

using namespace tetrarch::plan;

/// Lengths of 1 to 2 * mean - 1 tokens.
std::vector<SequenceLength> sequences_of(std::int64_t count, std::int64_t mean) {
  std::mt19937_64 random(1);
  std::vector<SequenceLength> sequences;
  for (std::int64_t i = 0; i < count; ++i)
    sequences.push_back({i, 1 + static_cast<std::int64_t>(random() % (2 * mean - 1))});
  return sequences;
}

void measure(const std::vector<SequenceLength>& lengths, std::int64_t tokens_per_microbatch,
             int num_ranks, std::int64_t limit_bytes) {
  RunConfig config;
  config.tokens_per_microbatch = tokens_per_microbatch;
  const std::clock_t started = std::clock();
  std::string outcome;
  try {
    const Plan plan =
        make_plan(config, preset("tetrarch-64-mini"), 4, lengths, {num_ranks, limit_bytes});
    outcome = std::to_string(plan.microbatches.size()) + " microbatches";
  } catch (const tetrarch::base::Refusal& error) {
    outcome = error.what();
    outcome = "refused: ..." + outcome.substr(outcome.size() > 90 ? outcome.size() - 90 : 0);
  }
  const double seconds = static_cast<double>(std::clock() - started) / CLOCKS_PER_SEC;
  std::printf("%9lld %6d %9lld  %8.3f  %s\n", static_cast<long long>(tokens_per_microbatch),
              num_ranks, static_cast<long long>(limit_bytes >> 20), seconds, outcome.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t count = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  const std::int64_t mean = argc > 2 ? std::atoll(argv[2]) : 1000;
  const auto lengths = sequences_of(count, mean);
  std::printf("%lld sequences of %lld tokens on average\n%9s %6s %9s  %8s\n",
              static_cast<long long>(count), static_cast<long long>(mean), "N", "ranks",
              "limit MiB", "seconds");
  for (const int num_ranks : {1, 64})
    for (const std::int64_t tokens : {64, 8192, 65536})
      measure(lengths, tokens, num_ranks, 0);
  measure(lengths, 65536, 1, std::int64_t{300} << 20);
  measure(lengths, 65536, 64, std::int64_t{16} << 20);
  measure(lengths, 65536, 64, std::int64_t{3} << 20);
}
