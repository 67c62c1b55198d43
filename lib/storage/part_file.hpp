/// Parts of results: a writing rank's finished microbatches, made safe one file at a time.
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

#include "storage/checksum.hpp"
#include "storage/h5.hpp"
#include "storage/results_layout.hpp"

namespace tetrarch::storage {

/// A row of /timing/phases; the same bytes in memory and in the file.
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
    "one row for each stretch of work: who, where in the model, which phase, how long";

/// A sequence of a microbatch, in the order of its rows.
struct PartSequence {
  std::int64_t sequence = 0;  // in input order
  std::int64_t length = 0;    // tokens
};

/// Who writes, and how often it commits.
struct PartOptions {
  std::string run_dir;
  std::string run_uuid;
  int attempt = 0, dp = 0, ep = 0;
  std::int64_t commit_bytes = 64 << 20;
  double commit_interval_s = 30;
};

class PartColumn;

/// Where the ranks of an attempt write what is not committed yet: RUN_DIR/parts/.tmp-aAAA. The
/// next attempt removes it, so that a rank of this one that is still dying can commit no more.
std::string attempt_folder(const std::string& run_dir, int attempt);

/// Memory that a PartWriter of these datasets takes, besides its list of sequences.
std::int64_t part_writer_bytes(const std::vector<DatasetPlan>& layout);

/// Writes parts/dDDD-eEEE-aAAA-NNNNNN-XXXXXXXXXXXXXXXX.h5, the last field being the XXH3 of the
/// file. A part holds whole microbatches and counts only under this name: until commit() it is a
/// temporary file in attempt_folder(), which must be there, and the destructor discards it.
///
///   begin(sequences)
///   write(dataset, first_row, num_rows, data) ...   every row once, in any pieces and any order
///   add(dataset, ...), set_status(...), append_timing(...)
///   end()                                           checks that no row lacks or came twice
///   if (is_due()) commit()
///
/// All failures of writing throw SystemError(resources); what was committed before stays.
class PartWriter {
 public:
  PartWriter(PartOptions options, std::vector<DatasetPlan> layout);
  PartWriter(const PartWriter&) = delete;
  PartWriter& operator=(const PartWriter&) = delete;
  ~PartWriter();

  const std::vector<DatasetPlan>& layout() const { return layout_; }

  /// Begins a microbatch; an empty one is welcome.
  void begin(std::span<const PartSequence> sequences);
  /// `num_rows` rows of row_bytes() each. `first_row` counts in the microbatch at hand: token rows
  /// stand sequence after sequence in the order of begin(), rows per sequence in that order.
  void write(int dataset, std::int64_t first_row, std::int64_t num_rows, const void* data);
  void write(std::string_view path, std::int64_t first_row, std::int64_t num_rows,
             const void* data);
  /// Adds [num_rows, columns] counts to rows of a dataset per run, whose sums the part holds.
  void add(int dataset, std::int64_t first_row, std::int64_t num_rows, const std::uint64_t* counts);
  void add(std::string_view path, std::int64_t first_row, std::int64_t num_rows,
           const std::uint64_t* counts);
  /// For a sequence of the microbatch at hand that turned out bad; its rows are written all the
  /// same and replaced by fill values when results are merged.
  void set_status(std::int64_t sequence, SequenceStatus status, const std::string& error);
  /// May be called between begin() and end(), or outside.
  void append_timing(std::span<const TimingRow> rows);
  void end();

  /// True when sequences wait to be committed and enough bytes or time have gathered since the last
  /// commit, outside a microbatch.
  bool is_due() const;
  /// Makes everything since the last commit durable; does nothing when there is nothing.
  void commit();
  /// Commits what is pending.
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
  std::map<std::size_t, std::string> errors_;  // of the few that failed, by index
  std::vector<TimingRow> timing_;              // that phases_ does not have yet
  std::optional<h5::Dataset> phases_;          // once they are many
  std::int64_t num_timing_rows_ = 0;           // that phases_ has
  Xxh3 timing_sum_;                            // of them
  std::size_t microbatch_begin_ = 0;           // index into sequences_
  /// Of the microbatch's sequences in sequences_; made by its first set_status().
  std::unordered_map<std::int64_t, std::size_t> places_;
  std::int64_t pending_bytes_ = 0;
  std::chrono::steady_clock::time_point pending_since_;
};

/// What a part's name says.
struct PartName {
  int dp = 0, ep = 0, attempt = 0, number = 0;
  std::string xxh3;  // 16 hex digits
};
std::string to_string(const PartName& name);
/// Nothing when the file name is not that of a committed part.
std::optional<PartName> parse_part_name(std::string_view file_name);

/// A sequence as a part has it.
struct PartEntry {
  std::int64_t sequence = 0, length = 0;
  std::int64_t row = 0;        // its place among the part's sequences
  std::int64_t token_row = 0;  // its first row in datasets per token
  SequenceStatus status = SequenceStatus::ok;
};
/// The sequences of a part, in the order of its rows.
struct PartList {
  std::vector<PartEntry> entries;
  std::map<std::int64_t, std::string> errors;  // of the few that failed, by sequence
};

/// The list of a part's sequences, of whose lengths it makes sure that they agree.
PartList read_list(const h5::File& part);
/// The list of a part's sequences. Checks the file's XXH3 against its name, its format and its run;
/// throws UsageError(input) naming what is wrong.
PartList read_part(const std::string& path, const std::string& run_uuid);

}  // namespace tetrarch::storage
