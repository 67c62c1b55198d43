// Makes an InputSet from input files.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/input_reader.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/stop_signal.hpp"
#include "base/text.hpp"
#include "storage/files/file_kind.hpp"
#include "storage/inputs/error_reasons.hpp"
#include "storage/inputs/jsonl_reader.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

constexpr std::int64_t num_bytes = 256;

/// A file's name as it is used in ids: at most 128 bytes. In a name that is longer or not UTF-8,
/// bytes that are not printable ASCII become '?'.
std::string printable(std::string name) {
  constexpr std::size_t most = 128;
  const auto is_odd = [](char c) { return static_cast<unsigned char>(c) - 0x20u > 0x5eu; };
  if (!base::is_utf8(name) || name.size() > most) std::ranges::replace_if(name, is_odd, '?');
  return name.substr(0, most);
}

/// The error of a sequence that is too long, whatever outputs are asked for.
std::string length_text(std::int64_t length, std::int64_t max_position) {
  return fmt::format("{} tokens, max_position is {}", length, max_position);
}

}  // namespace

InputReader::InputReader(std::int64_t vocab_size, std::int64_t max_position,
                         plan::Tokenizer tokenizer, LastToken last, std::int64_t most_bytes)
    : most_bytes_(most_bytes) {
  if (tokenizer == plan::Tokenizer::bytes && vocab_size < num_bytes)
    throw base::Refusal(
        ExitCode::usage,
        fmt::format("--tokenizer bytes: the model has a vocabulary of {} (each byte is a token, so "
                    "{} are needed). Give token ids of this model's own tokenizer instead.",
                    vocab_size, num_bytes));
  set_.vocab_size_ = vocab_size;
  set_.max_position_ = max_position;
  set_.last_token_ = last;
  set_.tokenizer_ = tokenizer;
  set_.offsets_ = {0};
  set_.file_begin_ = {0};
}

void InputReader::add(const std::string& path) {
  first_ = set_.count();
  set_.stamps_.push_back(stamp_of(path));  // taken before the file is read
  const FileKind kind = file_kind(path);
  if (kind.format == InputFormat::other) throw refusal_of(path, kind);
  if (kind.format == InputFormat::hdf5) {
    add_hdf5(path);
  } else {
    add_jsonl(path, kind.format);
  }
  set_.file_begin_.push_back(set_.count());
}

