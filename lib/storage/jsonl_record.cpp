// One line of a JSONL input, and what is wrong with it.
// SPDX-License-Identifier: Apache-2.0
#include "storage/jsonl_record.hpp"

#include <array>
#include <limits>

#include <fmt/format.h>

#include "base/json.hpp"

namespace tetrarch::storage {
namespace {

using base::Json;

enum Field { id, tokens, text, score_from, other };
constexpr std::array<const char*, 4> field_names = {"id", "tokens", "text", "score_from"};
constexpr std::array<const char*, 4> field_types = {"an unsigned integer or a text",
                                                    "an array of unsigned integers", "a text",
                                                    "an unsigned integer"};

/// Foreign text in a message, short.
std::string cut(const std::string& words, std::size_t most = 40) {
  return words.size() <= most ? words : words.substr(0, most) + "...";
}

/// Follows the parser: a value belongs to a field of the line's object, to the tokens, or to
/// nobody.
class Events {
 public:
  explicit Events(JsonlRecord& record) : record_(record) {}

  /// The value of a key as if the key were absent.
  bool null() {
    if (!is_object_ || depth_ != 1) return wrong("null");
    if (field_ != other) --num_seen_[field_];
    return true;
  }
  bool boolean(bool value) { return wrong(value ? "true" : "false"); }
  bool number_integer(std::int64_t value) { return wrong(std::to_string(value)); }
  bool number_float(double, const std::string& words) { return wrong(cut(words)); }
  bool binary(Json::binary_t&) { return wrong("binary"); }
  bool number_unsigned(std::uint64_t value) {
    if (is_token()) return add_token(value);
    if (is_value_of(id)) {
      record_.id = value;
    } else if (is_value_of(score_from)) {
      record_.score_from = value;
    } else {
      return wrong(std::to_string(value));
    }
    return true;
  }
  bool string(std::string& value) {
    if (is_value_of(text)) {
      text_ = std::move(value);
    } else if (is_value_of(id)) {
      take_id(value);
    } else {
      return wrong("a text");
    }
    return true;
  }
  bool start_object(std::size_t) {
    if (depth_ == 0) is_object_ = true;
    wrong("an object");
    ++depth_;
    return true;
  }
  bool start_array(std::size_t) {
    if (is_value_of(tokens)) {
      in_tokens_ = true;
    } else {
      wrong("an array");
    }
    ++depth_;
    return true;
  }
  bool end_object() {
    --depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    if (depth_ == 1) in_tokens_ = false;
    return true;
  }
  bool key(const std::string& name) {
    if (depth_ != 1 || !is_object_) return true;
    field_ = other;
    for (int field = id; field < other; ++field)
      if (name == field_names[field]) field_ = static_cast<Field>(field);
    if (field_ == other) return true;
    if (++num_seen_[field_] > 1) note_in_field(fmt::format("the key {} stands twice", name));
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    std::string detail = error.what();
    if (const auto begin = detail.find(" - "); begin != std::string::npos)
      detail = detail.substr(begin + 3);
    detail = detail.substr(0, detail.find("; last read"));
    const bool is_utf8 = detail.find("ill-formed UTF-8") == std::string::npos;
    record_.problem = is_utf8 ? fmt::format("not JSON at byte {}: {}", position, cut(detail, 120))
                              : fmt::format("not UTF-8 at byte {}", position);
    return false;
  }

  /// What only the whole line can tell.
  void finish(bool is_whole) {
    if (num_seen_[id] > 1) record_.id.emplace<std::monostate>();
    if (is_whole && !is_object_) note("not an object");
    if (is_whole && num_seen_[id] == 0) note("id is missing");
    if (is_whole && num_seen_[tokens] == 0) take_text();
    if (!record_.problem.empty()) record_.tokens.clear();
  }

 private:
  bool is_value_of(Field field) const { return is_object_ && depth_ == 1 && field_ == field; }
  bool is_token() const { return in_tokens_ && depth_ == 2; }
  void note(std::string problem) {
    if (record_.problem.empty()) record_.problem = std::move(problem);
  }
  /// What is wrong with a text matters only where it is needed.
  void note_in_field(std::string problem) {
    if (field_ != text) {
      note(std::move(problem));
    } else if (text_problem_.empty()) {
      text_problem_ = std::move(problem);
    }
  }
  void take_text() {
    if (num_seen_[text] == 0) return note("tokens are missing (or text)");
    if (!text_problem_.empty()) return note(text_problem_);
    record_.is_text = true;
    for (const char letter : text_)
      record_.tokens.push_back(static_cast<unsigned char>(letter));
  }
  /// A value that its place does not take; nothing where its key is none of ours.
  bool wrong(const std::string& found) {
    if (is_token()) {
      note(fmt::format("the token at position {} is {} (expected an unsigned integer)",
                       record_.tokens.size(), found));
    } else if (is_object_ && depth_ == 1 && field_ != other) {
      note_in_field(
          fmt::format("{} is {} (expected {})", field_names[field_], found, field_types[field_]));
    }
    return true;
  }
  bool add_token(std::uint64_t value) {
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    if (value > most)
      note(fmt::format("the token at position {} is {} (expected at most {})",
                       record_.tokens.size(), value, most));
    record_.tokens.push_back(static_cast<std::uint32_t>(value));
    return true;
  }
  void take_id(const std::string& value) {
    if (value.size() > max_id_bytes) {
      note(fmt::format("id has {} bytes (expected at most {})", value.size(), max_id_bytes));
    } else if (value.find('\0') != std::string::npos) {
      note("id holds a zero byte (expected a text without)");
    } else {
      record_.id = value;
    }
  }

  JsonlRecord& record_;
  int depth_ = 0;  // open objects and arrays
  bool is_object_ = false, in_tokens_ = false;
  Field field_ = other;
  std::array<int, 4> num_seen_ = {};
  std::string text_, text_problem_;
};

}  // namespace

std::string id_text(const JsonlRecord& record) {
  if (const auto* number = std::get_if<std::uint64_t>(&record.id)) return std::to_string(*number);
  const auto* words = std::get_if<std::string>(&record.id);
  return words ? *words : "none";
}

void parse_record(std::string_view line, JsonlRecord& record) {
  record.id.emplace<std::monostate>();
  record.tokens.clear();
  record.score_from = 0;
  record.is_text = false;
  record.problem.clear();
  Events events(record);
  events.finish(Json::sax_parse(line.begin(), line.end(), &events));
}

}  // namespace tetrarch::storage
