// SPDX-License-Identifier: Apache-2.0
#include "emulated/settings.hpp"

#include <cstdlib>

namespace tetrarch::emulated {
namespace {

struct Random {
  std::uint64_t state = 1;
  int eagerness = 30;

  std::uint32_t next() {  // xorshift64, Marsaglia 2003
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<std::uint32_t>(state >> 16);
  }
  void seed(std::uint64_t seed) {
    state = seed * 0x9E3779B97F4A7C15u + 0x1234567;
    for (int i = 0; i < 8; ++i)
      next();
    constexpr int choices[] = {30, 0, 100};
    eagerness = choices[seed % 3];
  }
};

std::uint64_t number_in_environment(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : 0;
}

std::uint64_t first_seed() {
  const std::uint64_t rank =
      number_in_environment("OMPI_COMM_WORLD_RANK") + number_in_environment("PMI_RANK");
  return number_in_environment("TETRARCH_EMULATED_SEED") + 7919 * rank;
}

Random& random_numbers() {
  static Random random = [] {
    Random made;
    made.seed(first_seed());
    return made;
  }();
  return random;
}

}  // namespace

Options& options() {
  static Options options;
  return options;
}

Counters& counters() {
  static Counters counters;
  return counters;
}

void set_seed(std::uint64_t seed) {
  random_numbers().seed(seed);
}

std::uint32_t draw(std::uint32_t bound) {
  return random_numbers().next() % bound;
}

bool draw_eager() {
  const int set = options().eagerness;
  const int eagerness = set >= 0 ? set : random_numbers().eagerness;
  return static_cast<int>(draw(100)) < eagerness;
}

}  // namespace tetrarch::emulated
