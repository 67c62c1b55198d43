/// Makes an InputSet from input files, and refuses those that break the format.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "storage/files/checksum.hpp"
#include "storage/h5/h5.hpp"
#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::storage {

/// Reads each file once, in bounded memory besides that of the InputSet.
class InputReader {
 public:
  /// The arguments are those of InputSet::open. Throws Refusal(usage) if the vocabulary is too
  /// small for the tokenizer.
  InputReader(std::int64_t vocab_size, std::int64_t max_position, plan::Tokenizer tokenizer,
              LastToken last = LastToken::fed, std::int64_t most_bytes = InputSet::no_limit);
  /// Reads one file; throws as InputSet::open.
  void add(const std::string& path);
  /// The set of all files added. `notes` become the first of InputSet::notes(). Throws
  /// Refusal(input) for duplicate ids, or if all sequences are for another vocabulary.
  InputSet finish(std::vector<std::string> notes = {});

 private:
  void add_hdf5(const std::string& path);
  void add_jsonl(const std::string& path, InputFormat format);
  void refuse_unusable(const char* which) const;
  void add_record(const JsonlRecord& record, const JsonlLine& line);
  void hash_record(std::int64_t sequence, bool is_text);
  void add_id(std::uint64_t id);
  void add_id(std::string id);
  void add_offsets(const h5::File& file, std::int64_t num_tokens);
  void add_ids(const h5::File& file);
  void add_score_from(const h5::File& file);
  void judge_length(std::int64_t sequence);
  void add_tokens(const h5::Dataset& tokens);
  void judge_tokens(std::int64_t sequence, std::int64_t position, const std::uint32_t* tokens,
                    std::int64_t count);
  void refuse_duplicates() const;
  void check_memory(std::int64_t num_more) const;
  void refuse_other_vocabulary() const;
  std::string place(std::int64_t sequence) const;
  void set_status(std::int64_t sequence, SequenceStatus status, std::string error);

  InputSet set_;
  std::int64_t most_bytes_;
  std::vector<std::string> made_notes_;  // about single files
  Xxh3 hash_;
  std::uint32_t largest_token_ = 0;         // of sequences that may be computed
  std::int64_t first_ = 0, count_ = 0;      // sequences of the current file
  std::map<std::string, int> num_of_name_;  // number of JSONL files so far that have the name
  std::string name_;                        // of the current file, for ids FILE:LINE
  std::int64_t num_made_ids_ = 0;           // valid lines without an id
  std::string first_made_id_;
};

}  // namespace tetrarch::storage
