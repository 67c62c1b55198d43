// SPDX-License-Identifier: Apache-2.0
#include "model/embedding.hpp"

#include "model/row_operations.hpp"

namespace tetrarch::model {

using plan::BufferName;

namespace {

/// The end of the token ids whose embeddings each tp rank holds.
std::vector<std::int64_t> vocabulary_ends(const Context& context) {
  const int tp = context.tp.size();
  const std::int64_t vocab = context.spec.vocab_size, shards = context.reduction_shards;
  std::vector<std::int64_t> ends;
  for (int rank = 0; rank < tp; ++rank)
    ends.push_back(plan::even_range(vocab, shards, (rank + 1) * (shards / tp) - 1).end);
  return ends;
}

/// The tp rank that holds the embedding of a token id.
int owner_of(std::span<const std::int64_t> ends, std::int32_t token) {
  for (int rank = 0; rank < std::ssize(ends); ++rank)
    if (token >= 0 && token < ends[rank]) return rank;
  throw base::InternalError("a token id below the vocabulary size");
}

}  // namespace

void embed_tokens(const Context& context, const ModelShard& shard, Workspace& workspace) {
  const int tp = context.tp.size(), tp_rank = context.tp.rank();
  const PassRows& pass_rows = workspace.pass_rows();
  const backend::Tensor residual = workspace.residual();
  if (tp == 1) {
    select(context, workspace, shard.embed.tensor, pass_rows.token, residual);
    return;
  }

  // Every rank knows all token ids of the pass. So it can compute all row counts without
  // communication.
  std::vector<std::int32_t> mine;  // the rows of this rank's table to send, in order of their homes
  std::vector<std::int64_t> send_count(tp, 0), send_offset(tp, 0);
  std::vector<std::int64_t> receive_count(tp, 0), receive_offset(tp, 0);
  std::vector<std::vector<std::int32_t>> from_owner(tp);  // this rank's home rows, by owner
  const std::vector<std::int64_t> ends = vocabulary_ends(context);
  for (int home = 0; home < tp; ++home) {
    const plan::Range rows = pass_rows.home(home);
    send_offset[home] = static_cast<std::int64_t>(mine.size());
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const int owner = owner_of(ends, pass_rows.token[row]);
      if (owner == tp_rank)
        mine.push_back(pass_rows.token[row] -
                       static_cast<std::int32_t>(context.local.vocab.front().begin));
      if (home == tp_rank) from_owner[owner].push_back(static_cast<std::int32_t>(row - rows.begin));
    }
    send_count[home] = static_cast<std::int64_t>(mine.size()) - send_offset[home];
  }
  std::vector<std::int32_t> place(workspace.home().size());  // received row of each home row
  std::int32_t received = 0;
  for (int owner = 0; owner < tp; ++owner) {
    receive_offset[owner] = received;
    receive_count[owner] = static_cast<std::int64_t>(from_owner[owner].size());
    for (const std::int32_t row : from_owner[owner])
      place[row] = received++;
  }

  const base::DType dtype = context.spec.dtype;
  const std::int64_t hidden = context.spec.hidden_size;
  const backend::Tensor sent = workspace.tensor(BufferName::gathered, dtype, 1,
                                                static_cast<std::int64_t>(mine.size()), hidden);
  const backend::Tensor arrived =
      workspace.tensor(BufferName::normed, dtype, 1, workspace.home().size(), hidden);
  select(context, workspace, shard.embed.tensor, mine, sent);
  context.tp.all_to_all_v(sent, send_count, send_offset, arrived, receive_count, receive_offset);
  select(context, workspace, arrived, place, residual);
}

}  // namespace tetrarch::model
