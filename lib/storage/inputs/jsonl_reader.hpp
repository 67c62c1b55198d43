/// Reads the records of a plain or compressed JSONL file in bounded memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "storage/files/checksum.hpp"
#include "storage/files/durable.hpp"
#include "storage/files/file_kind.hpp"
#include "storage/files/packed_file.hpp"
#include "storage/inputs/jsonl_record.hpp"

namespace tetrarch::storage {

/// The place of a line, without blanks around it and without its line end.
struct JsonlLine {
  std::uint64_t begin = 0;   // byte in the file; in the content, if the file is compressed
  std::uint32_t bytes = 0;   // 0: the line is too long and is not read
  std::uint32_t number = 0;  // counts from 1
};

struct JsonlLimits {
  std::size_t block_bytes = std::size_t{1} << 20;  // read at once; does not affect the records
  std::size_t line_bytes = std::size_t{64} << 20;  // a longer line is a bad record
};

/// Size and checksum of the content of a compressed file.
struct Unpacked {
  std::uint64_t bytes = 0;
  std::uint64_t xxh3 = 0;
};

/// Reads one record per line. Skips empty lines; accepts a byte order mark at the start of a line
/// and CRLF line ends.
class JsonlReader {
 public:
  /// `format`: lines, gzip or zstd. Throws Refusal(input) if the file cannot be read or is no
  /// regular file, or if the content of a compressed file is not JSON lines.
  explicit JsonlReader(const std::string& path, InputFormat format = InputFormat::lines,
                       const JsonlLimits& limits = {});

  /// Reads the next record and its place; false at the end. A bad line gives a record with a
  /// problem. Throws Refusal(input) if reading fails, and if none of the first 1000 lines (or
  /// of all lines) looks like an object in braces: then the file is not JSON lines.
  bool next(JsonlRecord& record, JsonlLine& line);
  /// Reads again a line that next() found; false if the file has become too short. Not for
  /// compressed files.
  bool read(const JsonlLine& line, JsonlRecord& record);
  /// Size and checksum of a compressed file's content. Call it after next() has returned false.
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
  Xxh3 hash_;                           // of the content read so far
  std::string buffer_;                  // bytes of the file (or content) that were read
  std::uint64_t offset_ = 0;            // of buffer_ in the file (or content)
  std::size_t at_ = 0;                  // of the next line in buffer_
  std::string head_;                    // first bytes of a line that is too long
  std::uint32_t num_lines_ = 0;
  std::int64_t num_records_ = 0;
  bool has_objects_ = false, is_long_ = false;
  std::string first_problem_;
};

}  // namespace tetrarch::storage
