/// Numbers and names as a person reads them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tetrarch::base {

/// 1536 -> "1.50 KiB"; below 1 KiB in whole bytes.
std::string bytes_text(std::int64_t bytes);
/// 1234567 -> "1,234,567"
std::string count_text(std::int64_t count);
/// Seconds as "12.3 s", "4:05 min" or "1:02:03 h".
std::string duration_text(double seconds);
/// The UTC time of now, "2026-01-31T12:00:00Z".
std::string utc_now();
/// A random UUID (version 4).
std::string make_uuid();
/// The candidate with the smallest edit distance to `word`, or "" when none is near.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace tetrarch::base