/// A line without an id gets the id FILE:LINE: "prompts.jsonl:17", or "prompts.jsonl#2:17" in the
/// second file of that name. The folder is not part of it, so that files can be moved.
void InputReader::add_jsonl(const std::string& path, InputFormat format) {
  // if none of so many first lines can be used, the file is refused without reading the rest
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

/// Refuses the current file; the message has the most frequent reason.
void InputReader::refuse_unusable(const char* which) const {
  const std::string& path = set_.files_.back();
  const std::int64_t count = set_.count() - first_;
  if (count == 0)
    throw base::Refusal(
        ExitCode::input,
        fmt::format("{}: has no lines (it has only white space). Make it again.", path));
  const ErrorReason most = error_reasons(set_, first_).front();
  throw base::Refusal(
      ExitCode::input,
      fmt::format(
          "{}: {} ({}: {}, first line {}). Write each line as an object: {{\"id\": 1, "
          "\"tokens\": [1, 2, 3]}}; or with \"text\" instead of \"tokens\" and --tokenizer bytes.",
          path,
          count == 1 ? "its one line cannot be used"
                     : fmt::format("none {} {} lines can be used", which, base::count_text(count)),
          most.text, base::count_text(most.count), set_.line(most.first)->number));
}

void InputReader::add_record(const JsonlRecord& record, const JsonlLine& line) {
  if (record.is_text && set_.tokenizer_ == plan::Tokenizer::none)
    throw base::Refusal(
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
    set_.score_from_.back() = static_cast<std::uint32_t>(record.score_from);
  if (record.problem.empty()) {
    judge_length(sequence);
    judge_tokens(sequence, 0, record.tokens.data(), set_.length(sequence));
  } else {
    set_status(sequence, SequenceStatus::bad_record, record.problem);
  }
  hash_.update(std::as_bytes(std::span(record.tokens)));
  hash_record(sequence, record.is_text);
}

/// Adds all properties of a sequence except its tokens to the identity. The identity does not
/// depend on whether a sequence of max_position + 1 tokens is admitted (LastToken).
void InputReader::hash_record(std::int64_t sequence, bool is_text) {
  const std::int64_t length = set_.length(sequence);
  const bool is_bad = set_.status(sequence) == SequenceStatus::bad_record;
  const std::string id = set_.id(sequence);
  const std::string error = length > set_.max_position_ && !is_bad
                                ? length_text(length, set_.max_position_)
                                : set_.error(sequence);
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

/// As soon as one id is a text, all ids are texts.
void InputReader::add_id(std::string id) {
  for (const std::uint64_t number : set_.numeric_ids_)
    set_.text_ids_.push_back(std::to_string(number));
  set_.numeric_ids_ = {};
  set_.is_numeric_ = false;
  set_.text_ids_.push_back(std::move(id));
}

void InputReader::judge_length(std::int64_t sequence) {
  const std::int64_t length = set_.length(sequence), score_from = set_.score_from(sequence);
  if (length == 0) {
    set_status(sequence, SequenceStatus::empty, "no tokens");
  } else if (score_from > length) {
    set_status(sequence, SequenceStatus::bad_record,
               fmt::format("score_from {} is beyond its {} tokens", score_from, length));
  } else if (const std::int64_t most = set_.max_position_;
             length - (set_.last_token_ == LastToken::only_scored) > most) {
    const bool is_one_more = length - 1 == most;
    set_status(
        sequence, SequenceStatus::too_long,
        length_text(length, most) +
            (is_one_more ? fmt::format(" (one more is taken where only logprobs are asked for; for "
                                       "lm-eval's rolling windows set max_length to {})",
                                       most - 1)
                         : ""));
  }
}

void InputReader::judge_tokens(std::int64_t sequence, std::int64_t position,
                               const std::uint32_t* tokens, std::int64_t count) {
  const SequenceStatus status = set_.status(sequence);
  if (status != SequenceStatus::ok && status != SequenceStatus::bad_token) return;
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i)
    largest = std::max(largest, tokens[i]);
  largest_token_ = std::max(largest_token_, largest);
  if (largest < set_.vocab_size_ || status == SequenceStatus::bad_token) return;
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
    list += fmt::format("\n  id {} is in {} and in {}", base::shown(set_.id(a), 200), place(a),
                        place(b));
  }
  if (num_found > 0)
    throw base::Refusal(ExitCode::input,
                        fmt::format("inputs: {} twice (results are found by id). Make each id of "
                                    "all input files unique.{}",
                                    num_found == 1 ? std::string("1 id occurs")
                                                   : fmt::format("{} ids occur", num_found),
                                    list));
}

/// Refuses the inputs if the labels (offset, id, status, line) of `num_more` more sequences would
/// exceed most_bytes_. Called before these labels are read.
void InputReader::check_memory(std::int64_t num_more) const {
  // bytes of an offset, an id and a status; of one column of the file while it is read; of an
  // index that is sorted by id
  constexpr std::int64_t of_sequence = 8 + 8 + 1 + 8 + 8;
  const std::int64_t count = set_.count() + num_more;
  const auto of = [](std::int64_t number, std::size_t bytes) {
    return number * static_cast<std::int64_t>(bytes);
  };
  const std::int64_t needed = base::checked_add(
      base::checked_mul(count, of_sequence), of(std::ssize(set_.text_ids_), sizeof(std::string)) +
                                                 of(std::ssize(set_.lines_), sizeof(JsonlLine)));
  if (needed <= most_bytes_) return;
  throw base::Refusal(
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

/// Refuses the inputs if every sequence that is not empty has a token id beyond the vocabulary:
/// they were made for another model.
void InputReader::refuse_other_vocabulary() const {
  const auto has = [&](SequenceStatus status) {
    return std::ranges::count(set_.status_.all(), static_cast<std::uint8_t>(status));
  };
  const auto num_bad = has(SequenceStatus::bad_token);
  if (num_bad == 0 || num_bad + has(SequenceStatus::empty) < set_.count()) return;
  throw base::Refusal(
      ExitCode::input,
      fmt::format(
          "inputs: every sequence has a token id beyond the model's vocabulary (the largest "
          "id is {}, vocab_size is {}: they were made with another tokenizer). Make them "
          "with this model's tokenizer, or give the weights of their model.",
          largest_token_, set_.vocab_size_));
}

InputSet InputReader::finish(std::vector<std::string> notes) {
  refuse_duplicates();
  refuse_other_vocabulary();
  set_.notes_ = std::move(notes);
  set_.notes_.insert(set_.notes_.end(), made_notes_.begin(), made_notes_.end());
  if (num_made_ids_ > 0)
    set_.notes_.push_back(fmt::format(
        "{} no id: each gets the text FILE:LINE as its id, the first \"{}\" (so all ids are "
        "texts).",
        num_made_ids_ == 1 ? std::string("1 line has")
                           : fmt::format("{} lines have", base::count_text(num_made_ids_)),
        first_made_id_));
  set_.identity_ = hex_text(hash_.digest());
  return std::move(set_);
}

}  // namespace tetrarch::storage
