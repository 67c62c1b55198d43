// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "option_spec.hpp"

namespace tetrarch::app {

const Setting& Settings::find(const std::string& name) const {
  const auto found = std::find_if(settings_.begin(), settings_.end(),
                                  [&](const Setting& entry) { return entry.name == name; });
  base::expects(found != settings_.end(), "an option of this subcommand's table");
  return *found;
}

bool Settings::is_given(const std::string& name) const {
  const std::string& origin = find(name).origin;
  return origin != "default" && origin != "not given";
}

std::string Settings::text(const std::string& name) const {
  const Setting& found = find(name);
  return found.values.empty() ? "" : found.values.front();
}

std::int64_t Settings::integer(const std::string& name) const {
  const auto value = number_in<std::int64_t>(text(name));
  base::expects(value.has_value(), "an option with a whole number");
  return *value;
}

double Settings::number(const std::string& name) const {
  const auto value = number_in<double>(text(name));
  base::expects(value.has_value(), "an option with a number");
  return *value;
}

std::optional<std::int64_t> Settings::optional_integer(const std::string& name) const {
  return has(name) ? std::optional(integer(name)) : std::nullopt;
}

std::vector<std::string> Settings::lines() const {
  constexpr std::size_t widest_value = 40;  // longer ones push their origin to the right
  std::size_t name_width = 0, value_width = 0;
  std::vector<std::string> values;
  for (const Setting& entry : settings_) {
    values.push_back(fmt::format("{}", fmt::join(entry.values, " ")));
    name_width = std::max(name_width, entry.name.size());
    value_width = std::max(value_width, std::min(values.back().size(), widest_value));
  }
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < settings_.size(); ++i)
    lines.push_back(fmt::format("{:<{}}  {:<{}}  {}", settings_[i].name, name_width, values[i],
                                value_width, settings_[i].origin));
  return lines;
}

base::Json Settings::json() const {
  base::Json result = base::Json::object();
  for (const Setting& entry : settings_) {
    base::Json value;
    if (entry.values.size() == 1) value = entry.values.front();
    if (entry.values.size() > 1) value = entry.values;
    result[entry.name] = base::Json{{"value", value}, {"origin", entry.origin}};
  }
  return result;
}

}  // namespace tetrarch::app
