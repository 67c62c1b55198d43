// Parses one line of a JSONL input.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/jsonl_record.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/json.hpp"
#include "storage/inputs/json_members.hpp"

namespace tetrarch::storage {
namespace {

using base::Json;
using Tokens = std::vector<std::uint32_t>;

enum Field { id, tokens, input_ids, text, score_from, attention_mask, other };
constexpr std::array<const char*, other> field_names = {"id",   "tokens",     "input_ids",
                                                        "text", "score_from", "attention_mask"};
constexpr std::array<const char*, other> field_types = {
    "an unsigned integer or a text", "an array of unsigned integers",
    "an array of unsigned integers", "a text",
    "an unsigned integer",           "an array of unsigned integers"};

/// Text from a file, shortened for a message.
std::string cut(const std::string& words, std::size_t most = 40) {
  return words.size() <= most ? words : words.substr(0, most) + "...";
}

/// The JSON library's error in a short text. The text that was parsed begins at byte `at` of the
/// line.
std::string library_problem(std::size_t at, std::size_t position, const Json::exception& error) {
  std::string detail = error.what();
  if (detail.find("ill-formed UTF-8") != std::string::npos)
    return fmt::format("not UTF-8 at byte {}", at + position);
  for (const char* before :
       {"] ", " - "})  // cut off the exception's name, and what was being parsed
    if (const auto begin = detail.find(before); begin != std::string::npos)
      detail = detail.substr(begin + std::string_view(before).size());
  detail = detail.substr(0, detail.find("; last read"));
  return fmt::format("not JSON at byte {}: {}", at + position, cut(detail, 120));
}

/// Reads an array of valid token ids into `list`. False if the array has anything else; the JSON
/// parser then finds out what is wrong. It exists for speed: most bytes of an input are token ids.
bool take_numbers(std::string_view array, Tokens& list) {
  const char *at = array.data() + 1, *const end = array.data() + array.size();
  const auto skip_blanks = [&] {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
      ++at;
  };
  if (array.front() != '[') return false;
  list.clear();
  while (true) {
    skip_blanks();
    std::uint32_t number = 0;
    const auto [after, error] = std::from_chars(at, end, number);
    if (error != std::errc() || (*at == '0' && after - at > 1)) return false;
    list.push_back(number);
    at = after;
    skip_blanks();
    if (at == end || (*at != ',' && *at != ']')) return false;
    if (*at++ == ']') return at == end;
  }
}

/// Is this element of an array `false`, or a number that is zero?
bool means_zero(std::string_view element) {
  constexpr std::string_view blanks = " \t\r";
  element.remove_prefix(std::min(element.find_first_not_of(blanks), element.size()));
  element = element.substr(0, element.find_last_not_of(blanks) + 1);
  double number = 1;
  const auto [after, error] =
      std::from_chars(element.data(), element.data() + element.size(), number);
  return element == "false" ||
         (error == std::errc() && after == element.data() + element.size() && number == 0);
}

/// Event handler (SAX) of the JSON parser for the value of one field.
class Value {
 public:
  /// `at`: byte of the value in the line. `list` receives the numbers of a field that is an array.
  Value(Field field, std::size_t at, Tokens& list) : field_(field), at_(at), list_(list) {}

  bool null() {
    if (depth_ > 0) return wrong("null");
    is_null = true;
    return true;
  }
  bool boolean(bool value) { return wrong(value ? "true" : "false"); }
  bool number_integer(std::int64_t value) { return wrong(std::to_string(value)); }
  bool number_float(double, const std::string& spelling) { return wrong(cut(spelling)); }
  bool binary(Json::binary_t&) { return wrong("binary"); }
  bool number_unsigned(std::uint64_t value) {
    if (is_token()) return add_token(value);
    if (depth_ > 0 || (field_ != id && field_ != score_from)) return wrong(std::to_string(value));
    number = value;
    return true;
  }
  bool string(std::string& value) {
    if (depth_ > 0 || (field_ != id && field_ != text)) return wrong("a text");
    words = std::move(value);
    is_words = true;
    return true;
  }
  bool start_object(std::size_t) {
    wrong("an object");
    ++depth_;
    return true;
  }
  bool start_array(std::size_t) {
    if (depth_ > 0 || !is_list()) wrong("an array");
    ++depth_;
    return true;
  }
  bool end_object() {
    --depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool key(const std::string&) { return true; }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    note(library_problem(at_, position, error));
    return false;
  }

  bool is_null = false, is_words = false;
  std::uint64_t number = 0;
  std::string words, problem;

 private:
  bool is_list() const { return field_ == tokens || field_ == input_ids; }
  bool is_token() const { return is_list() && depth_ == 1; }
  std::string token_place() const {
    return fmt::format("the token at position {}{}", list_.size(),
                       field_ == input_ids ? " of input_ids" : "");
  }
  void note(std::string found) {
    if (problem.empty()) problem = std::move(found);
  }
  bool wrong(const std::string& found) {
    if (is_token()) {
      note(fmt::format("{} is {} (expected an unsigned integer)", token_place(), found));
    } else if (depth_ == 0) {
      note(fmt::format("{} is {} (expected {})", field_names[field_], found, field_types[field_]));
    }
    return true;
  }
  bool add_token(std::uint64_t value) {
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    if (value > most)
      note(fmt::format("{} is {} (expected at most {})", token_place(), value, most));
    list_.push_back(static_cast<std::uint32_t>(value));
    return true;
  }

  Field field_;
  std::size_t at_;
  Tokens& list_;
  int depth_ = 0;  // open objects and arrays
};

/// Collects the fields of one line in a record.
class Fields {
 public:
  explicit Fields(JsonlRecord& record) : record_(record) {}

