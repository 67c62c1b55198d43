// Reads the records of a JSONL file in order, or single lines again.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/jsonl_reader.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

constexpr std::size_t head_bytes = 16;
// if none of so many first lines is an object, the file is refused without reading the rest
constexpr std::int64_t max_foreign_lines = 1000;

[[noreturn]] void refuse(const std::string& path, const std::string& problem,
                         const std::string& advice) {
  throw base::Refusal(ExitCode::input, fmt::format("{}: {}. {}", path, problem, advice));
}

/// `text` without a byte order mark and blanks at its front and without blanks at its end. Adds the
/// number of bytes removed at the front to `begin`.
std::string_view trimmed(std::string_view text, std::uint64_t& begin) {
  constexpr std::string_view mark = "\xef\xbb\xbf", blanks = " \t\r";
  // a mark inside a file: files were concatenated
  std::size_t front = text.starts_with(mark) ? mark.size() : 0;
  front = std::min(text.find_first_not_of(blanks, front), text.size());
  begin += front;
  text.remove_prefix(front);
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

}  // namespace

JsonlReader::JsonlReader(const std::string& path, InputFormat format, const JsonlLimits& limits)
    : path_(path), limits_(limits), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat status = {};
  if (!file_.has_value() || ::fstat(file_.get(), &status) != 0)
    refuse(path, fmt::format("cannot be opened ({})", std::strerror(errno)),
           "Check the path and its permissions.");
  if (!S_ISREG(status.st_mode))
    refuse(path, "is no regular file (lines are read again when their tokens are needed)",
           "Give a file.");
  if (format != InputFormat::lines) begin_packed(format);
}

/// Opens a compressed file. Refuses it if its content is not JSON lines.
void JsonlReader::begin_packed(InputFormat format) {
  packed_ = open_packed(path_, format);
  buffer_.resize(kind_head_bytes);
  buffer_.resize(packed_->read(buffer_.data(), buffer_.size()));
  hash_.update(buffer_);
  FileKind inside = kind_of_bytes(buffer_, buffer_.size() < kind_head_bytes, path_);
  if (inside.format == InputFormat::lines) return;
  const bool is_gzip = format == InputFormat::gzip;
  if (inside.advice.empty())
    inside.advice = fmt::format("Unpack it first: {} FILE.", is_gzip ? "gunzip -k" : "zstd -d");
  refuse(path_, fmt::format("is {}, and its content is {}", is_gzip ? "gzip" : "zstd", inside.what),
         inside.advice);
}

bool JsonlReader::next(JsonlRecord& record, JsonlLine& line) {
  std::string_view text;
  do {
    if (!find_line(text, line)) {
      if (num_records_ > 0 && !has_objects_) refuse_other_files(first_problem_);
      return false;
    }
  } while (text.empty() && !is_long_);
  ++num_records_;
  parse_record(is_long_ ? std::string_view() : text, record);
  if (is_long_)
    record.problem =
        fmt::format("the line is longer than {} MiB, and is not read", limits_.line_bytes >> 20);
  has_objects_ = has_objects_ || (text.starts_with('{') && (is_long_ || text.ends_with('}')));
  if (num_records_ == 1) first_problem_ = fmt::format("line {}: {}", num_lines_, record.problem);
  if (!has_objects_ && num_records_ == max_foreign_lines) refuse_other_files(first_problem_);
  return true;
}

bool JsonlReader::read(const JsonlLine& line, JsonlRecord& record) {
  base::expects(!packed_, "lines are read again where they lie unpacked");
  std::string text(line.bytes, '\0');
  const bool is_whole = read_at(line.begin, text.data(), text.size()) == text.size();
  if (is_whole) parse_record(text, record);
  return is_whole;
}

/// Finds the next line and trims it; false at the end of the file. If the line is too long, sets
/// is_long_, and `text` is only its first bytes.
bool JsonlReader::find_line(std::string_view& text, JsonlLine& line) {
  line.begin = offset_ + at_;
  std::size_t searched = 0, end = 0;
  is_long_ = false;
  while ((end = buffer_.find('\n', at_ + searched)) == std::string::npos) {
    searched = buffer_.size() - at_;
    if (searched > limits_.line_bytes) {
      if (!is_long_) head_ = buffer_.substr(at_, head_bytes);
      is_long_ = true;
      at_ = buffer_.size();
      searched = 0;
    }
    if (fill()) continue;
    if (buffer_.empty() && !is_long_) return false;
    end = buffer_.size();
    break;
  }
  if (num_lines_ == std::numeric_limits<std::uint32_t>::max())
    refuse(path_, fmt::format("has more than {} lines", num_lines_), "Split it.");
  line.number = ++num_lines_;
  text = std::string_view(buffer_).substr(at_, end - at_);
  at_ = std::min(end + 1, buffer_.size());
  if (!is_long_ && text.size() > limits_.line_bytes) {
    head_ = text.substr(0, head_bytes);
    is_long_ = true;
  }
  text = trimmed(is_long_ ? head_ : text, line.begin);
  line.bytes = is_long_ ? 0 : static_cast<std::uint32_t>(text.size());
  return true;
}

/// Removes the used bytes from the buffer and appends a block of the file; false at its end.
bool JsonlReader::fill() {
  buffer_.erase(0, at_);
  offset_ += at_;
  at_ = 0;
  const std::size_t kept = buffer_.size();
  buffer_.resize(kept + limits_.block_bytes);
  char* const end = buffer_.data() + kept;
  buffer_.resize(kept + (packed_ ? packed_->read(end, limits_.block_bytes)
                                 : read_at(offset_ + kept, end, limits_.block_bytes)));
  if (packed_) hash_.update(std::string_view(buffer_).substr(kept));
  return buffer_.size() > kept;
}

/// Reads up to `bytes` bytes from byte `begin` on. Returns how many: fewer only at the end of the
/// file.
std::size_t JsonlReader::read_at(std::uint64_t begin, char* to, std::size_t bytes) const {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t count =
        ::pread(file_.get(), to + done, bytes - done, static_cast<off_t>(begin + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      refuse(path_, fmt::format("byte {} cannot be read ({})", begin + done, std::strerror(errno)),
             "Check the file system.");
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

void JsonlReader::refuse_other_files(const std::string& problem) const {
  refuse(path_,
         fmt::format("is not JSON lines ({}; {})",
                     num_records_ == 1 ? "its one line is no object in braces"
                                       : fmt::format("none of its first {} lines is an object in "
                                                     "braces",
                                                     num_records_),
                     problem),
         "Write one object a line: {\"id\": 1, \"tokens\": [1, 2, 3]}.");
}

}  // namespace tetrarch::storage
