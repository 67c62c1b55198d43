/// One dataset of a part while its rows come in, in any order within a microbatch.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "storage/checksum.hpp"
#include "storage/h5.hpp"
#include "storage/results_layout.hpp"

namespace tetrarch::storage {

/// Small datasets stay in memory and are written at their exact size; those that outgrow the buffer
/// become extendible ones, written by hyperslab, runs of neighbouring rows at once.
///
///   begin(file, rows)   for each microbatch: its rows follow those of earlier ones
///   write(...)          each row of the microbatch once, in any order
///   end()               throws InternalError when a row lacks or came twice
///   finish(file), then, with the file closed and opened again, check(file, scratch)
class PartColumn {
 public:
  /// `plan` outlives it.
  explicit PartColumn(const DatasetPlan& plan);

  void begin(h5::File& file, std::int64_t num_rows);
  /// `first_row` counts from the microbatch's first row.
  void write(std::int64_t first_row, std::int64_t num_rows, const std::byte* data);
  /// Of a dataset per run: adds `columns` counts to each of the rows.
  void add(std::int64_t first_row, std::int64_t num_rows, const std::uint64_t* counts);
  void end();
  void finish(h5::File& file);
  /// Reads back what was written, in the order in which it was: HDF5 can lose a chunk on a full
  /// disk and report success. `scratch` is at least one row when it returns.
  void check(const h5::File& file, std::vector<std::byte>& scratch) const;

 private:
  /// Rows [begin, end).
  struct Range {
    std::int64_t begin = 0, end = 0;
  };
  static void append(std::vector<Range>& ranges, Range range);
  void move_to_file(h5::File& file);
  void flush();
  void store(Range range, const std::byte* data);

  const DatasetPlan* plan_;
  Range microbatch_;            // its rows in the part
  std::vector<Range> written_;  // of the microbatch, in the order of write()
  /// Without dataset_ all rows of the part, else the rows from `pending_row_` on that come next.
  std::vector<std::byte> buffer_;
  std::int64_t pending_row_ = 0;
  std::optional<h5::Dataset> dataset_;  // once the rows have outgrown the buffer
  std::vector<Range> stored_;           // in the order of hash_
  Xxh3 hash_;
};

}  // namespace tetrarch::storage
