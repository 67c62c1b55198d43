// Counts the reasons for which sequences became error records.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/error_reasons.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "base/text.hpp"

namespace tetrarch::storage {
namespace {

/// Replaces each run of digits by a single 0.
std::string without_numbers(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const bool is_digit = '0' <= c && c <= '9';
    if (!is_digit || !result.ends_with('0')) result += is_digit ? '0' : c;
  }
  return result;
}

std::string list_text(const InputSet& inputs, const std::vector<ErrorReason>& reasons) {
  constexpr std::size_t most_listed = 5;
  std::string list;
  for (std::size_t i = 0; i < std::min(most_listed, reasons.size()); ++i)
    list += fmt::format("{}{} ({}, first {})", i == 0 ? "" : "; ", reasons[i].text,
                        base::count_text(reasons[i].count), inputs.place(reasons[i].first));
  if (reasons.size() > most_listed)
    list += fmt::format("; {} other reasons", reasons.size() - most_listed);
  return list;
}

std::int64_t count_of(const std::vector<ErrorReason>& reasons) {
  std::int64_t count = 0;
  for (const ErrorReason& reason : reasons)
    count += reason.count;
  return count;
}

}  // namespace

std::vector<ErrorReason> error_reasons(const InputSet& inputs, std::int64_t begin) {
  std::map<std::tuple<SequenceStatus, std::string>, ErrorReason> found;
  const auto& errors = inputs.errors();
  for (auto at = errors.lower_bound(begin); at != errors.end(); ++at) {
    const auto& [sequence, text] = *at;
    const SequenceStatus status = inputs.status(sequence);
    ErrorReason& reason = found[{status, without_numbers(text)}];
    if (reason.count++ == 0) reason = {status, text, 1, sequence};
  }
  std::vector<ErrorReason> reasons;
  for (auto& [key, reason] : found)
    reasons.push_back(std::move(reason));
  std::ranges::sort(reasons, [](const ErrorReason& a, const ErrorReason& b) {
    return a.count != b.count ? a.count > b.count : a.first < b.first;
  });
  return reasons;
}

std::string error_summary(const InputSet& inputs) {
  const std::vector<ErrorReason> all = error_reasons(inputs);
  if (all.empty()) return "";
  std::map<SequenceStatus, std::vector<ErrorReason>> by_status;
  for (const ErrorReason& reason : all)
    by_status[reason.status].push_back(reason);
  const std::int64_t count = count_of(all);
  std::string text = base::counted(count, "error record") + ":";
  if (by_status.size() == 1) return text + " " + list_text(inputs, all);
  for (const auto& [status, reasons] : by_status)
    text += fmt::format("\n  {} of status {} ({}): {}", base::count_text(count_of(reasons)),
                        static_cast<int>(status), name_of(status), list_text(inputs, reasons));
  return text;
}

}  // namespace tetrarch::storage
