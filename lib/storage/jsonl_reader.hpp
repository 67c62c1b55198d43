/// The records of a JSONL file, also of a compressed one, in bounded memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "storage/checksum.hpp"
#include "storage/durable.hpp"
#include "storage/file_kind.hpp"
#include "storage/jsonl_record.hpp"
#include "storage/packed_file.hpp"

namespace tetrarch::storage {

/// Where a line stands: without blanks around it and its end.
struct JsonlLine {
  std::uint64_t begin = 0;   // byte in the file, or in what is inside of a compressed one
  std::uint32_t bytes = 0;   // 0: longer than is read
  std::uint32_t number = 0;  // from 1
};

struct JsonlLimits {
  std::size_t block_bytes = std::size_t{1} << 20;  // read at once; changes no record
  std::size_t line_bytes = std::size_t{64} << 20;  // a longer line is a bad record
};

/// What is inside a compressed file.
struct Unpacked {
  std::uint64_t bytes = 0;
  std::uint64_t xxh3 = 0;
};

/// Empty lines are passed over; a byte order mark at the start and CRLF are tolerated.
class JsonlReader {
 public:
  /// `format`: lines, gzip or zstd. Throws UsageError(input) when it cannot be read or is no
  /// regular file, and when something else than lines is inside a compressed one.
  explicit JsonlReader(const std::string& path, InputFormat format = InputFormat::lines,
                       const JsonlLimits& limits = {});

  /// The next record and its place; false at the end. A bad line is a record with a problem. Throws
  /// UsageError(input) when reading fails, and when no line looks like an object in braces: then
  /// the file is something else.
  bool next(JsonlRecord& record, JsonlLine& line);
  /// Reads a line again that next() found; false when the file has become shorter. Not of a
  /// compressed file.
  bool read(const JsonlLine& line, JsonlRecord& record);
  /// Of a compressed file, all of which next() has read.
  Unpacked unpacked() const { return {offset_ + buffer_.size(), hash_.digest()}; }

 private:
  bool find_line(std::string_view& text, JsonlLine& line);
  bool fill();
  void begin_packed(InputFormat format);
  std::size_t read_at(std::uint64_t begin, char* to, std::size_t bytes) const;
  void refuse_other_files(const std::string& problem) const;

  std::string path_;
  JsonlLimits limits_;
  Descriptor file_;
  std::unique_ptr<PackedFile> packed_;  // of a compressed file
  Xxh3 hash_;                           // of what was inside of it so far
  std::string buffer_;                  // what is at hand of the file
  std::uint64_t offset_ = 0;            // of buffer_ in the file
  std::size_t at_ = 0;                  // of the next line in buffer_
  std::string head_;                    // of a line that is too long
  std::uint32_t num_lines_ = 0;
  std::int64_t num_records_ = 0;
  bool has_objects_ = false, is_long_ = false;
  std::string first_problem_;
};

}  // namespace tetrarch::storage
