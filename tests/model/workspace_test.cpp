// Buffers of their planned sizes, and the residual stream that alternates between two buffers.
// SPDX-License-Identifier: Apache-2.0
#include "model/workspace.hpp"

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

using plan::BufferName;

struct WorkspaceTest : backend::EachBackend {
  Stage stage{small_spec(), {}};
  plan::MemoryPlan plan = stage.memory({11}, 2.0);
  Workspace workspace{plan, *stage.backend};
};
INSTANTIATE_TEST_SUITE_P(Backends, WorkspaceTest, backend::at_hand(), backend::name_of_param);

TEST_P(WorkspaceTest, BuffersLieSideBySideInOrder) {
  const auto* next = static_cast<std::byte*>(nullptr);
  for (const plan::BufferPlan& buffer : plan.workspace) {
    const auto* at = static_cast<std::byte*>(
        workspace.tensor(buffer.name, base::DType::u8, 1, buffer.bytes, 1).data);
    if (next != nullptr) {
      EXPECT_EQ(at, next) << plan::name_of(buffer.name);
    }
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(at) % 64, 0u) << plan::name_of(buffer.name);
    next = at + buffer.bytes;
  }
}

TEST_P(WorkspaceTest, AViewBeyondThePlanIsRefused) {
  for (const plan::BufferPlan& buffer : plan.workspace)
    EXPECT_THROW(workspace.tensor(buffer.name, base::DType::u8, 1, buffer.bytes + 1, 1),
                 base::InternalError)
        << plan::name_of(buffer.name);
}

TEST_P(WorkspaceTest, TheResidualStreamChangesSides) {
  PassRows pass_rows = pass_rows_of({11}, std::vector<std::int32_t>(11));
  begin(stage, pass_rows, workspace);
  const void* first = workspace.residual().data;
  const void* second = workspace.residual_next().data;

  workspace.advance();

  EXPECT_NE(first, second);
  EXPECT_EQ(workspace.residual().data, second);
  EXPECT_EQ(workspace.residual_next().data, first);
  EXPECT_EQ(workspace.residual().rows, 11);
  EXPECT_EQ(workspace.residual().columns, 16);
}

TEST_P(WorkspaceTest, HomesAreEvenPartsOfTheTokens) {
  PassRows pass_rows = pass_rows_of({7}, std::vector<std::int32_t>(7));

  spread_evenly(pass_rows, 4);
  workspace.begin(pass_rows, 16, base::DType::f32, 2);

  EXPECT_EQ(workspace.home_count(), (std::vector<std::int64_t>{1, 2, 2, 2}));
  EXPECT_EQ(workspace.home(), (plan::Range{3, 5}));
  EXPECT_EQ(workspace.residual().rows, 2);
  EXPECT_EQ(workspace.pass_rows().num_tokens(), 7);
}

TEST_P(WorkspaceTest, RoundAndChunkAreThePlans) {
  EXPECT_EQ(workspace.round_rows(), plan.round_rows);
  EXPECT_EQ(workspace.head_chunk(), plan.head_chunk);
}

}  // namespace
}  // namespace tetrarch::model
