/// The input sequences of a run: offsets, ids and status in memory, tokens read on demand.
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
#include "storage/files/file_stamp.hpp"
#include "storage/inputs/jsonl_reader.hpp"
#include "storage/inputs/label_column.hpp"
#include "storage/inputs/sequence_status.hpp"

namespace tetrarch::storage {

/// A compressed file of JSON lines. Its tokens are read from an unpacked copy (spool.hpp).
struct PackedInput {
  std::uint32_t file = 0;  // index into InputSet::files()
  InputFormat format = InputFormat::gzip;
  Unpacked inside;
};

/// What happens to the last token of a sequence.
///
/// fed          it passes the layers like the others
/// only_scored  only its log-prob is computed, which suffices if nothing but log-probs is asked
///              for; a sequence may then have max_position + 1 tokens
enum class LastToken : std::uint8_t { fed, only_scored };

/// All sequences of all input files; their indices 0 .. count() - 1 follow the order of the files.
///
/// Holds offsets, ids, status and errors of the sequences, but not their tokens. Rank 0 opens the
/// files. It sends the other ranks its head() and, one copy per node, the columns. Errors, and ids
/// of HDF5 files, stay on rank 0. Each rank then reads the tokens that it needs from the files.
class InputSet {
 public:
  static constexpr std::int64_t no_limit = INT64_MAX;
  /// Reads all files once, in bounded memory besides the set's own; checks every token id and
  /// computes the identity.
  ///
  /// paths       HDF5 files, plain and compressed JSONL files, and folders of them
  ///             (input_paths.hpp)
  /// most_bytes  limit for the memory of offsets, ids, status and places of lines
  ///
  /// A bad sequence or line does not throw: it gets a status and an error. Throws Refusal(input)
  /// for a file that breaks the format, for a JSONL file without a usable line, for duplicate ids,
  /// and if every sequence has a token id beyond `vocab_size` (made for another model). Throws
  /// Refusal(usage) if a line has text and there is no tokenizer, or the tokenizer does not suit
  /// the vocabulary; Refusal(resources) before more than `most_bytes` are used.
  static InputSet open(const std::vector<std::string>& paths, std::int64_t vocab_size,
                       std::int64_t max_position, plan::Tokenizer tokenizer = plan::Tokenizer::none,
                       LastToken last = LastToken::fed, std::int64_t most_bytes = no_limit);
  /// The set as bytes, without columns and errors. Has ids only if there are JSONL lines, whose ids
  /// are compared when the lines are read again.
  std::vector<std::byte> head() const;
  /// The set that head() describes. It has no columns until take_columns().
  static InputSet from_head(std::span<const std::byte> head);
  /// Bytes of all columns. These are what every rank needs of each sequence: offset, status, first
  /// scored position, place of its line.
  std::int64_t column_bytes() const;
  /// Copies the columns to `to`, which has column_bytes() bytes.
  void copy_columns(std::span<std::byte> to) const;
  /// Uses the columns in `memory`, to which copy_columns() has copied them.
  void take_columns(mpi::NodeMemory memory);

  InputSet(InputSet&&) noexcept;
  InputSet& operator=(InputSet&&) noexcept;
  ~InputSet();

  std::int64_t count() const { return static_cast<std::int64_t>(offsets_.size()) - 1; }
  std::int64_t total_tokens() const { return static_cast<std::int64_t>(offsets_.back()); }
  /// Prefix sums of the lengths over all files, [count() + 1].
  std::span<const std::uint64_t> offsets() const { return offsets_.all(); }
  /// Number of tokens.
  std::int64_t length(std::int64_t sequence) const;
  /// Number of tokens that pass the layers, at most max_position; a last token beyond it is only
  /// scored (LastToken).
  std::int64_t fed_length(std::int64_t sequence) const;
  /// First position that counts in the sum of log-probs; 0 if the file does not give one.
  std::int64_t score_from(std::int64_t sequence) const;
  SequenceStatus status(std::int64_t sequence) const;
  /// What is wrong with the sequence; "" if nothing is. Rank 0 alone has errors.
  std::string error(std::int64_t sequence) const;
  const std::map<std::int64_t, std::string>& errors() const { return errors_; }

