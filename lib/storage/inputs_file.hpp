/// The prompts of a run: every input file's labels in memory, tokens read when asked for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mpi/node_memory.hpp"
#include "plan/run_config.hpp"
#include "plan/schedule.hpp"
#include "storage/file_stamp.hpp"
#include "storage/jsonl_reader.hpp"
#include "storage/label_column.hpp"
#include "storage/results_layout.hpp"

namespace tetrarch::storage {

/// A compressed file of JSON lines; its tokens are read where it lies unpacked (spool.hpp).
struct PackedInput {
  std::uint32_t file = 0;  // index into InputSet::files()
  InputFormat format = InputFormat::gzip;
  Unpacked inside;
};

/// Whether the last token of a sequence passes the layers as the others do, or is only scored, as
/// where nothing but log-probs is asked for. Then one of max_position + 1 tokens is good.
enum class LastToken : std::uint8_t { fed, only_scored };

/// All sequences of all input files, in the order given; index 0 .. count() - 1 is input order.
///
/// Holds offsets, ids and what is wrong with a sequence, never the corpus. Rank 0 opens it and
/// sends the others its head() and, one copy a node, its columns; what is wrong, and ids of HDF5,
/// stay with rank 0. Each rank then reads the tokens that it needs itself.
class InputSet {
 public:
  static constexpr std::int64_t no_limit = INT64_MAX;
  /// `paths`: HDF5 and JSONL files, also compressed ones, and folders of them (input_paths.hpp).
  /// A file of which no line can be used is refused. Reads every file once,
  /// in bounded memory: checks token ids against `vocab_size` and makes the identity. Throws
  /// UsageError(input) naming file, object, what was found and what was expected, and
  /// UsageError(usage) where a text and the tokenizer do not go together. A bad sequence or line
  /// does not throw: it gets a status; but where every sequence has too large a token id, the
  /// inputs are of another vocabulary, which is UsageError(input). Throws UsageError(resources)
  /// before its labels would take more than `most_bytes`.
  static InputSet open(const std::vector<std::string>& paths, std::int64_t vocab_size,
                       std::int64_t max_position, plan::Tokenizer tokenizer = plan::Tokenizer::none,
                       LastToken last = LastToken::fed, std::int64_t most_bytes = no_limit);
  /// All but columns and errors; ids only where lines are held against them when read again.
  std::vector<std::byte> head() const;
  static InputSet from_head(std::span<const std::byte> head);
  /// Of the labels that every rank needs: offsets, status, first scored positions, places of lines.
  std::int64_t column_bytes() const;
  /// `to`: of column_bytes().
  void copy_columns(std::span<std::byte> to) const;
  /// From now on its columns are those that copy_columns() has left there.
  void take_columns(mpi::NodeMemory memory);

  InputSet(InputSet&&) noexcept;
  InputSet& operator=(InputSet&&) noexcept;
  ~InputSet();

  std::int64_t count() const { return static_cast<std::int64_t>(offsets_.size()) - 1; }
  std::int64_t total_tokens() const { return static_cast<std::int64_t>(offsets_.back()); }
  /// Prefix sums of the lengths over all files, [count() + 1].
  std::span<const std::uint64_t> offsets() const { return offsets_.all(); }
  std::int64_t length(std::int64_t sequence) const;
  /// Its tokens that pass the layers: all but one that is only scored (LastToken).
  std::int64_t fed_length(std::int64_t sequence) const;
  /// First position that counts in the log-prob sum; 0 where the file does not say.
  std::int64_t score_from(std::int64_t sequence) const;
  SequenceStatus status(std::int64_t sequence) const;
  /// What is wrong with it, "" when nothing is. On rank 0.
  std::string error(std::int64_t sequence) const;
  const std::map<std::int64_t, std::string>& errors() const { return errors_; }

  /// True when the ids of all files are numbers; then numeric_ids() has them, on rank 0, else
  /// texts.
  bool is_numeric() const { return is_numeric_; }
  const std::vector<std::uint64_t>& numeric_ids() const { return numeric_ids_; }
  /// The id as text; where they are not, the number of the sequence.
  std::string id(std::int64_t sequence) const;

