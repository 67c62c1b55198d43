// Makes an InputSet from input files.
// SPDX-License-Identifier: Apache-2.0
#include "storage/input_reader.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/stop_signal.hpp"
#include "base/text.hpp"
#include "storage/error_reasons.hpp"
#include "storage/file_kind.hpp"
#include "storage/jsonl_reader.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using base::ExitCode;

constexpr std::int64_t block_tokens = 1 << 20;
constexpr std::int64_t num_bytes = 256;

[[noreturn]] void refuse(const std::string& path, const std::string& object,
                         const std::string& found, const std::string& expected) {
  throw base::UsageError(ExitCode::input,
                         fmt::format("{}: {} is {} (expected {}). Write the file again in the "
                                     "format tetrarch-inputs.",
                                     path, object, found, expected));
}

std::string type_text(const h5::Info& info) {
  if (info.dtype) return std::string(base::name_of(*info.dtype));
  if (info.is_variable_text) return "text of variable length";
  if (info.text_bytes > 0) return fmt::format("text of {} bytes", info.text_bytes);
  return "another type";
}

/// One axis, and as much data as its size promises: nothing is allocated before this is known.
std::int64_t check_vector(const h5::Dataset& dataset, const std::string& file,
                          const std::string& path, std::int64_t element_bytes) {
  const h5::Info info = dataset.info();
  if (info.shape.size() != 1)
    refuse(file, path, fmt::format("of shape {}", base::to_string(info.shape)), "one axis");
  const std::int64_t bytes = base::checked_mul(info.shape[0], element_bytes);
  if (!info.can_hold(bytes))
    refuse(file, path,
           fmt::format("of {} elements with {} bytes of data", info.shape[0], info.stored_bytes),
           fmt::format("{} bytes", bytes));
  return info.shape[0];
}

std::int64_t check_vector(const h5::Dataset& dataset, const std::string& file,
                          const std::string& path, DType dtype) {
  const h5::Info info = dataset.info();
  if (info.dtype != dtype) refuse(file, path, type_text(info), std::string(base::name_of(dtype)));
  return check_vector(dataset, file, path, base::size_of(dtype));
}

void check_format(const h5::File& file) {
  const auto format = file.text_attribute("format");
  if (format != "tetrarch-inputs")
    refuse(file.path(), "attribute format",
           format ? fmt::format("\"{}\"", base::shown(*format)) : std::string("missing"),
           "\"tetrarch-inputs\"");
  const auto version = file.integer_attribute("format_version");
  if (!version || version->empty() || version->front() != 1)
    refuse(file.path(), "attribute format_version",
           version && !version->empty() ? fmt::format("{}", version->front()) : "missing", "1, 0");
}

/// A file's name as part of an id: UTF-8, whatever the file system has, and not long.
std::string printable(std::string name) {
  constexpr std::size_t most = 128;
  const auto is_odd = [](char c) { return static_cast<unsigned char>(c) - 0x20u > 0x5eu; };
  if (!base::is_utf8(name) || name.size() > most) std::ranges::replace_if(name, is_odd, '?');
  return name.substr(0, most);
}

void check_id(const std::string& file, const std::string& id, std::int64_t index) {
  const std::string object = fmt::format("/ids[{}]", index);
  if (id.size() > max_id_bytes)
    refuse(file, object, fmt::format("{} bytes long", id.size()),
           fmt::format("at most {}", max_id_bytes));
  if (!base::is_utf8(id) || id.find('\0') != std::string::npos)
    refuse(file, object, "not UTF-8", "UTF-8 text");
}

}  // namespace

InputReader::InputReader(std::int64_t vocab_size, std::int64_t max_position,
                         plan::Tokenizer tokenizer, std::int64_t most_bytes)
    : max_position_(max_position), most_bytes_(most_bytes) {
  if (tokenizer == plan::Tokenizer::bytes && vocab_size < num_bytes)
    throw base::UsageError(
        ExitCode::usage,
        fmt::format("--tokenizer bytes: the model has a vocabulary of {} (each byte is a token, so "
                    "{} are needed). Give token ids of this model's own tokenizer instead.",
                    vocab_size, num_bytes));
  set_.vocab_size_ = vocab_size;
  set_.tokenizer_ = tokenizer;
  set_.offsets_ = {0};
  set_.file_begin_ = {0};
}

