/// Helpers for the tests of lib/plan.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::plan::test {

/// The message of the Refusal that `act` throws. The test fails when `act` throws none, or one
/// with another code.
inline std::string refusal(base::ExitCode code, const std::function<void()>& act) {
  try {
    act();
  } catch (const base::Refusal& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

inline void expect_says(const std::string& message, const std::string& words) {
  EXPECT_NE(message.find(words), std::string::npos)
      << "expected \"" << words << "\" in: " << message;
}

/// The preset tiny with other numbers of heads; head_size stays 8.
inline ModelSpec with_heads(std::int64_t num_heads, std::int64_t num_kv_heads) {
  ModelSpec spec = preset("tiny");
  spec.num_heads = num_heads;
  spec.num_kv_heads = num_kv_heads;
  return spec;
}

}  // namespace tetrarch::plan::test
