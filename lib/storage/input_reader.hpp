/// Makes an InputSet from input files, and refuses those that break the format.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "storage/checksum.hpp"
#include "storage/h5.hpp"
#include "storage/inputs_file.hpp"

namespace tetrarch::storage {

/// The files meant by paths of files and folders, in order; throws UsageError(input).
std::vector<std::string> input_files(const std::vector<std::string>& paths);

/// One pass over each file, in bounded memory besides what InputSet holds.
class InputReader {
 public:
  InputReader(std::int64_t vocab_size, std::int64_t max_position);
  void add(const std::string& path);
  InputSet finish();

 private:
  void add_offsets(const h5::File& file, std::int64_t num_tokens);
  void add_ids(const h5::File& file);
  void add_score_from(const h5::File& file);
  void judge_lengths();
  void add_tokens(const h5::Dataset& tokens);
  void judge_tokens(std::int64_t sequence, std::int64_t position, const std::uint32_t* tokens,
                    std::int64_t count);
  void refuse_duplicates() const;
  void set_status(std::int64_t sequence, SequenceStatus status, std::string error);

  InputSet set_;
  std::int64_t max_position_;
  Xxh3 hash_;
  std::int64_t first_ = 0, count_ = 0;  // sequences of the file at hand
};

}  // namespace tetrarch::storage
