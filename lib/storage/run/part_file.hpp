/// Part files: the results of finished microbatches, which a writing rank commits one file at a
/// time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "storage/files/checksum.hpp"
#include "storage/h5/h5.hpp"
#include "storage/inputs/sequence_status.hpp"
#include "storage/run/results_layout.hpp"

namespace tetrarch::storage {

/// A record of /timing/phases, with the same bytes in memory and in the file. Times in seconds.
struct TimingRow {
  std::int32_t attempt = 0, rank = 0;
  std::int32_t dp = 0, pp = 0, ep = 0, tp = 0;
  std::int32_t microbatch = -1;  // -1: outside microbatches
  std::int32_t layer = -1;       // -1: all layers together
  char phase[16] = {};           // zero padded
  double start_s = 0, seconds = 0;
  std::uint64_t bytes = 0, flops = 0;

  void set_phase(std::string_view name);
};
/// The members of TimingRow for HDF5.
const std::vector<h5::Field>& timing_fields();
inline constexpr const char* timing_description =
    "one row for each interval of work: rank, place in the model, phase, seconds";

/// One sequence of a microbatch.
struct PartSequence {
  std::int64_t sequence = 0;  // index in input order
  std::int64_t length = 0;    // tokens
};

/// Which rank writes, where, and how often it commits.
struct PartOptions {
  std::string run_dir;
  std::string run_uuid;
  int attempt = 0, dp = 0, ep = 0;
  std::int64_t commit_bytes = 64 << 20;
  double commit_interval_s = 30;
};

class PartColumn;

/// RUN_DIR/parts/.tmp-aAAA, the folder for the temporary files of an attempt's ranks. The next
/// attempt removes it. So a rank of this attempt that is still running then can commit nothing.
std::string attempt_folder(const std::string& run_dir, int attempt);

/// Bytes of memory that a PartWriter of these datasets needs, besides its list of sequences.
std::int64_t part_writer_bytes(const std::vector<DatasetPlan>& layout);

/// Writes part files parts/dDDD-eEEE-aAAA-NNNNNN-XXXXXXXXXXXXXXXX.h5: dp rank, ep rank, attempt,
/// number, XXH3 of the file. A part holds whole microbatches and counts only under this name. Until
/// commit() it is a temporary file in attempt_folder(), which must exist; the destructor removes
/// it.
///
///   begin(sequences)
///   write(dataset, first_row, num_rows, data) ...   every row once, in any pieces and any order
///   add(dataset, ...), set_status(...), append_timing(...)
///   end()                                           InternalError: a row is missing or came twice
///   if (is_due()) commit()
///
/// Throws SystemError(resources) if writing fails; parts that were committed before remain.
class PartWriter {
 public:
  PartWriter(PartOptions options, std::vector<DatasetPlan> layout);
  PartWriter(const PartWriter&) = delete;
  PartWriter& operator=(const PartWriter&) = delete;
  ~PartWriter();

  const std::vector<DatasetPlan>& layout() const { return layout_; }

  /// Begins a microbatch, which may be empty.
  void begin(std::span<const PartSequence> sequences);
  /// Writes `num_rows` rows of row_bytes() each. `dataset` is an index into layout(). `first_row`
  /// counts from the first row of the current microbatch. Rows per sequence are in the order of
  /// begin(); rows per token are one sequence after another in that order.
  void write(int dataset, std::int64_t first_row, std::int64_t num_rows, const void* data);
  void write(std::string_view path, std::int64_t first_row, std::int64_t num_rows,
             const void* data);
  /// Adds counts [num_rows, columns] to rows of a dataset per run. The part holds the sums.
  void add(int dataset, std::int64_t first_row, std::int64_t num_rows, const std::uint64_t* counts);
  void add(std::string_view path, std::int64_t first_row, std::int64_t num_rows,
           const std::uint64_t* counts);
  /// Marks a sequence of the current microbatch as failed. Its rows have to be written too; merging
  /// replaces them by fill values.
  void set_status(std::int64_t sequence, SequenceStatus status, const std::string& error);
  /// Adds timing records; may be called inside and outside begin() and end().
  void append_timing(std::span<const TimingRow> rows);
  void end();

  /// Whether commit() should be called: no microbatch is open, there are sequences to commit, and
  /// they have reached commit_bytes or the oldest is commit_interval_s old.
  bool is_due() const;
  /// Writes everything since the last commit to a part file, reads it back and publishes it. Does
  /// nothing if there is nothing to commit.
  void commit();
  /// The same as commit().
  void close() { commit(); }

 private:
  void open_file();
  void guarded(const std::function<void()>& write);
  PartColumn& column(int dataset);
  void write_sequences(h5::File& file);
  void check_sequences(const h5::File& file) const;
  void write_and_publish();
  void flush_timing();
  bool has_timing(const h5::File& file) const;
  void discard() noexcept;

  PartOptions options_;
  std::vector<DatasetPlan> layout_;
  int number_ = 0;
  bool in_microbatch_ = false;
  std::string temporary_;
  std::optional<h5::File> file_;
  std::vector<std::unique_ptr<PartColumn>> columns_;  // one per dataset of the layout
  std::vector<PartSequence> sequences_;               // of the part
  std::vector<std::uint8_t> status_;
  std::map<std::size_t, std::string> errors_;  // of failed sequences, by index in sequences_
  std::vector<TimingRow> timing_;              // records that are not in phases_ yet
  std::optional<h5::Dataset> phases_;          // created at the first flush_timing()
  std::int64_t num_timing_rows_ = 0;           // records in phases_
  Xxh3 timing_sum_;                            // of the records in phases_
  std::size_t microbatch_begin_ = 0;           // the microbatch's first index in sequences_
  /// Sequence -> index in sequences_, for the current microbatch; filled by its first set_status().
  std::unordered_map<std::int64_t, std::size_t> places_;
  std::int64_t pending_bytes_ = 0;
  std::chrono::steady_clock::time_point pending_since_;
};

/// The fields of a part's file name.
struct PartName {
  int dp = 0, ep = 0, attempt = 0, number = 0;
  std::string xxh3;  // 16 hex digits
};
std::string to_string(const PartName& name);
/// Absent if the file name is not that of a committed part.
std::optional<PartName> parse_part_name(std::string_view file_name);

/// One sequence in a part.
struct PartEntry {
  std::int64_t sequence = 0, length = 0;  // index in input order; tokens
  std::int64_t row = 0;                   // its index among the part's sequences
  std::int64_t token_row = 0;             // its first row in datasets per token
  SequenceStatus status = SequenceStatus::ok;
};
/// The sequences of a part, in the order of its rows.
struct PartList {
  std::vector<PartEntry> entries;
  std::map<std::int64_t, std::string> errors;  // of failed sequences, by sequence
};

/// Reads the list of a part's sequences. Throws Refusal(input) if its datasets differ in length
/// or contain impossible values.
PartList read_list(const h5::File& part);
/// Reads the list of a part's sequences. Throws Refusal(input) that names what is wrong if the
/// file's XXH3 differs from that in its name, or its format or its run is another.
PartList read_part(const std::string& path, const std::string& run_uuid);

}  // namespace tetrarch::storage
