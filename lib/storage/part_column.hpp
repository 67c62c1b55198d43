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

/// Bytes that each of `num_datasets` columns may keep in memory: of all together 8 MiB, but not
/// less than 32 KiB and not more than 256 KiB each.
std::int64_t column_bytes(std::int64_t num_datasets);

/// Small datasets stay in memory and are written at their exact size. Those that outgrow the buffer
/// become extendible ones, of windows of as many rows as the buffer holds. The buffer holds one
/// window; a row of another one sends it to the file. So rows that come one after another are
/// written a window at a time, also where some of a window come later: then it is read again.
///
///   begin(file, rows)   for each microbatch: its rows follow those of earlier ones
///   write(...)          each row of the microbatch once, in any order
///   end()               throws InternalError when a row lacks or came twice
///   finish(file), then, with the file closed and opened again, check(file, scratch)
class PartColumn {
 public:
  /// `plan` outlives it.
  PartColumn(const DatasetPlan& plan, std::int64_t buffer_bytes);

  void begin(h5::File& file, std::int64_t num_rows);
  /// `first_row` counts from the microbatch's first row.
  void write(std::int64_t first_row, std::int64_t num_rows, const std::byte* data);
  /// Of a dataset per run: adds `columns` counts to each of the rows.
  void add(std::int64_t first_row, std::int64_t num_rows, const std::uint64_t* counts);
  void end();
  void finish(h5::File& file);
  /// Reads back what was written: HDF5 can lose a chunk on a full disk and report success.
  /// `scratch` is at least one window when it returns.
  void check(const h5::File& file, std::vector<std::byte>& scratch) const;

 private:
  /// Rows [begin, end).
  struct Range {
    std::int64_t begin = 0, end = 0;
  };
  /// What the file has of a window: its first rows, and their XXH3.
  struct Stored {
    std::int64_t num_rows = 0;
    std::uint64_t sum = 0;
  };
  static void append(std::vector<Range>& ranges, Range range);
  void move_to_file(h5::File& file);
  void hold(std::int64_t window);
  void flush();
  void store(Range range, const std::byte* data);
  Stored& stored(std::int64_t window);
  void compare(const h5::Dataset& dataset, std::uint64_t sum,
               std::span<const std::byte> rows) const;

  const DatasetPlan* plan_;
  std::int64_t buffer_bytes_;
  std::int64_t window_rows_;
  Range microbatch_;            // its rows in the part
  std::vector<Range> written_;  // of the microbatch, in the order of write()
  /// Without dataset_ all rows of the part, else those of the window at hand, if there is one.
  std::vector<std::byte> buffer_;
  std::int64_t window_ = -1;
  std::optional<h5::Dataset> dataset_;  // once the rows have outgrown the buffer
  std::vector<Stored> stored_;          // of each window
};

}  // namespace tetrarch::storage
