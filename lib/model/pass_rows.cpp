// SPDX-License-Identifier: Apache-2.0
#include "model/pass_rows.hpp"

namespace tetrarch::model {

void spread_evenly(PassRows& batch, int tp_size) {
  std::int64_t count = 0;
  for (const SequenceRows& rows : batch.rows)
    count += rows.count;
  batch.home_begin.assign(1, 0);
  for (int rank = 0; rank < tp_size; ++rank)
    batch.home_begin.push_back(plan::even_range(count, tp_size, rank).end);
}

Selection select_rows(const PassRows& batch, plan::RowsWanted rows, int tp_rank) {
  Selection selection;
  std::int64_t row = 0;
  for (const SequenceRows& run : batch.rows) {
    const plan::Range wanted = plan::wanted_rows(run.span(), rows);
    for (std::int64_t i = wanted.begin; i < wanted.end; ++i)
      selection.pass.push_back(static_cast<std::int32_t>(row + i));
    if (wanted.size() > 0) {
      SequenceRows narrow = run;
      narrow.first_position += wanted.begin;
      narrow.count = wanted.size();
      // the last selected row predicts the token of the row after it, which may be in this run
      if (wanted.end < run.count)
        narrow.next_token = batch.token.empty() ? -1 : batch.token[row + wanted.end];
      selection.batch.rows.push_back(narrow);
    }
    row += run.count;
  }
  if (!batch.token.empty())
    for (const std::int32_t pass_row : selection.pass)
      selection.batch.token.push_back(batch.token[pass_row]);

  const int tp_size = static_cast<int>(batch.home_begin.size()) - 1;
  std::int64_t selected = 0;
  selection.batch.home_begin.assign(1, 0);
  for (int rank = 0; rank < tp_size; ++rank) {
    const plan::Range home = batch.home(rank);
    for (; selected < std::ssize(selection.pass) && selection.pass[selected] < home.end; ++selected)
      if (rank == tp_rank)
        selection.home.push_back(static_cast<std::int32_t>(selection.pass[selected] - home.begin));
    selection.batch.home_begin.push_back(selected);
  }
  return selection;
}

}  // namespace tetrarch::model
