// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace tetrarch::base {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j)
    row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

struct Letter {
  std::size_t bytes = 0;  // 0: the bytes are not UTF-8
  std::uint32_t code = 0;
};

/// The first character of `text`, which must not be empty.
Letter first_letter(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(text[i]) & 0xffu; };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  constexpr std::uint32_t smallest[] = {0x80, 0x800, 0x10000};
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  std::uint32_t code = lead & (0xffu >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < smallest[bytes - 2] || code > 0x10ffff || is_surrogate) return {};
  return {bytes, code};
}

bool is_printable(const Letter& letter) {
  const auto is_in = [&](std::uint32_t first, std::uint32_t last) {
    return letter.code >= first && letter.code <= last;
  };
  const bool is_control = is_in(0, 0x1f) || is_in(0x7f, 0x9f);
  const bool is_direction = is_in(0x2028, 0x202e) || is_in(0x2066, 0x2069);
  return letter.bytes > 0 && !is_control && !is_direction;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Letter letter = first_letter(text);
    if (letter.bytes == 0) return false;
    text.remove_prefix(letter.bytes);
  }
  return true;
}

bool is_printable(std::string_view text) {
  while (!text.empty()) {
    const Letter letter = first_letter(text);
    if (!is_printable(letter)) return false;
    text.remove_prefix(letter.bytes);
  }
  return true;
}

std::string shown(std::string_view text, std::size_t most) {
  std::string result;
  while (!text.empty() && result.size() < most) {
    const Letter letter = first_letter(text);
    const std::size_t bytes = std::max<std::size_t>(1, letter.bytes);
    if (is_printable(letter)) {
      result += text.substr(0, bytes);
    } else {
      for (const char byte : text.substr(0, bytes))
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
    text.remove_prefix(bytes);
  }
  return text.empty() ? result : result + "...";
}

std::string bytes_text(std::int64_t bytes) {
  const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (std::abs(bytes) < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  int unit = 0;
  while (std::abs(value) >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.2f} {}", value, units[unit]);
}

std::string bytes_text(std::int64_t bytes, std::int64_t compared_with) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double unit_bytes = 1;
  int unit = 0;
  while (std::abs(static_cast<double>(compared_with)) / unit_bytes >= 1024 && unit < 5) {
    unit_bytes *= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  const double hundredths = std::ceil(100 * static_cast<double>(bytes) / unit_bytes);
  return fmt::format("{:.2f} {}", hundredths / 100, units[unit]);
}

std::string count_text(std::int64_t count) {
  const std::string digits = fmt::format("{}", std::abs(count));
  std::string text = count < 0 ? "-" : "";
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count_text(count), noun, count == 1 ? "" : "s");
}

std::string duration_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02} h", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string utc_now() {
  const auto now =
      std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

std::string make_uuid() {
  std::random_device device;
  std::uint32_t words[4];
  for (auto& word : words)
    word = device();
  words[1] = (words[1] & 0xffff0fffu) | 0x00004000u;
  words[2] = (words[2] & 0x3fffffffu) | 0x80000000u;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", words[0], words[1] >> 16,
                     words[1] & 0xffffu, words[2] >> 16, words[2] & 0xffffu, words[3]);
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr std::size_t longest = 100;  // bounds the work, which grows with the word
  if (word.size() > longest) return {};
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace tetrarch::base
