// Reads tokens of the input sequences on demand.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/error.hpp"
#include "storage/h5/h5.hpp"
#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::storage {
namespace {

base::Refusal has_changed(const std::string& path, const std::string& how) {
  return base::Refusal(
      base::ExitCode::input,
      fmt::format("{}: has changed since the run began ({}). Start again in another folder.", path,
                  how));
}

struct Hdf5Tokens {
  h5::File file;
  h5::Dataset tokens;
};

struct JsonlTokens {
  JsonlReader reader;
  std::int64_t sequence = -1;  // whose record is held; -1: none
  JsonlRecord record;
};

}  // namespace

/// The file that was read last: `hdf5` or `jsonl` is set, by its kind.
struct InputSet::Reader {
  std::uint32_t file = 0;
  std::optional<Hdf5Tokens> hdf5;
  std::optional<JsonlTokens> jsonl;
};

InputSet::InputSet() = default;
InputSet::InputSet(InputSet&&) noexcept = default;
InputSet& InputSet::operator=(InputSet&&) noexcept = default;
InputSet::~InputSet() = default;

void InputSet::read_tokens(std::int64_t sequence, std::int64_t first, std::int64_t count,
                           std::uint32_t* to) const {
  base::expects(first >= 0 && count >= 0 && count <= length(sequence) - first,
                "tokens inside their sequence");
  if (count == 0) return;
  const std::uint32_t index = file(sequence);
  if (!reader_ || reader_->file != index) open_reader(index);
  if (reader_->jsonl) {
    read_jsonl(sequence, first, count, to);
  } else {
    read_hdf5(sequence, first, count, to);
  }
  const std::uint32_t largest = *std::max_element(to, to + count);
  if (status(sequence) == SequenceStatus::ok && largest >= vocab_size_)
    throw has_changed(files_[index], fmt::format("id {} has token {}, vocab_size is {}",
                                                 id(sequence), largest, vocab_size_));
  check_unchanged(index);
}

void InputSet::check_unchanged(std::uint32_t file) const {
  if (stamp_of(files_[file]) != stamps_[file])
    throw has_changed(files_[file], "it was written to, or replaced");
}

void InputSet::check_unchanged() const {
  for (std::uint32_t file = 0; file < files_.size(); ++file)
    check_unchanged(file);
}

/// The path from which lines of a JSONL file are read: the file, or its unpacked copy.
std::string InputSet::lines_path(std::uint32_t file) const {
  const auto is_packed = [&](const PackedInput& each) { return each.file == file; };
  if (std::ranges::none_of(packed_, is_packed)) return files_[file];
  base::expects(!unpacked_folder_.empty(), "compressed inputs are unpacked before they are read");
  return unpacked_folder_ + "/" + unpacked_name(file);
}

void InputSet::open_reader(std::uint32_t file) const {
  reader_.reset();
  Reader reader{.file = file, .hdf5 = {}, .jsonl = {}};
  const std::string& path = files_[file];
  if (line_begin_[file] != no_lines) {
    reader.jsonl.emplace(JsonlTokens{.reader = JsonlReader(lines_path(file)), .record = {}});
  } else {
    h5::File opened = h5::File::open_to_read(path, base::ExitCode::input);
    h5::Dataset tokens = opened.dataset("/tokens");
    const auto begin = static_cast<std::size_t>(file_begin_[file]);
    const auto end = static_cast<std::size_t>(file_begin_[file + 1]);
    const auto expected = static_cast<std::int64_t>(offsets_[end] - offsets_[begin]);
    if (const h5::Info info = tokens.info();
        info.shape != base::Shape{expected} || !info.is_integer)
      throw has_changed(path, fmt::format("/tokens has shape {} of {}, expected [{}] of integers",
                                          base::to_string(info.shape), info.kind, expected));
    reader.hdf5.emplace(Hdf5Tokens{std::move(opened), std::move(tokens)});
  }
  reader_ = std::make_unique<Reader>(std::move(reader));
}

void InputSet::read_hdf5(std::int64_t sequence, std::int64_t first, std::int64_t count,
                         std::uint32_t* to) const {
  const auto begin = static_cast<std::size_t>(file_begin_[reader_->file]);
  const std::uint64_t before = offsets_[static_cast<std::size_t>(sequence)] - offsets_[begin];
  reader_->hdf5->tokens.read_integers({{static_cast<std::int64_t>(before) + first}, {count}},
                                      base::DType::u32, to);
}

void InputSet::read_jsonl(std::int64_t sequence, std::int64_t first, std::int64_t count,
                          std::uint32_t* to) const {
  JsonlTokens& jsonl = *reader_->jsonl;
  if (jsonl.sequence != sequence) {
    jsonl.sequence = -1;
    const JsonlLine& place = *line(sequence);
    const bool is_there = jsonl.reader.read(place, jsonl.record);
    const std::string name = id(sequence);
    const bool has_id = std::holds_alternative<std::monostate>(jsonl.record.id)
                            ? name.ends_with(fmt::format(":{}", place.number))  // an id FILE:LINE
                            : id_text(jsonl.record) == name;
    if (!is_there || !jsonl.record.problem.empty() ||
        std::ssize(jsonl.record.tokens) != length(sequence) || !has_id)
      throw has_changed(
          files_[reader_->file],
          fmt::format("line {} no longer has id {} with {} tokens{}", place.number, name,
                      length(sequence),
                      jsonl.record.problem.empty() ? "" : "; " + jsonl.record.problem));
    jsonl.sequence = sequence;
  }
  std::copy_n(jsonl.record.tokens.begin() + first, count, to);
}

}  // namespace tetrarch::storage