void InputReader::add(const std::string& path) {
  first_ = set_.count();
  const FileKind kind = file_kind(path);
  if (kind.format == InputFormat::other) throw refusal_of(path, kind);
  if (kind.format == InputFormat::hdf5) {
    add_hdf5(path);
  } else {
    add_jsonl(path, kind.format);
  }
  set_.file_begin_.push_back(set_.count());
}

void InputReader::add_hdf5(const std::string& path) {
  const h5::File file = h5::File::open_to_read(path, ExitCode::input);
  check_format(file);
  set_.files_.push_back(path);
  set_.line_begin_.push_back(InputSet::no_lines);
  const h5::Dataset tokens = file.dataset("/tokens");
  const std::int64_t num_tokens = check_vector(tokens, path, "/tokens", DType::u32);
  add_offsets(file, num_tokens);
  count_ = set_.count() - first_;
  set_.status_.resize(static_cast<std::size_t>(set_.count()));
  add_ids(file);
  add_score_from(file);
  for (std::int64_t i = first_; i < set_.count(); ++i)
    judge_length(i);
  add_tokens(tokens);
}

/// Ids that are made up name file and line: "prompts.jsonl:17", and "prompts.jsonl#2:17" in the
/// second file of that name; they hold wherever the files are found again.
void InputReader::add_jsonl(const std::string& path, InputFormat format) {
  // after so many lines of which none can be used, the file is not read to its end
  constexpr std::int64_t most_unusable = 100'000;
  JsonlReader reader(path, format);
  set_.files_.push_back(path);
  set_.line_begin_.push_back(std::ssize(set_.lines_));
  name_ = printable(std::filesystem::path(path).filename().string());
  if (const int number = ++num_of_name_[name_]; number > 1) name_ += fmt::format("#{}", number);
  JsonlRecord record;
  JsonlLine line;
  bool has_usable = false;
  while (reader.next(record, line)) {
    base::refuse_when_stopped("the inputs were read");
    add_record(record, line);
    const SequenceStatus status = set_.status(set_.count() - 1);
    has_usable |= status != SequenceStatus::bad_record && status != SequenceStatus::empty;
    if (!has_usable && set_.count() - first_ == most_unusable) refuse_unusable("of its first");
  }
  if (!has_usable) refuse_unusable("of its");
  if (format != InputFormat::lines)
    set_.packed_.push_back({.file = static_cast<std::uint32_t>(set_.files_.size() - 1),
                            .format = format,
                            .inside = reader.unpacked()});
}

/// The file at hand, with the commonest reason.
void InputReader::refuse_unusable(const char* which) const {
  const std::string& path = set_.files_.back();
  const std::int64_t count = set_.count() - first_;
  if (count == 0)
    throw base::UsageError(ExitCode::input,
                           fmt::format("{}: has no line (nothing but blanks stands in it). Make it "
                                       "again.",
                                       path));
  const ErrorReason most = error_reasons(set_, first_).front();
  throw base::UsageError(
      ExitCode::input,
      fmt::format("{}: {} can be used ({}: {}, first line {}). Each line is an "
                  "object: {{\"id\": 1, \"tokens\": [1, 2, 3]}}, or with \"text\" and --tokenizer "
                  "bytes.",
                  path,
                  count == 1 ? "nothing of its one line"
                             : fmt::format("not one {} {} lines", which, base::count_text(count)),
                  most.text, base::count_text(most.count), set_.line(most.first)->number));
}

