// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/text.hpp"

namespace tetrarch::base {
namespace {

constexpr std::int64_t most_values = 8'000'000;  // limits memory: a value takes 16 bytes or more

/// Builds the value from the parser's events. The library's own builder searches all earlier keys
/// of an object for each new key: its time grows with the square of the number of keys.
class Tree {
 public:
  explicit Tree(int max_depth) : max_depth_(max_depth) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return refuse("binary data"); }
  bool key(std::string& name) {
    key_ = std::move(name);
    return true;
  }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() {
    const Json::object_t& object = open_.back()->get_ref<const Json::object_t&>();
    open_.pop_back();
    std::vector<std::string_view> keys;
    for (const auto& [name, value] : object)
      keys.push_back(name);
    std::ranges::sort(keys);
    const auto twice = std::ranges::adjacent_find(keys);
    if (twice == keys.end()) return true;
    return refuse(fmt::format("the key \"{}\" occurs twice", shown(*twice)));
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    constexpr std::size_t most_shown = 160;
    std::string_view detail = error.what();
    if (const auto begin = detail.find("parse error"); begin != std::string_view::npos)
      detail.remove_prefix(begin);
    return refuse(fmt::format("byte {}: {}", position, shown(detail, most_shown)));
  }

  Json take() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

 private:
  bool refuse(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  /// Appends the value to the innermost open array or object and returns its address. The pointers
  /// in open_ stay valid, because only the innermost open container grows.
  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (parent.is_array()) return parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    std::vector<Json::object_t::value_type>& members = parent.get_ref<Json::object_t&>();
    return members.emplace_back(std::move(key_), std::move(value)).second;
  }
  bool add(Json value) {
    if (++num_values_ > most_values) return refuse(fmt::format("more than {} values", most_values));
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (std::ssize(open_) >= max_depth_)
      return refuse(fmt::format("nested deeper than {}", max_depth_));
    if (++num_values_ > most_values) return refuse(fmt::format("more than {} values", most_values));
    open_.push_back(&place(std::move(value)));
    return true;
  }

  int max_depth_;
  std::int64_t num_values_ = 0;
  Json root_;
  std::vector<Json*> open_;
  std::string key_, problem_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& what, ExitCode code, int max_depth) {
  Tree tree(max_depth);
  if (!Json::sax_parse(text.begin(), text.end(), &tree))
    throw Refusal(code,
                  fmt::format("{}: not valid JSON ({}). Make it again.", what, tree.problem()));
  return tree.take();
}

std::int64_t whole_number(const Json& value, std::int64_t least, std::int64_t most) {
  const bool is_whole =
      value.is_number_integer() &&
      !(value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{INT64_MAX});
  const std::int64_t number = is_whole ? value.get<std::int64_t>() : 0;
  if (!is_whole || number < least || number > most)
    throw Json::type_error::create(
        302, fmt::format("must be a whole number, {} to {}", least, most), &value);
  return number;
}

}  // namespace tetrarch::base