  /// Whether the ids of all files are numbers. If so, numeric_ids() has them on rank 0; else all
  /// ids are texts.
  bool is_numeric() const { return is_numeric_; }
  const std::vector<std::uint64_t>& numeric_ids() const { return numeric_ids_; }
  /// The id as text. On a rank without ids, a text with the index of the sequence.
  std::string id(std::int64_t sequence) const;

  /// Index into files() of the file that the sequence came from.
  std::uint32_t file(std::int64_t sequence) const;
  const std::vector<std::string>& files() const { return files_; }
  /// The line of a sequence of a JSONL file; nullptr for one of an HDF5 file.
  const JsonlLine* line(std::int64_t sequence) const;
  /// Where a sequence comes from, for messages: "a.jsonl:17" or "a.h5 (sequence 3)".
  std::string place(std::int64_t sequence) const;
  /// Sentences that tell the user how the inputs were read.
  const std::vector<std::string>& notes() const { return notes_; }
  /// XXH3-64 over offsets, ids, score_from and tokens of all files in order, and over the errors of
  /// JSONL lines; 16 hexadecimal digits. Compressing a file does not change it.
  const std::string& identity() const { return identity_; }
  plan::Tokenizer tokenizer() const { return tokenizer_; }
  LastToken last_token() const { return last_token_; }
  /// About how many bytes of memory the ids and errors take on this rank.
  std::int64_t id_bytes() const;

  const std::vector<PackedInput>& packed() const { return packed_; }
  /// Bytes of the contents of all compressed files.
  std::int64_t unpacked_bytes() const;
  /// From now on tokens of compressed files are read from unpacked copies in `folder`, which are
  /// named by unpacked_name().
  void read_packed_from(const std::string& folder) { unpacked_folder_ = folder; }
  static std::string unpacked_name(std::uint32_t file);

  /// The sequences that can be computed (status ok), in input order, with their fed_length().
  std::vector<plan::SequenceLength> lengths_ok() const;
  /// Copies the token ids at positions first .. first + count - 1 of the sequence to `to`. Keeps
  /// the last file open and the tokens of the last JSONL line; not thread-safe. Throws
  /// Refusal(input) if the file has changed since open().
  void read_tokens(std::int64_t sequence, std::int64_t first, std::int64_t count,
                   std::uint32_t* to) const;
  /// Throws Refusal(input) if a file was written to or replaced since this rank first saw it.
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
  std::vector<FileStamp> stamps_;          // of each file, when this rank first saw it
  std::vector<std::int64_t> file_begin_;   // first sequence of each file, and count()
  std::vector<std::int64_t> line_begin_;   // of each file: its first index in lines_, or no_lines
  LabelColumn<JsonlLine> lines_;           // of the sequences of all JSONL files
  LabelColumn<std::uint64_t> offsets_;     // [count + 1]
  LabelColumn<std::uint32_t> score_from_;  // [count], or empty if no file has it
  LabelColumn<std::uint8_t> status_;       // [count]
  std::map<std::int64_t, std::string> errors_;
  bool is_numeric_ = true;
  std::vector<std::uint64_t> numeric_ids_;  // [count] if is_numeric_
  std::vector<std::string> text_ids_;       // [count] otherwise
  std::vector<PackedInput> packed_;         // by file
  std::vector<std::string> notes_;
  std::string unpacked_folder_;
  std::string identity_;
  std::int64_t vocab_size_ = 0, max_position_ = 0;
  LastToken last_token_ = LastToken::fed;
  plan::Tokenizer tokenizer_ = plan::Tokenizer::none;
  std::optional<Sizes> sizes_;              // of the columns, between from_head and take_columns
  mpi::NodeMemory memory_;                  // of the columns, if they are one copy per node
  mutable std::unique_ptr<Reader> reader_;  // the file read last
};

}  // namespace tetrarch::storage
