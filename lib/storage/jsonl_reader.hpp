/// The records of a JSONL file, one after the other and again by place, in bounded memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "storage/durable.hpp"
#include "storage/jsonl_record.hpp"

namespace tetrarch::storage {

/// Where a line stands: without blanks around it and its end.
struct JsonlLine {
  std::uint64_t begin = 0;   // byte in the file
  std::uint32_t bytes = 0;   // 0: longer than is read
  std::uint32_t number = 0;  // from 1
};

struct JsonlLimits {
  std::size_t block_bytes = std::size_t{1} << 20;  // read at once; changes no record
  std::size_t line_bytes = std::size_t{64} << 20;  // a longer line is a bad record
};

/// Empty lines are passed over; a byte order mark at the start and CRLF are tolerated.
class JsonlReader {
 public:
  /// Throws UsageError(input) when it cannot be read, is no regular file or is HDF5.
  explicit JsonlReader(const std::string& path, const JsonlLimits& limits = {});

  /// The next record and its place; false at the end. A bad line is a record with a problem. Throws
  /// UsageError(input) when reading fails, and when no line looks like an object in braces: then
  /// the file is something else.
  bool next(JsonlRecord& record, JsonlLine& line);
  /// Reads a line again that next() found; false when the file has become shorter.
  bool read(const JsonlLine& line, JsonlRecord& record);

 private:
  bool find_line(std::string_view& text, JsonlLine& line);
  bool fill();
  std::size_t read_at(std::uint64_t begin, char* to, std::size_t bytes) const;
  void refuse_other_files(const std::string& problem) const;

  std::string path_;
  JsonlLimits limits_;
  Descriptor file_;
  std::string buffer_;        // what is at hand of the file
  std::uint64_t offset_ = 0;  // of buffer_ in the file
  std::size_t at_ = 0;        // of the next line in buffer_
  std::string head_;          // of a line that is too long
  std::uint32_t num_lines_ = 0;
  std::int64_t num_records_ = 0;
  bool has_objects_ = false, is_long_ = false;
  std::string first_problem_;
};

}  // namespace tetrarch::storage
