// The part of InputReader for HDF5: reads /tokens, /offsets, /ids and /score_from of one file.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <limits>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include "base/error.hpp"
#include "base/stop_signal.hpp"
#include "base/text.hpp"
#include "storage/files/durable.hpp"
#include "storage/inputs/input_reader.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using base::ExitCode;

constexpr std::int64_t block_tokens = 1 << 20;

[[noreturn]] void refuse(const std::string& path, const std::string& object,
                         const std::string& found, const std::string& expected) {
  throw base::Refusal(ExitCode::input,
                      fmt::format("{}: {} is {} (expected {}). Write the file again in the "
                                  "format tetrarch-inputs.",
                                  path, object, found, expected));
}

/// Advice for a dataset whose elements are no integers.
std::string advice_on(const h5::Info& info) {
  if (info.kind.starts_with("float"))
    return "Check that every value is whole and write .astype('int64') (pandas makes floats of a "
           "column with missing values).";
  if (info.kind.starts_with("lists"))
    return "Write one flat list of all tokens to /tokens and the prefix sums of the lengths to "
           "/offsets.";
  return "Write the file again in the format tetrarch-inputs.";
}

/// The number of elements. Refuses a dataset that does not have one axis, or stores less data than
/// its shape needs. Nothing may be allocated before this check.
std::int64_t check_vector(const h5::Dataset& dataset, const std::string& file,
                          const std::string& path) {
  const h5::Info info = dataset.info();
  if (info.shape.size() != 1)
    refuse(file, path, fmt::format("of shape {}", base::to_string(info.shape)),
           "one axis, with all sequences one after another");
  dataset.check_written();
  const std::int64_t bytes = base::checked_mul(info.shape[0], info.element_bytes);
  if (!info.can_hold(bytes))
    refuse(file, path,
           fmt::format("of {} elements with {} bytes of data", info.shape[0], info.stored_bytes),
           fmt::format("{} bytes", bytes));
  return info.shape[0];
}

std::int64_t check_integers(const h5::Dataset& dataset, const std::string& file,
                            const std::string& path, const char* expected) {
  const h5::Info info = dataset.info();
  if (!info.is_integer)
    throw base::Refusal(ExitCode::input, fmt::format("{}: {} is {} (expected {}). {}", file, path,
                                                     info.kind, expected, advice_on(info)));
  return check_vector(dataset, file, path);
}

/// Text for a message: which other program wrote this HDF5 file; "" if that is not known.
std::string written_by(const h5::File& file) {
  if (file.text_attribute("PYTABLES_FORMAT_VERSION"))
    return "; PyTables (pandas' to_hdf) wrote it, in a layout of its own";
  if (file.text_attribute("_NCProperties")) return "; it is a netCDF file";
  return "";
}

void check_format(const h5::File& file) {
  const auto format = file.text_attribute("format");
  for (const char* other : {"weights", "results"})
    if (format == fmt::format("tetrarch-{}", other))
      throw base::Refusal(
          ExitCode::input,
          fmt::format("{}: is a file of {}, not of inputs. Give a file of inputs "
                      "as --inputs{}.",
                      file.path(), other,
                      format == "tetrarch-weights" ? ", and this one as --weights" : ""));
  if (format != "tetrarch-inputs")
    refuse(file.path(), "attribute format",
           format ? fmt::format("\"{}\"", base::shown(*format)) : "missing" + written_by(file),
           "\"tetrarch-inputs\"");
  const auto version = file.integer_attribute("format_version");
  if (!version || version->empty() || version->front() != 1)
    refuse(file.path(), "attribute format_version",
           version && !version->empty() ? fmt::format("{}", version->front()) : "missing", "1, 0");
}

