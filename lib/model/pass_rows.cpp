// SPDX-License-Identifier: Apache-2.0
#include "model/pass_rows.hpp"

namespace tetrarch::model {

void spread_evenly(PassRows& pass_rows, int tp_size) {
  std::int64_t count = 0;
  for (const SequenceRows& rows : pass_rows.rows)
    count += rows.count;
  pass_rows.home_begin.assign(1, 0);
  for (int rank = 0; rank < tp_size; ++rank)
    pass_rows.home_begin.push_back(plan::even_range(count, tp_size, rank).end);
}

Selection select_rows(const PassRows& pass_rows, plan::RowsWanted rows, int tp_rank) {
  Selection selection;
  std::int64_t row = 0;
  for (const SequenceRows& run : pass_rows.rows) {
    const plan::Range wanted = plan::wanted_rows(run.span(), rows);
    for (std::int64_t i = wanted.begin; i < wanted.end; ++i)
      selection.pass.push_back(static_cast<std::int32_t>(row + i));
    if (wanted.size() > 0) {
      SequenceRows narrow = run;
      narrow.first_position += wanted.begin;
      narrow.count = wanted.size();
      // the last selected row predicts the token of the row after it, which may be in this run
      if (wanted.end < run.count)
        narrow.next_token = pass_rows.token.empty() ? -1 : pass_rows.token[row + wanted.end];
      selection.pass_rows.rows.push_back(narrow);
    }
    row += run.count;
  }
  if (!pass_rows.token.empty())
    for (const std::int32_t pass_row : selection.pass)
      selection.pass_rows.token.push_back(pass_rows.token[pass_row]);

  const int tp_size = static_cast<int>(pass_rows.home_begin.size()) - 1;
  std::int64_t selected = 0;
  selection.pass_rows.home_begin.assign(1, 0);
  for (int rank = 0; rank < tp_size; ++rank) {
    const plan::Range home = pass_rows.home(rank);
    for (; selected < std::ssize(selection.pass) && selection.pass[selected] < home.end; ++selected)
      if (rank == tp_rank)
        selection.home.push_back(static_cast<std::int32_t>(selection.pass[selected] - home.begin));
    selection.pass_rows.home_begin.push_back(selected);
  }
  return selection;
}

}  // namespace tetrarch::model
