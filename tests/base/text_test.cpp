// The texts of numbers, times and names in messages.
// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <regex>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

TEST(Text, BytesGrowInUnitsOf1024) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1024), "1.00 KiB");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(std::int64_t{3} << 20), "3.00 MiB");
  EXPECT_EQ(bytes_text(std::int64_t{5} << 30), "5.00 GiB");
  EXPECT_EQ(bytes_text(std::int64_t{1} << 60), "1024.00 PiB");
  EXPECT_EQ(bytes_text(-2048), "-2.00 KiB");
  EXPECT_EQ(bytes_text(5, 1023), "5 B");
  EXPECT_EQ(bytes_text(123, std::int64_t{3} << 20), "0.01 MiB");
  EXPECT_EQ(bytes_text(1536 << 10, std::int64_t{3} << 20), "1.50 MiB");
  EXPECT_EQ(bytes_text(std::int64_t{2} << 40, std::int64_t{3} << 30), "2048.00 GiB");
}

TEST(Text, CountsHaveCommasByThree) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(count_text(-1234), "-1,234");
  EXPECT_EQ(count_text(-123), "-123");
}

TEST(Text, DurationsChangeTheirUnitAtAMinuteAndAnHour) {
  EXPECT_EQ(duration_text(0), "0.0 s");
  EXPECT_EQ(duration_text(12.34), "12.3 s");
  EXPECT_EQ(duration_text(60), "1:00 min");
  EXPECT_EQ(duration_text(245), "4:05 min");
  EXPECT_EQ(duration_text(3599.6), "1:00:00 h");
  EXPECT_EQ(duration_text(3723), "1:02:03 h");
  EXPECT_EQ(duration_text(360000), "100:00:00 h");
}

TEST(Text, TheTimeOfNowIsInUtcToTheSecond) {
  EXPECT_TRUE(std::regex_match(utc_now(), std::regex(R"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ)")))
      << utc_now();
}

TEST(Text, UuidsAreOfVersion4AndDiffer) {
  const std::regex form("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string uuid = make_uuid();
    EXPECT_TRUE(std::regex_match(uuid, form)) << uuid;
    seen.insert(uuid);
  }

  EXPECT_EQ(seen.size(), 100u);
}

TEST(Text, TheNearestWordIsFoundAndAFarOneIsNot) {
  const std::vector<std::string> words{"logprobs", "hidden", "last_logits", "experts"};

  EXPECT_EQ(nearest("logprob", words), "logprobs");
  EXPECT_EQ(nearest("hiden", words), "hidden");
  EXPECT_EQ(nearest("last-logits", words), "last_logits");
  EXPECT_EQ(nearest("experts", words), "experts");
  EXPECT_EQ(nearest("zzz", words), "");
  EXPECT_EQ(nearest("anything", {}), "");
}

TEST(Text, AVeryLongWordIsNearToNone) {
  EXPECT_EQ(nearest(std::string(100'000'000, 'a'), std::vector<std::string>{"aaa"}), "");
}

TEST(Text, Utf8IsWhatHasTheShortestFormAndACodePoint) {
  for (const char* text :
       {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "na\xc3\xafve\n"})
    EXPECT_TRUE(is_utf8(text)) << text;
  for (const char* text :
       {"\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "a\xc3(z"})
    EXPECT_FALSE(is_utf8(text)) << shown(text);
  EXPECT_TRUE(is_utf8(std::string_view("\0", 1)));
}

TEST(Text, WhatSteersATerminalIsNotPrintable) {
  EXPECT_TRUE(is_printable("na\xc3\xafve \xf0\x9f\x98\x80"));
  for (const char* text :
       {"\n", "\t", "\x1b[2J", "\x7f", "\xc2\x9b", "\xe2\x80\xae", "\xe2\x81\xa6", "\xff"})
    EXPECT_FALSE(is_printable(text)) << shown(text);
}

TEST(Text, ForeignTextIsShownPrintableAndCutBetweenLetters) {
  EXPECT_EQ(shown("na\xc3\xafve"), "na\xc3\xafve");
  EXPECT_EQ(shown("a\nb\x1b[0m\xff"), "a\\x0ab\\x1b[0m\\xff");
  EXPECT_EQ(shown("\xe2\x80\xae"), "\\xe2\\x80\\xae");
  EXPECT_EQ(shown("aaaa\xc3\xaf!", 5), "aaaa\xc3\xaf...");
  EXPECT_EQ(shown("12345", 5), "12345");
  EXPECT_EQ(shown(std::string(1000, 'x')), std::string(60, 'x') + "...");
}

TEST(Text, OfEquallyNearWordsTheFirstIsTaken) {
  EXPECT_EQ(nearest("cat", std::vector<std::string>{"bat", "rat"}), "bat");
}

}  // namespace
}  // namespace tetrarch::base