void InputReader::add_record(const JsonlRecord& record, const JsonlLine& line) {
  if (record.is_text && set_.tokenizer_ == plan::Tokenizer::none)
    throw base::UsageError(
        ExitCode::usage,
        fmt::format("{}: line {} has text but no tokens (no tokenizer is chosen). Add --tokenizer "
                    "bytes, which makes a token of each byte, or give tokens.",
                    set_.files_.back(), line.number));
  const std::int64_t sequence = set_.count();
  constexpr std::int64_t checked_every = 1 << 16;
  if (sequence % checked_every == 0) check_memory(checked_every);
  set_.lines_.push_back(line);
  set_.offsets_.push_back(set_.offsets_.back() + record.tokens.size());
  set_.status_.push_back(static_cast<std::uint8_t>(SequenceStatus::ok));
  if (const auto* number = std::get_if<std::uint64_t>(&record.id)) {
    add_id(*number);
  } else if (const auto* text = std::get_if<std::string>(&record.id)) {
    add_id(*text);
  } else {
    const std::string made = fmt::format("{}:{}", name_, line.number);
    if (record.problem.empty() && num_made_ids_++ == 0) first_made_id_ = made;
    add_id(made);
  }
  if (record.score_from > 0 || !set_.score_from_.empty())
    set_.score_from_.resize(static_cast<std::size_t>(set_.count()));
  if (record.score_from > 0)
    set_.score_from_.back() = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(record.score_from, std::numeric_limits<std::uint32_t>::max()));
  if (record.problem.empty()) {
    judge_length(sequence);
    judge_tokens(sequence, 0, record.tokens.data(), set_.length(sequence));
  } else {
    set_status(sequence, SequenceStatus::bad_record, record.problem);
  }
  hash_.update(std::as_bytes(std::span(record.tokens)));
  hash_record(sequence, record.is_text);
}

/// All but the tokens.
void InputReader::hash_record(std::int64_t sequence, bool is_text) {
  const std::string id = set_.id(sequence), error = set_.error(sequence);
  const std::array<std::uint64_t, 5> numbers = {
      static_cast<std::uint64_t>(set_.length(sequence)),
      static_cast<std::uint64_t>(set_.score_from(sequence)), is_text, id.size(), error.size()};
  hash_.update(std::as_bytes(std::span(numbers)));
  hash_.update(id);
  hash_.update(error);
}

void InputReader::add_id(std::uint64_t id) {
  if (set_.is_numeric_) {
    set_.numeric_ids_.push_back(id);
  } else {
    set_.text_ids_.push_back(std::to_string(id));
  }
}

/// One text makes texts of all ids.
void InputReader::add_id(std::string id) {
  for (const std::uint64_t number : set_.numeric_ids_)
    set_.text_ids_.push_back(std::to_string(number));
  set_.numeric_ids_ = {};
  set_.is_numeric_ = false;
  set_.text_ids_.push_back(std::move(id));
}

void InputReader::add_offsets(const h5::File& file, std::int64_t num_tokens) {
  const h5::Dataset dataset = file.dataset("/offsets");
  const std::int64_t size = check_vector(dataset, file.path(), "/offsets", DType::u64);
  if (size == 0) refuse(file.path(), "/offsets", "empty", "one element more than sequences");
  check_memory(size - 1);
  std::vector<std::uint64_t> offsets(static_cast<std::size_t>(size));
  dataset.read_all(DType::u64, offsets.data());
  hash_.update(std::as_bytes(std::span(offsets)));
  if (offsets.front() != 0)
    refuse(file.path(), "/offsets[0]", fmt::format("{}", offsets.front()), "0");
  const std::uint64_t before = set_.offsets_.back();
  set_.offsets_.reserve(set_.offsets_.size() + offsets.size() - 1);
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1])
      refuse(file.path(), fmt::format("/offsets[{}]", i), fmt::format("{}", offsets[i]),
             fmt::format("at least {}, the one before it", offsets[i - 1]));
    set_.offsets_.push_back(before + offsets[i]);
  }
  if (offsets.back() != static_cast<std::uint64_t>(num_tokens))
    refuse(file.path(), "the last of /offsets", fmt::format("{}", offsets.back()),
           fmt::format("{}, the length of /tokens", num_tokens));
}

