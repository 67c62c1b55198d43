/// What every fuzz target checks besides crashes: only Tetrarch's own errors are thrown, and their
/// messages are readable.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <sys/mman.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::fuzz {

/// Ends the process if `holds` is false; the fuzzer then keeps the input.
inline void must(bool holds, const char* what, std::string_view detail = {}) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: broken: %s\n%s\n", what, std::string(detail).c_str());
  std::abort();
}

inline void check_message(std::string_view message) {
  constexpr std::size_t longest = 16 << 10;
  must(!message.empty(), "a refusal says why");
  must(message.size() <= longest, "a refusal is no longer than a page", message.substr(0, 2000));
  for (std::size_t at = 0; (at = message.find('\n', at)) != std::string_view::npos; ++at)
    must(message.substr(at + 1).starts_with("  "), "further lines of a refusal are indented",
         message);
  std::string flat(message);
  for (char& c : flat)
    if (c == '\n') c = ' ';
  must(base::is_printable(flat), "a refusal is printable UTF-8", message);
}

/// True if `call` returns, false if it throws Refusal or SystemError with exit code 2 to 5 and a
/// readable message. Any other exception is a finding.
template <class Call>
bool is_accepted(Call&& call) {
  const auto check = [](base::ExitCode code, const char* message) {
    check_message(message);
    must(code >= base::ExitCode::usage && code <= base::ExitCode::resources,
         "a refusal has exit code 2 to 5", message);
  };
  try {
    call();
    return true;
  } catch (const base::Refusal& error) {
    check(error.code(), error.what());
  } catch (const base::SystemError& error) {
    check(error.code(), error.what());
  }
  return false;
}

/// Reads the fuzzer's bytes in order. After their end, numbers are 0 and texts are empty.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}
  bool is_empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto first = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return first;
  }
  /// A little-endian number of `size` bytes.
  std::uint64_t number(int size) {
    std::uint64_t value = 0;
    for (int i = 0; i < size; ++i)
      value |= std::uint64_t{byte()} << (8 * i);
    return value;
  }
  std::string_view text(std::size_t size) {
    const std::string_view head = rest_.substr(0, size);
    rest_.remove_prefix(head.size());
    return head;
  }
  std::string_view rest() { return text(rest_.size()); }

 private:
  std::string_view rest_;
};

/// A regular file in memory that has a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : file_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    must(file_ >= 0, "the system has memory files");
    must(::write(file_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
         "a memory file takes its bytes");
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(file_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

}  // namespace tetrarch::fuzz