  void take(const JsonMember& member) {
    const Field field = field_of(member.key);
    if (field == other) return;
    if (field == attention_mask) return take_mask(member.value);
    Tokens list;
    Tokens& numbers = field == tokens ? record_.tokens : list;
    Value value(field, member.at, numbers);
    if ((field != tokens && field != input_ids) || !take_numbers(member.value, numbers)) {
      numbers.clear();
      Json::sax_parse(member.value.begin(), member.value.end(), &value);
    }
    if (value.is_null) return;
    if (++num_seen_[field] > 1)
      note(field, fmt::format("the key {} stands twice", field_names[field]));
    note(field, value.problem);
    if (!value.problem.empty()) return;
    if (field == input_ids) input_ids_ = std::move(list);
    if (field == score_from) take_score_from(value.number);
    if (field == text) text_ = std::move(value.words);
    if (field == id && value.is_words) take_id(value.words);
    if (field == id && !value.is_words) record_.id = value.number;
  }

  /// Makes the checks that need all fields. Call it after the last member.
  void finish(const std::string& problem_of_line) {
    note(other, problem_of_line);
    if (num_seen_[id] > 1) record_.id.emplace<std::monostate>();
    if (num_seen_[input_ids] > 0) take_input_ids();
    if (num_seen_[tokens] + num_seen_[input_ids] == 0 && record_.problem.empty()) take_text();
    if (!record_.problem.empty()) record_.tokens.clear();
  }

 private:
  static Field field_of(std::string_view key) {
    std::string unescaped;
    if (key.find('\\') != std::string_view::npos) {
      const Json value = Json::parse('"' + std::string(key) + '"', nullptr, false);
      if (!value.is_string()) return other;
      unescaped = value.get<std::string>();
      key = unescaped;
    }
    int field = 0;
    while (field < other && key != field_names[field])
      ++field;
    return static_cast<Field>(field);
  }
  /// Keeps the first problem. A problem of "text" is kept apart, because it counts only if the
  /// tokens are made from the text.
  void note(Field field, const std::string& problem) {
    std::string& first = field == text ? text_problem_ : record_.problem;
    if (first.empty()) first = problem;
  }
  void take_id(const std::string& value) {
    if (value.size() > max_id_bytes) {
      note(id, fmt::format("id has {} bytes (expected at most {})", value.size(), max_id_bytes));
    } else if (value.find('\0') != std::string::npos) {
      note(id, "id holds a zero byte (expected a text without)");
    } else {
      record_.id = value;
    }
  }
  void take_score_from(std::uint64_t value) {
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    if (value > most)
      return note(score_from, fmt::format("score_from is {} (expected at most {})", value, most));
    record_.score_from = value;
  }
  /// Counts the zeros of attention_mask. Tokenizers write it together with input_ids: 1 for a
  /// token, 0 for padding; some write numbers with a point, or true and false. Other values are
  /// ignored.
  void take_mask(std::string_view value) {
    Tokens mask;
    if (take_numbers(value, mask)) {
      num_padding_ += std::ranges::count(mask, 0u);
      return;
    }
    if (!value.starts_with('[')) return;
    for (std::string_view rest = value.substr(1); !rest.empty();) {
      const std::size_t end = std::min(rest.find_first_of(",]"), rest.size());
      num_padding_ += means_zero(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  void take_input_ids() {
    if (num_seen_[tokens] == 0) {
      if (num_padding_ > 0)
        note(input_ids, fmt::format("input_ids hold padding (attention_mask has {} {}; expected "
                                    "input_ids without padding)",
                                    num_padding_, num_padding_ == 1 ? "zero" : "zeros"));
      record_.tokens.swap(input_ids_);
    } else if (record_.tokens != input_ids_) {
      note(tokens, "tokens and input_ids differ (expected one of them, or the same in both)");
    }
  }
  void take_text() {
    if (num_seen_[text] == 0) return note(tokens, "tokens are missing (or input_ids, or text)");
    if (!text_problem_.empty()) return note(tokens, text_problem_);
    record_.is_text = true;
    for (const char letter : text_)
      record_.tokens.push_back(static_cast<unsigned char>(letter));
  }

  JsonlRecord& record_;
  std::array<int, other> num_seen_ = {};
  Tokens input_ids_;
  std::int64_t num_padding_ = 0;  // zeros of attention_mask
  std::string text_, text_problem_;
};

/// Event handler (SAX) of the JSON parser for a line that is no object: finds where it is not JSON.
class Nothing {
 public:
  bool null() { return true; }
  bool boolean(bool) { return true; }
  bool number_integer(std::int64_t) { return true; }
  bool number_unsigned(std::uint64_t) { return true; }
  bool number_float(double, const std::string&) { return true; }
  bool string(std::string&) { return true; }
  bool binary(Json::binary_t&) { return true; }
  bool start_object(std::size_t) { return true; }
  bool key(std::string&) { return true; }
  bool end_object() { return true; }
  bool start_array(std::size_t) { return true; }
  bool end_array() { return true; }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    problem = library_problem(0, position, error);
    return false;
  }
  std::string problem = "not an object";
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
  const std::size_t first = line.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || line[first] != '{') {
    Nothing nothing;
    Json::sax_parse(line.begin(), line.end(), &nothing);
    record.problem = nothing.problem;
    return;
  }
  Fields fields(record);
  JsonMembers members(line);
  for (JsonMember member; members.next(member);)
    fields.take(member);
  fields.finish(members.problem());
}

}  // namespace tetrarch::storage
