// The input sequences of a run: offsets, ids and status in memory, tokens read on demand.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/inputs_file.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/error.hpp"
#include "storage/inputs/input_paths.hpp"
#include "storage/inputs/input_reader.hpp"

namespace tetrarch::storage {
namespace {

/// Serialises values of fixed size, vectors and texts, one after the other.
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
                        std::int64_t max_position, plan::Tokenizer tokenizer, LastToken last,
                        std::int64_t most_bytes) {
  InputReader reader(vocab_size, max_position, tokenizer, last, most_bytes);
  std::vector<std::string> notes;
  for (const std::string& path : input_files(paths, &notes))
    reader.add(path);
  return reader.finish(std::move(notes));
}

std::vector<std::byte> InputSet::head() const {
  Packer packer;
  packer.texts(files_);
  packer.vector(file_begin_);
  packer.vector(line_begin_);
  packer.value(sizes());
  packer.value(static_cast<std::uint8_t>(is_numeric_));
  const bool has_lines = sizes().lines > 0;
  packer.vector(has_lines ? numeric_ids_ : std::vector<std::uint64_t>());
  packer.texts(has_lines ? text_ids_ : std::vector<std::string>());
  packer.vector(packed_);
  packer.texts(notes_);
  packer.text(identity_);
  packer.value(vocab_size_);
  packer.value(max_position_);
  packer.value(last_token_);
  packer.value(tokenizer_);
  return packer.take();
}

InputSet InputSet::from_head(std::span<const std::byte> head) {
  Unpacker unpacker(head);
  InputSet set;
  set.files_ = unpacker.texts();
  for (const std::string& path : set.files_)
    set.stamps_.push_back(stamp_of(path));
  set.file_begin_ = unpacker.vector<std::int64_t>();
  set.line_begin_ = unpacker.vector<std::int64_t>();
  set.sizes_ = unpacker.value<Sizes>();
  set.is_numeric_ = unpacker.value<std::uint8_t>() != 0;
  set.numeric_ids_ = unpacker.vector<std::uint64_t>();
  set.text_ids_ = unpacker.texts();
  set.packed_ = unpacker.vector<PackedInput>();
  set.notes_ = unpacker.texts();
  set.identity_ = unpacker.text();
  set.vocab_size_ = unpacker.value<std::int64_t>();
  set.max_position_ = unpacker.value<std::int64_t>();
  set.last_token_ = unpacker.value<LastToken>();
  set.tokenizer_ = unpacker.value<plan::Tokenizer>();
  return set;
}

InputSet::Sizes InputSet::sizes() const {
  return sizes_ ? *sizes_
                : Sizes{offsets_.size(), lines_.size(), score_from_.size(), status_.size()};
}

std::int64_t InputSet::column_bytes() const {
  const Sizes size = sizes();
  return static_cast<std::int64_t>(size.offsets * sizeof(std::uint64_t) +
                                   size.lines * sizeof(JsonlLine) +
                                   size.score_from * sizeof(std::uint32_t) + size.status);
}

void InputSet::copy_columns(std::span<std::byte> to) const {
  base::expects(std::ssize(to) == column_bytes(), "room for all columns");
  std::byte* at = to.data();
  const auto put = [&]<class T>(std::span<const T> values) {
    if (!values.empty()) std::memcpy(at, values.data(), values.size_bytes());
    at += values.size_bytes();
  };
  put(offsets_.all());  // the widest types first, so that every column is aligned
  put(lines_.all());
  put(score_from_.all());
  put(status_.all());
}

void InputSet::take_columns(mpi::NodeMemory memory) {
  const Sizes size = sizes();
  base::expects(std::ssize(memory.bytes()) == column_bytes(), "all columns");
  memory_ = std::move(memory);
  const std::byte* at = memory_.bytes().data();
  const auto refer = [&]<class T>(LabelColumn<T>& column, std::size_t count) {
    column.refer_to({reinterpret_cast<const T*>(at), count});
    at += count * sizeof(T);
  };
  refer(offsets_, size.offsets);
  refer(lines_, size.lines);
  refer(score_from_, size.score_from);
  refer(status_, size.status);
  sizes_.reset();
}

std::int64_t InputSet::length(std::int64_t sequence) const {
  const auto i = static_cast<std::size_t>(sequence);
  return static_cast<std::int64_t>(offsets_[i + 1] - offsets_[i]);
}

std::int64_t InputSet::fed_length(std::int64_t sequence) const {
  return std::min(length(sequence), max_position_);
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
  if (i < numeric_ids_.size()) return std::to_string(numeric_ids_[i]);
  return i < text_ids_.size() ? text_ids_[i] : fmt::format("(sequence {} of the inputs)", sequence);
}

std::uint32_t InputSet::file(std::int64_t sequence) const {
  const auto after = std::ranges::upper_bound(file_begin_, sequence);
  return static_cast<std::uint32_t>(after - file_begin_.begin() - 1);
}

std::string InputSet::place(std::int64_t sequence) const {
  const std::uint32_t index = file(sequence);
  if (const JsonlLine* found = line(sequence))
    return fmt::format("{}:{}", files_[index], found->number);
  return fmt::format("{} (sequence {})", files_[index], sequence - file_begin_[index]);
}

std::int64_t InputSet::unpacked_bytes() const {
  std::int64_t bytes = 0;
  for (const PackedInput& each : packed_)
    bytes += static_cast<std::int64_t>(each.inside.bytes);
  return bytes;
}

std::string InputSet::unpacked_name(std::uint32_t file) {
  return fmt::format("{:04}.jsonl", file);
}

std::vector<plan::SequenceLength> InputSet::lengths_ok() const {
  std::vector<plan::SequenceLength> lengths;
  for (std::int64_t i = 0; i < count(); ++i)
    if (status(i) == SequenceStatus::ok) lengths.push_back({i, fed_length(i)});
  return lengths;
}

std::int64_t InputSet::id_bytes() const {
  constexpr std::int64_t short_text = 15;  // a string of up to 15 bytes needs no other memory
  constexpr std::int64_t node_bytes = 64;  // of a map's node, besides its text
  std::int64_t bytes =
      std::ssize(numeric_ids_) * 8 + std::ssize(text_ids_) * std::int64_t{sizeof(std::string)};
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
