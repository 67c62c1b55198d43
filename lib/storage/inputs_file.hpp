/// The prompts of a run: every input file's labels in memory, tokens read when asked for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/run_config.hpp"
#include "plan/schedule.hpp"
#include "storage/jsonl_reader.hpp"
#include "storage/results_layout.hpp"

namespace tetrarch::storage {

/// Whether the last token of a sequence passes the layers as the others do, or is only scored, as
/// where nothing but log-probs is asked for. Then one of max_position + 1 tokens is good.
enum class LastToken : std::uint8_t { fed, only_scored };

/// All sequences of all input files, in the order given; index 0 .. count() - 1 is input order.
///
/// Holds offsets, ids and what is wrong with a sequence, never the corpus. Rank 0 opens it and
/// sends to_bytes() to the others; each rank then reads the tokens that it needs itself.
class InputSet {
 public:
  /// `paths`: HDF5 and JSONL files, and folders of them (input_paths.hpp). Reads every file once,
  /// in bounded memory: checks token ids against `vocab_size` and makes the identity. Throws
  /// UsageError(input) naming file, object, what was found and what was expected, and
  /// UsageError(usage) where a text and the tokenizer do not go together. A bad sequence or line
  /// does not throw: it gets a status; but where every sequence has too large a token id, the
  /// inputs are of another vocabulary, which is UsageError(input).
  static InputSet open(const std::vector<std::string>& paths, std::int64_t vocab_size,
                       std::int64_t max_position, plan::Tokenizer tokenizer = plan::Tokenizer::none,
                       LastToken last = LastToken::fed);
  static InputSet from_bytes(std::span<const std::byte> bytes);
  std::vector<std::byte> to_bytes() const;

  InputSet(InputSet&&) noexcept;
  InputSet& operator=(InputSet&&) noexcept;
  ~InputSet();

  std::int64_t count() const { return static_cast<std::int64_t>(offsets_.size()) - 1; }
  std::int64_t total_tokens() const { return static_cast<std::int64_t>(offsets_.back()); }
  /// Prefix sums of the lengths over all files, [count() + 1].
  const std::vector<std::uint64_t>& offsets() const { return offsets_; }
  std::int64_t length(std::int64_t sequence) const;
  /// First position that counts in the log-prob sum; 0 where the file does not say.
  std::int64_t score_from(std::int64_t sequence) const;
  SequenceStatus status(std::int64_t sequence) const;
  /// What is wrong with it, "" when nothing is.
  std::string error(std::int64_t sequence) const;

  /// True when the ids of all files are numbers; then numeric_ids() has them, else texts.
  bool is_numeric() const { return is_numeric_; }
  const std::vector<std::uint64_t>& numeric_ids() const { return numeric_ids_; }
  /// The id as text.
  std::string id(std::int64_t sequence) const;

  /// Index into files() of the file that the sequence came from.
  std::uint32_t file(std::int64_t sequence) const;
  const std::vector<std::string>& files() const { return files_; }
  /// Where a sequence of a JSONL file stands; nullptr for one of HDF5.
  const JsonlLine* line(std::int64_t sequence) const;
  /// XXH3 over offsets, ids, score_from and tokens of each file in order, and over what is wrong
  /// with lines of JSONL; 16 hex digits.
  const std::string& identity() const { return identity_; }
  plan::Tokenizer tokenizer() const { return tokenizer_; }
  LastToken last_token() const { return last_token_; }
  /// Of memory that what is held of each sequence takes, nearly.
  std::int64_t label_bytes() const;

  /// The sequences that can be computed (status ok), in input order, with at most max_position
  /// tokens that pass the layers.
  std::vector<plan::SequenceLength> lengths_ok() const;
  /// Token ids `first` .. `first + count - 1` of the sequence. Keeps the file used last open, and
  /// the tokens of the line of JSONL read last; not thread-safe. Throws UsageError(input) when the
  /// file has changed since open().
  void read_tokens(std::int64_t sequence, std::int64_t first, std::int64_t count,
                   std::uint32_t* to) const;

 private:
  struct Reader;
  static constexpr std::int64_t no_lines = -1;
  InputSet();
  friend class InputReader;
  void open_reader(std::uint32_t file) const;
  void read_hdf5(std::int64_t sequence, std::int64_t first, std::int64_t count,
                 std::uint32_t* to) const;
  void read_jsonl(std::int64_t sequence, std::int64_t first, std::int64_t count,
                  std::uint32_t* to) const;

  std::vector<std::string> files_;
  std::vector<std::int64_t> file_begin_;   // first sequence of each file, and count()
  std::vector<std::int64_t> line_begin_;   // of each file: the first of lines_, or no_lines
  std::vector<JsonlLine> lines_;           // of the sequences of all JSONL files
  std::vector<std::uint64_t> offsets_;     // [count + 1]
  std::vector<std::uint32_t> score_from_;  // [count], or empty when no file has it
  std::vector<std::uint8_t> status_;       // [count]
  std::map<std::int64_t, std::string> errors_;
  bool is_numeric_ = true;
  std::vector<std::uint64_t> numeric_ids_;  // [count] when is_numeric_
  std::vector<std::string> text_ids_;       // [count] otherwise
  std::string identity_;
  std::int64_t vocab_size_ = 0, max_position_ = 0;
  LastToken last_token_ = LastToken::fed;
  plan::Tokenizer tokenizer_ = plan::Tokenizer::none;
  mutable std::unique_ptr<Reader> reader_;  // the file read last
};

}  // namespace tetrarch::storage