void InputReader::add_ids(const h5::File& file) {
  const h5::Dataset dataset = file.dataset("/ids");
  const h5::Info info = dataset.info();
  const bool is_text = info.is_variable_text || info.text_bytes > 0;
  if (!is_text && info.dtype != DType::u64)
    refuse(file.path(), "/ids", type_text(info), "u64 or text");
  const std::int64_t count =
      check_vector(dataset, file.path(), "/ids", std::max<std::int64_t>(info.text_bytes, 8));
  if (count != count_)
    refuse(file.path(), "/ids", fmt::format("of {} elements", count),
           fmt::format("{}, one for each sequence of /offsets", count_));
  if (is_text) {
    constexpr std::int64_t most_bytes = 16 << 20, largest_text = 1 << 16;
    if (info.text_bytes > largest_text)
      refuse(file.path(), "/ids", type_text(info), fmt::format("at most {} bytes", largest_text));
    const std::int64_t block = most_bytes / std::max<std::int64_t>(info.text_bytes, 256);
    for (std::int64_t begin = 0; begin < count; begin += block) {
      std::vector<std::string> texts = dataset.read_texts(begin, std::min(block, count - begin));
      for (std::string& text : texts) {
        check_id(file.path(), text, begin + (&text - texts.data()));
        hash_.update(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
        add_id(std::move(text));
      }
    }
    return;
  }
  std::vector<std::uint64_t> ids(static_cast<std::size_t>(count));
  dataset.read_all(DType::u64, ids.data());
  hash_.update(std::as_bytes(std::span(ids)));
  if (set_.is_numeric_) set_.numeric_ids_.reserve(set_.numeric_ids_.size() + ids.size());
  for (const std::uint64_t id : ids)
    add_id(id);
}

void InputReader::add_score_from(const h5::File& file) {
  const auto all = static_cast<std::size_t>(set_.count());
  if (!file.has("/score_from")) {
    if (!set_.score_from_.empty()) set_.score_from_.resize(all);
    return;
  }
  const h5::Dataset dataset = file.dataset("/score_from");
  const std::int64_t count = check_vector(dataset, file.path(), "/score_from", DType::u32);
  if (count != count_)
    refuse(file.path(), "/score_from", fmt::format("of {} elements", count),
           fmt::format("{}, one for each sequence of /offsets", count_));
  set_.score_from_.resize(all);
  const std::span values(set_.score_from_.data() + first_, static_cast<std::size_t>(count));
  dataset.read_all(DType::u32, values.data());
  hash_.update(std::as_bytes(values));
}

void InputReader::judge_length(std::int64_t sequence) {
  const std::int64_t length = set_.length(sequence), score_from = set_.score_from(sequence);
  if (length == 0) {
    set_status(sequence, SequenceStatus::empty, "no tokens");
  } else if (score_from > length) {
    set_status(sequence, SequenceStatus::bad_record,
               fmt::format("score_from {} is beyond its {} tokens", score_from, length));
  } else if (length > max_position_) {
    set_status(sequence, SequenceStatus::too_long,
               fmt::format("{} tokens, max_position is {}", length, max_position_));
  }
}

void InputReader::add_tokens(const h5::Dataset& tokens) {
  const auto base_offset = set_.offsets_[static_cast<std::size_t>(first_)];
  const auto total = static_cast<std::int64_t>(set_.offsets_.back() - base_offset);
  const auto local = [&](std::int64_t i) {
    return static_cast<std::int64_t>(set_.offsets_[static_cast<std::size_t>(i)] - base_offset);
  };
  std::vector<std::uint32_t> block(static_cast<std::size_t>(std::min(total, block_tokens)));
  std::int64_t sequence = first_;
  for (std::int64_t begin = 0; begin < total; begin += block_tokens) {
    const std::int64_t end = std::min(begin + block_tokens, total);
    tokens.read({{begin}, {end - begin}}, DType::u32, block.data());
    hash_.update(std::as_bytes(std::span(block.data(), static_cast<std::size_t>(end - begin))));
    for (std::int64_t at = begin; at < end;) {
      while (local(sequence + 1) <= at)
        ++sequence;
      const std::int64_t stop = std::min(local(sequence + 1), end);
      judge_tokens(sequence, at - local(sequence), block.data() + (at - begin), stop - at);
      at = stop;
    }
  }
}

void InputReader::judge_tokens(std::int64_t sequence, std::int64_t position,
                               const std::uint32_t* tokens, std::int64_t count) {
  if (set_.status(sequence) != SequenceStatus::ok) return;
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i)
    largest = std::max(largest, tokens[i]);
  if (largest < set_.vocab_size_) return;
  const auto* bad = std::find_if(tokens, tokens + count,
                                 [&](std::uint32_t token) { return token >= set_.vocab_size_; });
  set_status(sequence, SequenceStatus::bad_token,
             fmt::format("token {} at position {}, vocab_size is {}", *bad,
                         position + (bad - tokens), set_.vocab_size_));
}

