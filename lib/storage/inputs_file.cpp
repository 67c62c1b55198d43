// The prompts of a run: labels in memory, tokens on demand.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs_file.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/error.hpp"
#include "storage/input_paths.hpp"
#include "storage/input_reader.hpp"

namespace tetrarch::storage {
namespace {

/// Values of fixed size, vectors and texts, one after the other.
class Packer {
 public:
  template <class T>
  void value(T value) {
    const auto* begin = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), begin, begin + sizeof value);
  }
  template <class T>
  void vector(const std::vector<T>& values) {
    value(static_cast<std::uint64_t>(values.size()));
    const auto* begin = reinterpret_cast<const std::byte*>(values.data());
    bytes_.insert(bytes_.end(), begin, begin + values.size() * sizeof(T));
  }
  void text(const std::string& text) { vector(std::vector<char>(text.begin(), text.end())); }
  void texts(const std::vector<std::string>& texts) {
    value(static_cast<std::uint64_t>(texts.size()));
    for (const std::string& each : texts)
      text(each);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  T value() {
    T result;
    copy(&result, 1);
    return result;
  }
  template <class T>
  std::vector<T> vector() {
    std::vector<T> result(size(sizeof(T)));
    copy(result.data(), result.size());
    return result;
  }
  std::string text() {
    const std::vector<char> letters = vector<char>();
    return {letters.begin(), letters.end()};
  }
  std::vector<std::string> texts() {
    std::vector<std::string> result(size(sizeof(std::uint64_t)));
    for (std::string& each : result)
      each = text();
    return result;
  }

 private:
  std::size_t size(std::size_t element_bytes) {
    const auto count = value<std::uint64_t>();
    base::expects(count <= bytes_.size() / element_bytes, "an input set sent whole");
    return count;
  }
  template <class T>
  void copy(T* to, std::size_t count) {
    base::expects(count * sizeof(T) <= bytes_.size(), "an input set sent whole");
    if (count > 0) std::memcpy(to, bytes_.data(), count * sizeof(T));
    bytes_ = bytes_.subspan(count * sizeof(T));
  }
  std::span<const std::byte> bytes_;
};

}  // namespace

InputSet InputSet::open(const std::vector<std::string>& paths, std::int64_t vocab_size,
                        std::int64_t max_position, plan::Tokenizer tokenizer, LastToken last) {
  InputReader reader(vocab_size, max_position, tokenizer, last);
  for (const std::string& path : input_files(paths))
    reader.add(path);
  return reader.finish();
}

std::vector<std::byte> InputSet::to_bytes() const {
  Packer packer;
  packer.texts(files_);
  packer.vector(file_begin_);
  packer.vector(line_begin_);
  packer.vector(lines_);
  packer.vector(offsets_);
  packer.vector(score_from_);
  packer.vector(status_);
  packer.value(static_cast<std::uint64_t>(errors_.size()));
  for (const auto& [sequence, text] : errors_) {
    packer.value(sequence);
    packer.text(text);
  }
  packer.value(static_cast<std::uint8_t>(is_numeric_));
  packer.vector(numeric_ids_);
  packer.texts(text_ids_);
  packer.text(identity_);
  packer.value(vocab_size_);
  packer.value(max_position_);
  packer.value(last_token_);
  packer.value(tokenizer_);
  return packer.take();
}

InputSet InputSet::from_bytes(std::span<const std::byte> bytes) {
  Unpacker unpacker(bytes);
  InputSet set;
  set.files_ = unpacker.texts();
  set.file_begin_ = unpacker.vector<std::int64_t>();
  set.line_begin_ = unpacker.vector<std::int64_t>();
  set.lines_ = unpacker.vector<JsonlLine>();
  set.offsets_ = unpacker.vector<std::uint64_t>();
  set.score_from_ = unpacker.vector<std::uint32_t>();
  set.status_ = unpacker.vector<std::uint8_t>();
  const auto num_errors = unpacker.value<std::uint64_t>();
  for (std::uint64_t i = 0; i < num_errors; ++i) {
    const auto sequence = unpacker.value<std::int64_t>();
    set.errors_[sequence] = unpacker.text();
  }
  set.is_numeric_ = unpacker.value<std::uint8_t>() != 0;
  set.numeric_ids_ = unpacker.vector<std::uint64_t>();
  set.text_ids_ = unpacker.texts();
  set.identity_ = unpacker.text();
  set.vocab_size_ = unpacker.value<std::int64_t>();
  set.max_position_ = unpacker.value<std::int64_t>();
  set.last_token_ = unpacker.value<LastToken>();
  set.tokenizer_ = unpacker.value<plan::Tokenizer>();
  return set;
}

std::int64_t InputSet::length(std::int64_t sequence) const {
  const auto i = static_cast<std::size_t>(sequence);
  return static_cast<std::int64_t>(offsets_[i + 1] - offsets_[i]);
}

std::int64_t InputSet::score_from(std::int64_t sequence) const {
  return score_from_.empty() ? 0 : score_from_[static_cast<std::size_t>(sequence)];
}

SequenceStatus InputSet::status(std::int64_t sequence) const {
  return static_cast<SequenceStatus>(status_[static_cast<std::size_t>(sequence)]);
}

std::string InputSet::error(std::int64_t sequence) const {
  const auto found = errors_.find(sequence);
  return found == errors_.end() ? "" : found->second;
}

std::string InputSet::id(std::int64_t sequence) const {
  const auto i = static_cast<std::size_t>(sequence);
  return is_numeric_ ? std::to_string(numeric_ids_[i]) : text_ids_[i];
}

std::uint32_t InputSet::file(std::int64_t sequence) const {
  const auto after = std::ranges::upper_bound(file_begin_, sequence);
  return static_cast<std::uint32_t>(after - file_begin_.begin() - 1);
}

std::vector<plan::SequenceLength> InputSet::lengths_ok() const {
  std::vector<plan::SequenceLength> lengths;
  for (std::int64_t i = 0; i < count(); ++i)
    if (status(i) == SequenceStatus::ok) lengths.push_back({i, std::min(length(i), max_position_)});
  return lengths;
}

std::int64_t InputSet::label_bytes() const {
  const auto of = [](const auto& values) {
    return std::ssize(values) * static_cast<std::int64_t>(sizeof values[0]);
  };
  constexpr std::int64_t short_text = 15;  // held in the string itself
  constexpr std::int64_t node_bytes = 64;  // of a map, besides its text
  std::int64_t bytes = of(file_begin_) + of(line_begin_) + of(lines_) + of(offsets_) +
                       of(score_from_) + of(status_) + of(numeric_ids_) + of(text_ids_);
  for (const std::string& id : text_ids_)
    if (std::ssize(id) > short_text) bytes += std::ssize(id);
  for (const auto& [sequence, text] : errors_)
    bytes += node_bytes + std::ssize(text);
  return bytes;
}

const JsonlLine* InputSet::line(std::int64_t sequence) const {
  const std::uint32_t index = file(sequence);
  if (line_begin_[index] == no_lines) return nullptr;
  return &lines_[static_cast<std::size_t>(line_begin_[index] + sequence - file_begin_[index])];
}

}  // namespace tetrarch::storage
