// Splits the JSON object on a line into its members. Needs one byte of memory per level of nesting.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/json_members.hpp"

#include <array>

#include <fmt/format.h>

namespace tetrarch::storage {
namespace {

/// Whether a byte may be part of a number or word. A table, because most bytes of a line are looked
/// up here.
constexpr std::array<bool, 256> is_of_word = [] {
  std::array<bool, 256> result = {};
  for (const char c : std::string_view("0123456789abcdefghijklmnopqrstuvwxyz"
                                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ+-._"))
    result[static_cast<unsigned char>(c)] = true;
  return result;
}();

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

}  // namespace

bool JsonMembers::next(JsonMember& member) {
  if (!problem_.empty()) return false;
  if (!has_begun_) {
    has_begun_ = true;
    if (!take('{', "a {")) return false;
    if (peek() == '}') return end_values();
  } else {
    if (peek() != ',') return end_values();
    ++at_;
  }
  peek();
  const std::size_t key = at_ + 1;
  if (!skip_text("a key in quotes")) return false;
  member.key = line_.substr(key, at_ - 1 - key);
  if (!take(':', "a : behind the key")) return false;
  peek();
  member.at = at_;
  if (!skip_value()) return false;
  member.value = line_.substr(member.at, at_ - member.at);
  return true;
}

/// Skips blanks. Returns the character after them, or 0 at the end of the line.
char JsonMembers::peek() {
  while (at_ < line_.size() && is_blank(line_[at_]))
    ++at_;
  return at_ < line_.size() ? line_[at_] : '\0';
}

bool JsonMembers::refuse(const char* expected) {
  problem_ = at_ >= line_.size()
                 ? fmt::format("not JSON at byte {}: unexpected end of input", line_.size() + 1)
                 : fmt::format("not JSON at byte {}: expected {}", at_ + 1, expected);
  return false;
}

bool JsonMembers::take(char letter, const char* expected) {
  if (peek() != letter || at_ == line_.size()) return refuse(expected);
  ++at_;
  return true;
}

bool JsonMembers::skip_text(const char* expected) {
  if (!take('"', expected)) return false;
  while (at_ < line_.size() && line_[at_] != '"')
    at_ += line_[at_] == '\\' ? 2 : 1;
  if (at_ >= line_.size()) return refuse(expected);
  ++at_;
  return true;
}

bool JsonMembers::skip_key() {
  return skip_text("a key in quotes") && take(':', "a : behind the key");
}

bool JsonMembers::skip_word() {
  const std::size_t begin = at_;
  while (at_ < line_.size() && is_of_word[static_cast<unsigned char>(line_[at_])])
    ++at_;
  return at_ > begin || refuse("a value");
}

/// Skips the value that begins here, with all values nested in it.
bool JsonMembers::skip_value() {
  open_.clear();
  while (begin_value()) {
    while (!open_.empty() && peek() == open_.back() && at_ < line_.size()) {
      open_.pop_back();
      ++at_;
    }
    if (open_.empty()) return true;
    if (!take(',', open_.back() == '}' ? "a , or }" : "a , or ]")) return false;
    if (open_.back() == '}' && !skip_key()) return false;
  }
  return false;
}

/// Skips a text or a word. If an array or object begins here: enters it, and what is nested at its
/// beginning, and skips the first text or word inside; if it is empty, stops before its closing
/// bracket.
bool JsonMembers::begin_value() {
  while (true) {
    const char first = peek();
    if (first == '"') return skip_text("a text");
    if (first != '[' && first != '{') return skip_word();
    open_ += first == '[' ? ']' : '}';
    ++at_;
    if (peek() == open_.back()) return true;
    if (first == '{' && !skip_key()) return false;
  }
}

/// Checks that the object ends here and nothing follows on the line. Always returns false.
bool JsonMembers::end_values() {
  if (take('}', "a , or }") && (peek(), at_ < line_.size())) refuse("the end of the line");
  return false;
}

}  // namespace tetrarch::storage