void InputReader::set_status(std::int64_t sequence, SequenceStatus status, std::string error) {
  set_.status_[static_cast<std::size_t>(sequence)] = static_cast<std::uint8_t>(status);
  set_.errors_[sequence] = std::move(error);
}

void InputReader::refuse_duplicates() const {
  std::vector<std::int64_t> order(static_cast<std::size_t>(set_.count()));
  std::iota(order.begin(), order.end(), 0);
  const auto sort_by = [&](const auto& ids) {
    std::ranges::sort(order, [&](std::int64_t a, std::int64_t b) {
      const auto& left = ids[static_cast<std::size_t>(a)];
      const auto& right = ids[static_cast<std::size_t>(b)];
      return left != right ? left < right : a < b;
    });
  };
  if (set_.is_numeric_) {
    sort_by(set_.numeric_ids_);
  } else {
    sort_by(set_.text_ids_);
  }
  constexpr int max_listed = 10;
  int num_found = 0;
  std::string list;
  for (std::size_t i = 1; i < order.size(); ++i) {
    const std::int64_t a = order[i - 1], b = order[i];
    if (set_.id(a) != set_.id(b) || ++num_found > max_listed) continue;
    list += fmt::format("\n  id {} stands in {} and in {}", base::shown(set_.id(a), 200), place(a),
                        place(b));
  }
  if (num_found > 0)
    throw base::UsageError(
        ExitCode::input, fmt::format("inputs: {} twice (results are found by id). Make each id of "
                                     "all input files unique.{}",
                                     num_found == 1 ? std::string("1 id stands")
                                                    : fmt::format("{} ids stand", num_found),
                                     list));
}

/// Before labels of so many more sequences are read.
void InputReader::check_memory(std::int64_t num_more) const {
  // offset, id and status; while they are read the file's own of one kind, and an order by id
  constexpr std::int64_t of_sequence = 8 + 8 + 1 + 8 + 8;
  const std::int64_t count = set_.count() + num_more;
  const auto of = [](std::int64_t number, std::size_t bytes) {
    return number * static_cast<std::int64_t>(bytes);
  };
  const std::int64_t needed = base::checked_add(
      base::checked_mul(count, of_sequence), of(std::ssize(set_.text_ids_), sizeof(std::string)) +
                                                 of(std::ssize(set_.lines_), sizeof(JsonlLine)));
  if (needed <= most_bytes_) return;
  throw base::UsageError(
      ExitCode::resources,
      fmt::format("inputs: the labels of {} sequences or more need {}, {} more than the {} that a "
                  "node may use. Give the inputs to several runs, or use nodes with more memory.",
                  base::count_text(count), base::bytes_text(needed, needed),
                  base::bytes_text(needed - most_bytes_, needed),
                  base::bytes_text(most_bytes_, needed)));
}

std::string InputReader::place(std::int64_t sequence) const {
  const std::uint32_t file = set_.file(sequence);
  if (const JsonlLine* line = set_.line(sequence))
    return fmt::format("{} (line {})", set_.files_[file], line->number);
  return fmt::format("{} (sequence {})", set_.files_[file], sequence - set_.file_begin_[file]);
}

InputSet InputReader::finish(std::vector<std::string> notes) {
  refuse_duplicates();
  set_.notes_ = std::move(notes);
  if (num_made_ids_ > 0)
    set_.notes_.push_back(fmt::format(
        "{} without id: the id is the text FILE:LINE, first \"{}\" (so all ids are texts).",
        num_made_ids_ == 1 ? std::string("1 line is")
                           : fmt::format("{} lines are", base::count_text(num_made_ids_)),
        first_made_id_));
  set_.identity_ = hex_text(hash_.digest());
  return std::move(set_);
}

}  // namespace tetrarch::storage
