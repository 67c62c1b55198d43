// Reads names and lists of sequences of part files.
// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/shape.hpp"
#include "storage/files/durable.hpp"
#include "storage/run/part_file.hpp"

namespace tetrarch::storage {
namespace {

constexpr std::int64_t largest_text_bytes = 1 << 16;

}  // namespace

std::string attempt_folder(const std::string& run_dir, int attempt) {
  return fmt::format("{}/parts/.tmp-a{:03}", run_dir, attempt);
}

std::string to_string(const PartName& name) {
  return fmt::format("d{:03}-e{:03}-a{:03}-{:06}-{}.h5", name.dp, name.ep, name.attempt,
                     name.number, name.xxh3);
}

std::optional<PartName> parse_part_name(std::string_view file_name) {
  PartName name;
  std::string_view rest = file_name;
  const auto number = [&](std::string_view prefix, int& value) {
    if (!rest.starts_with(prefix)) return false;
    rest.remove_prefix(prefix.size());
    const auto result = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (result.ec != std::errc() || value < 0) return false;
    rest.remove_prefix(static_cast<std::size_t>(result.ptr - rest.data()));
    return true;
  };
  if (!number("d", name.dp) || !number("-e", name.ep) || !number("-a", name.attempt) ||
      !number("-", name.number) || rest.size() != 1 + 16 + 3)
    return std::nullopt;
  name.xxh3 = rest.substr(1, 16);
  if (to_string(name) != file_name) return std::nullopt;
  return name;
}

PartList read_list(const h5::File& part) {
  const auto refuse = [&](const std::string& problem) {
    return base::Refusal(
        base::ExitCode::input,
        fmt::format("{}: {}. Its sequences have to be computed again.", part.path(), problem));
  };
  const h5::Dataset index = part.dataset("/sequences/index");
  const h5::Info info = index.info();
  if (info.shape.size() != 1 || info.stored_bytes != base::checked_mul(info.shape[0], 8))
    throw refuse("its list of sequences has a wrong shape");
  const auto count = static_cast<std::size_t>(info.shape[0]);
  const h5::Dataset lengths = part.dataset("/sequences/length");
  const h5::Dataset states = part.dataset("/sequences/status");
  if (lengths.info().shape != info.shape || states.info().shape != info.shape)
    throw refuse("its lists of sequences differ in length");
  std::vector<std::uint64_t> sequence(count), length(count);
  std::vector<std::uint8_t> status(count);
  index.read_all(base::DType::u64, sequence.data());
  lengths.read_all(base::DType::u64, length.data());
  states.read_all(base::DType::u8, status.data());
  const h5::Dataset error_texts = part.dataset("/sequences/error");
  const h5::Info texts = error_texts.info();
  if (texts.shape != info.shape || texts.text_bytes > largest_text_bytes ||
      texts.stored_bytes != base::checked_mul(info.shape[0], texts.text_bytes))
    throw refuse("its list of errors has a wrong shape");

  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  PartList list;
  list.entries.resize(count);
  std::int64_t token_row = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (sequence[i] > most || length[i] > most ||
        status[i] > static_cast<std::uint8_t>(SequenceStatus::bad_record))
      throw refuse(fmt::format("its entry {} has impossible values", i));
    list.entries[i] = {static_cast<std::int64_t>(sequence[i]), static_cast<std::int64_t>(length[i]),
                       static_cast<std::int64_t>(i), token_row,
                       static_cast<SequenceStatus>(status[i])};
    token_row = base::checked_add(token_row, list.entries[i].length);
  }
  error_texts.visit_texts([&](std::int64_t i, std::string& error) {
    const std::int64_t failed = list.entries[static_cast<std::size_t>(i)].sequence;
    if (!error.empty()) list.errors.try_emplace(failed, std::move(error));
  });
  return list;
}

PartList read_part(const std::string& path, const std::string& run_uuid) {
  const auto refuse = [&](const std::string& problem) {
    return base::Refusal(
        base::ExitCode::input,
        fmt::format("{}: {}. Its sequences have to be computed again.", path, problem));
  };
  const auto name = parse_part_name(std::filesystem::path(path).filename().string());
  if (!name) throw refuse("its name is not the name of a part");
  if (const std::string found = file_xxh3(path); found != name->xxh3)
    throw refuse(fmt::format("its checksum is {}, but its name says {}", found, name->xxh3));
  const h5::File file = h5::File::open_to_read(path, base::ExitCode::input);
  if (file.text_attribute("format") != "tetrarch-part")
    throw refuse("its format is not tetrarch-part");
  if (const auto found = file.text_attribute("run_uuid"); found != run_uuid)
    throw refuse(fmt::format("it belongs to run {}, not {}", found.value_or("?"), run_uuid));
  return read_list(file);
}

}  // namespace tetrarch::storage