  /// Index into files() of the file that the sequence came from.
  std::uint32_t file(std::int64_t sequence) const;
  const std::vector<std::string>& files() const { return files_; }
  /// Where a sequence of a JSONL file stands; nullptr for one of HDF5.
  const JsonlLine* line(std::int64_t sequence) const;
  /// "a.jsonl:17", or "a.h5 (sequence 3)".
  std::string place(std::int64_t sequence) const;
  /// What a user should know of how the inputs were read, a sentence each.
  const std::vector<std::string>& notes() const { return notes_; }
  /// XXH3 over offsets, ids, score_from and tokens of each file in order, and over what is wrong
  /// with lines of JSONL; 16 hex digits. Compression does not change it.
  const std::string& identity() const { return identity_; }
  plan::Tokenizer tokenizer() const { return tokenizer_; }
  LastToken last_token() const { return last_token_; }
  /// Of memory that ids and errors take, nearly, as far as this rank has them.
  std::int64_t id_bytes() const;

  const std::vector<PackedInput>& packed() const { return packed_; }
  /// Bytes that the compressed files take when they are unpacked.
  std::int64_t unpacked_bytes() const;
  /// Where tokens of compressed files are read from now on: files of this folder, by unpacked_name.
  void read_packed_from(const std::string& folder) { unpacked_folder_ = folder; }
  static std::string unpacked_name(std::uint32_t file);

  /// The sequences that can be computed (status ok), in input order, with at most max_position
  /// tokens that pass the layers.
  std::vector<plan::SequenceLength> lengths_ok() const;
  /// Token ids `first` .. `first + count - 1` of the sequence. Keeps the file used last open, and
  /// the tokens of the line of JSONL read last; not thread-safe. Throws UsageError(input) when the
  /// file has changed since open().
  void read_tokens(std::int64_t sequence, std::int64_t first, std::int64_t count,
                   std::uint32_t* to) const;
  /// Throws UsageError(input) when a file was written to or replaced since this rank knew of it.
  void check_unchanged() const;

 private:
  struct Reader;
  static constexpr std::int64_t no_lines = -1;
  struct Sizes {
    std::size_t offsets, lines, score_from, status;
  };
  Sizes sizes() const;
  InputSet();
  friend class InputReader;
  void check_unchanged(std::uint32_t file) const;
  void open_reader(std::uint32_t file) const;
  std::string lines_path(std::uint32_t file) const;
  void read_hdf5(std::int64_t sequence, std::int64_t first, std::int64_t count,
                 std::uint32_t* to) const;
  void read_jsonl(std::int64_t sequence, std::int64_t first, std::int64_t count,
                  std::uint32_t* to) const;

  std::vector<std::string> files_;
  std::vector<FileStamp> stamps_;          // of each file, as this rank found it first
  std::vector<std::int64_t> file_begin_;   // first sequence of each file, and count()
  std::vector<std::int64_t> line_begin_;   // of each file: the first of lines_, or no_lines
  LabelColumn<JsonlLine> lines_;           // of the sequences of all JSONL files
  LabelColumn<std::uint64_t> offsets_;     // [count + 1]
  LabelColumn<std::uint32_t> score_from_;  // [count], or empty when no file has it
  LabelColumn<std::uint8_t> status_;       // [count]
  std::map<std::int64_t, std::string> errors_;
  bool is_numeric_ = true;
  std::vector<std::uint64_t> numeric_ids_;  // [count] when is_numeric_
  std::vector<std::string> text_ids_;       // [count] otherwise
  std::vector<PackedInput> packed_;         // by file
  std::vector<std::string> notes_;
  std::string unpacked_folder_;
  std::string identity_;
  std::int64_t vocab_size_ = 0, max_position_ = 0;
  LastToken last_token_ = LastToken::fed;
  plan::Tokenizer tokenizer_ = plan::Tokenizer::none;
  std::optional<Sizes> sizes_;              // of columns that are yet to come
  mpi::NodeMemory memory_;                  // of the columns, where they are one copy a node
  mutable std::unique_ptr<Reader> reader_;  // the file read last
};

}  // namespace tetrarch::storage
