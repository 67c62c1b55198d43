/// Embedding: token ids to the first residual stream.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// Writes the embeddings [home, D] to the residual stream. The table is sharded over tp by
/// vocabulary: each rank sends rows of its shard to the homes of their tokens. Rows are moved,
/// never added (-0 + 0 would change bits). Collective over tp.
void embed_tokens(const Context& context, const ModelShard& shard, Workspace& workspace);

}  // namespace tetrarch::model
