/// Formats numbers, times and names for messages and logs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tetrarch::base {

/// 1536 -> "1.50 KiB"; below 1 KiB in whole bytes ("512 B").
std::string bytes_text(std::int64_t bytes);
/// `bytes` in the unit that suits `compared_with`, rounded up to hundredths. So two numbers of one
/// message have the same unit.
std::string bytes_text(std::int64_t bytes, std::int64_t compared_with);
/// 1234567 -> "1,234,567"
std::string count_text(std::int64_t count);
/// 1, "file" -> "1 file"; 2000, "file" -> "2,000 files".
std::string counted(std::int64_t count, std::string_view noun);
/// Seconds as "12.3 s", "4:05 min" or "1:02:03 h".
std::string duration_text(double seconds);
/// The current time in UTC, "2026-01-31T12:00:00Z".
std::string utc_now();
/// A random UUID (version 4).
std::string make_uuid();
/// True when the bytes are valid UTF-8: each character in its shortest form, no surrogates.
bool is_utf8(std::string_view text);
/// True for valid UTF-8 without control characters, line ends and characters that change the
/// writing direction. Such text cannot control a terminal.
bool is_printable(std::string_view text);
/// Text from a user's file or command line, made safe for a message. Each byte that is not part of
/// a printable character becomes \xNN. The result is cut after about `most` bytes and then ends
/// with "...".
std::string shown(std::string_view text, std::size_t most = 60);
/// The candidate with the smallest edit distance to `word`, or "" when each distance exceeds the
/// larger of 2 and a third of the word's bytes. Always "" for a word of more than 100 bytes.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace tetrarch::base