void check_id(const std::string& file, const std::string& id, std::int64_t index) {
  const std::string object = fmt::format("/ids[{}]", index);
  if (id.size() > max_id_bytes)
    refuse(file, object, fmt::format("{} bytes long", id.size()),
           fmt::format("at most {}", max_id_bytes));
  if (id.empty())
    refuse(file, object, "empty (was it never written?)", "a text that names the sequence");
  if (id.find('\0') != std::string::npos)
    refuse(file, object, "a text with a zero byte", "UTF-8 text");
  if (!base::is_utf8(id)) refuse(file, object, "not UTF-8", "UTF-8 text");
}

/// Takes a shared lock on a file, as HDF5 does for its readers, so that the file is not read while
/// another program writes it. Takes none if the file system has no locks. Throws Refusal(input)
/// if another program has the file open for writing.
Descriptor lock_against_writers(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.has_value() && ::flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw base::Refusal(
        ExitCode::input,
        fmt::format(
            "{}: is open for writing in another program. Wait until that program closes it.",
            path));
  return file;
}

}  // namespace

void InputReader::add_hdf5(const std::string& path) {
  const Descriptor lock = lock_against_writers(path);
  const h5::File file = h5::File::open_to_read(path, ExitCode::input);
  check_format(file);
  set_.files_.push_back(path);
  set_.line_begin_.push_back(InputSet::no_lines);
  const h5::Dataset tokens = file.dataset("/tokens");
  const std::int64_t num_tokens = check_integers(tokens, path, "/tokens", "integers");
  add_offsets(file, num_tokens);
  count_ = set_.count() - first_;
  set_.status_.resize(static_cast<std::size_t>(set_.count()));
  add_ids(file);
  add_score_from(file);
  for (std::int64_t i = first_; i < set_.count(); ++i)
    judge_length(i);
  add_tokens(tokens);
  if (count_ == 0) made_notes_.push_back(fmt::format("{} has no sequences.", path));
}

void InputReader::add_offsets(const h5::File& file, std::int64_t num_tokens) {
  const h5::Dataset dataset = file.dataset("/offsets");
  const std::int64_t size = check_integers(dataset, file.path(), "/offsets", "integers");
  if (size == 0) refuse(file.path(), "/offsets", "empty", "one element more than sequences");
  check_memory(size - 1);
  std::vector<std::uint64_t> offsets(static_cast<std::size_t>(size));
  dataset.read_all_integers(DType::u64, offsets.data());
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
  const std::int64_t count =
      is_text ? check_vector(dataset, file.path(), "/ids")
              : check_integers(dataset, file.path(), "/ids", "integers or texts");
  if (count != count_)
    refuse(file.path(), "/ids", fmt::format("of {} elements", count),
           fmt::format("{}, one for each sequence of /offsets", count_));
  if (is_text) {
    constexpr std::int64_t most_bytes = 16 << 20, largest_text = 1 << 16;
    if (info.text_bytes > largest_text)
      refuse(file.path(), "/ids", info.kind, fmt::format("at most {} bytes", largest_text));
    const std::int64_t block = most_bytes / std::max<std::int64_t>(info.text_bytes, 256);
    for (std::int64_t begin = 0; begin < count; begin += block) {
      base::refuse_when_stopped("the inputs were read");
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
  dataset.read_all_integers(DType::u64, ids.data());
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
  const std::int64_t count = check_integers(dataset, file.path(), "/score_from", "integers");
  if (count != count_)
    refuse(file.path(), "/score_from", fmt::format("of {} elements", count),
           fmt::format("{}, one for each sequence of /offsets", count_));
  set_.score_from_.resize(all);
  const std::span values(set_.score_from_.data() + first_, static_cast<std::size_t>(count));
  dataset.read_integers({{0}, {count}}, DType::u32, values.data());
  hash_.update(std::as_bytes(values));
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
    base::refuse_when_stopped("the inputs were read");
    const std::int64_t end = std::min(begin + block_tokens, total);
    tokens.read_integers({{begin}, {end - begin}}, DType::u32, block.data());
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

}  // namespace tetrarch::storage
