// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <set>

#include <fmt/format.h>

namespace tetrarch::base {
namespace {

/// Follows the parse: keeps the keys of every open object, so that a repeated key is noticed.
class Watch {
 public:
  Watch(int max_depth, std::string* problem) : max_depth_(max_depth), problem_(problem) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= max_depth_) note(fmt::format("nested deeper than {} levels", max_depth_));
      keys_.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      if (!keys_.empty()) keys_.pop_back();
    } else if (event == Event::key && !keys_.empty()) {
      if (!keys_.back().insert(parsed.get<std::string>()).second)
        note(fmt::format("the key \"{}\" stands twice", parsed.get<std::string>()));
    }
    return true;
  }

 private:
  void note(std::string text) {
    if (problem_->empty()) *problem_ = std::move(text);
  }

  int max_depth_;
  std::string* problem_;
  std::vector<std::set<std::string>> keys_;
};

/// The deepest nesting of brackets outside strings: known before any recursion.
int depth_of(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& what, ExitCode code, int max_depth) {
  const auto refuse = [&](const std::string& problem) {
    return UsageError(code, fmt::format("{}: not valid JSON ({}). Make it again.", what, problem));
  };
  if (depth_of(text) > max_depth) throw refuse(fmt::format("nested deeper than {}", max_depth));
  std::string problem;
  Json result;
  try {
    result = Json::parse(text, Watch(max_depth, &problem));
  } catch (const Json::exception& error) {
    throw refuse(error.what());
  }
  if (!problem.empty()) throw refuse(problem);
  return result;
}

}  // namespace tetrarch::base
