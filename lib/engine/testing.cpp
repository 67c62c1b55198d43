// SPDX-License-Identifier: Apache-2.0
#include "engine/testing.hpp"

#include <chrono>
#include <thread>

namespace tetrarch::engine::testing {
namespace {

int slow_instance = -1;
double slow_seconds = 0;

}  // namespace

void set_slow_instance(int dp, double seconds) {
  slow_instance = dp;
  slow_seconds = seconds;
}

void delay(int dp) {
  if (dp == slow_instance) std::this_thread::sleep_for(std::chrono::duration<double>(slow_seconds));
}

}  // namespace tetrarch::engine::testing
