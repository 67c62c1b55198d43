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
/// In the unit that suits `compared_with`, so that numbers of one message can be compared; rounded
/// up.
std::string bytes_text(std::int64_t bytes, std::int64_t compared_with);
/// 1234567 -> "1,234,567"
std::string count_text(std::int64_t count);
/// 1, "file" -> "1 file"; 2000, "file" -> "2,000 files".
std::string counted(std::int64_t count, std::string_view noun);
/// Seconds as "12.3 s", "4:05 min" or "1:02:03 h".
std::string duration_text(double seconds);
/// The UTC time of now, "2026-01-31T12:00:00Z".
std::string utc_now();
/// A random UUID (version 4).
std::string make_uuid();
/// Whether the bytes are UTF-8: shortest forms, no surrogates.
bool is_utf8(std::string_view text);
/// UTF-8 without anything that steers a terminal: control characters, line ends, changes of the
/// writing direction.
bool is_printable(std::string_view text);
/// Foreign text as a message shows it: what is not printable byte by byte as \xNN, and cut with
/// "..." where it goes on after about `most` bytes.
std::string shown(std::string_view text, std::size_t most = 60);
/// The candidate with the smallest edit distance to `word`, or "" when none is near; words of more
/// than 100 bytes are near to none.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace tetrarch::base
