/// One dataset of a part file while its rows are being written, in any order within a microbatch.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "storage/files/checksum.hpp"
#include "storage/h5/h5.hpp"
#include "storage/run/results_layout.hpp"

namespace tetrarch::storage {

/// Bytes of memory for the buffer of each of `num_datasets` columns: 8 MiB for all together, but at
/// least 32 KiB and at most 256 KiB for each.
std::int64_t column_bytes(std::int64_t num_datasets);

/// Writes one dataset of a part file through a buffer of fixed size.
///
/// A dataset that fits the buffer stays in memory, and finish() writes it with its exact shape. A
/// larger one becomes an extendible dataset and is divided into windows, each of as many rows as
/// the buffer holds. The buffer then holds one window. A row of another window causes the buffer to
/// be written to the file. So consecutive rows are written one window at a time. If rows of a
/// window that was already written follow later, that window is read from the file again.
///
///   begin(file, rows)   for each microbatch: its rows follow those of earlier microbatches
///   write(...)          each row of the microbatch once, in any order
///   end()               throws InternalError if a row is missing or was written twice
///   finish(file)        writes the rest
///   check(file, ...)    after the file was closed and opened again
///
/// Throws SystemError(resources) if writing or reading back fails.
class PartColumn {
 public:
  /// `plan` must outlive this object.
  PartColumn(const DatasetPlan& plan, std::int64_t buffer_bytes);

  void begin(h5::File& file, std::int64_t num_rows);
  /// Writes rows of row_bytes() each. `first_row` counts from the microbatch's first row.
  void write(std::int64_t first_row, std::int64_t num_rows, const std::byte* data);
  /// For a dataset per run: adds counts [num_rows, columns] to the rows.
  void add(std::int64_t first_row, std::int64_t num_rows, const std::uint64_t* counts);
  void end();
  void finish(h5::File& file);
  /// Reads back what was written and compares checksums, because HDF5 can lose a chunk on a full
  /// disk and still report success. Enlarges `scratch` to one window if it is smaller.
  void check(const h5::File& file, std::vector<std::byte>& scratch) const;

 private:
  /// Rows [begin, end).
  struct Range {
    std::int64_t begin = 0, end = 0;
  };
  /// The rows of a window that are in the file, from its first row on, and their XXH3.
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
  Range microbatch_;            // rows of the current microbatch in the part
  std::vector<Range> written_;  // rows of the microbatch, in the order of write()
  /// While dataset_ is absent: all rows of the part. After that: the rows of window_.
  std::vector<std::byte> buffer_;
  std::int64_t window_ = -1;            // -1: the buffer holds none
  std::optional<h5::Dataset> dataset_;  // present when the rows no longer fit the buffer
  std::vector<Stored> stored_;          // of each window
};

}  // namespace tetrarch::storage
