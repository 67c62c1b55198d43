/// Token ids -> the first residual stream.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// The table is sharded over tp by vocabulary; each rank sends the rows that it has to the homes of
/// their tokens. Rows move by selection, never through a sum.
/// Collective over tp. Leaves [home, D] in the residual stream.
void embed_tokens(const Context& context, const ModelShard& shard, Workspace& workspace);

}  // namespace tetrarch::model
