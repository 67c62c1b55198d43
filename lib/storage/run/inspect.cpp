// Prints what is in a file or run folder.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/inspect.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "storage/files/file_kind.hpp"
#include "storage/h5/h5.hpp"
#include "storage/inputs/jsonl_reader.hpp"
#include "storage/run/part_file.hpp"
#include "storage/run/probe.hpp"
#include "storage/run/results_layout.hpp"
#include "storage/run/run_folder.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;
using base::DType;
using base::ExitCode;
using base::Json;

constexpr std::size_t line_width = 100;
constexpr std::int64_t num_shown = 5;

std::string cut(const std::string& text) {
  return text.size() <= line_width ? text : text.substr(0, line_width - 3) + "...";
}

/// Prints the scalars of a config on one line, and each object on a line of its own.
void show_config(const std::string& text, const std::string& where, base::Log& log) {
  const Json config = base::parse_json(text, where, ExitCode::input);
  std::string scalars;
  for (const auto& [key, value] : config.items())
    if (!value.is_structured()) scalars += fmt::format(" {} {},", key, value.dump());
  if (!scalars.empty()) scalars.pop_back();
  log.say("  config {}", cut(scalars));
  for (const auto& [key, value] : config.items())
    if (value.is_structured()) log.say("    {:<12}{}", key, cut(value.dump()));
}

void show_attributes(const h5::File& file, base::Log& log) {
  for (const char* key : {"software_version", "git_sha", "created_utc", "source", "dtype", "status",
                          "run_uuid", "command_line", "weights_xxh3", "inputs_xxh3", "backend"})
    if (const auto value = file.text_attribute(key)) log.say("  {:<18}{}", key, cut(*value));
  for (const char* key : {"reduction_shards", "dp", "pp", "ep", "tp", "reproducible"})
    if (const auto value = file.integer_attribute(key); value && !value->empty())
      log.say("  {:<18}{}", key, value->front());
  if (const auto config = file.text_attribute("config_json"))
    show_config(*config, file.path(), log);
}

std::string type_text(const h5::Info& info) {
  if (info.dtype) return std::string(base::name_of(*info.dtype));
  if (info.is_variable_text) return "text";
  if (info.text_bytes > 0) return fmt::format("text {}", info.text_bytes);
  return info.is_integer ? info.kind : "record";
}

/// "/layers/07/q" -> "/layers/NN/q", so that equal layers take one line.
std::string without_numbers(const std::string& path) {
  std::string result;
  for (std::size_t begin = 1; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    const bool is_number =
        !part.empty() && std::ranges::all_of(part.substr(0, part.find('.')),
                                             [](char c) { return c >= '0' && c <= '9'; });
    result += "/" + (is_number ? "NN" : part);
    begin = end + 1;
  }
  return result;
}

struct Row {
  std::string path, type, shape, description;
  int count = 0;
  std::int64_t bytes = 0;
};

void show_datasets(const h5::File& file, base::Log& log) {
  std::vector<Row> rows;
  std::int64_t bytes = 0, sum_bytes = 0;
  for (const std::string& path : file.list()) {
    const h5::Dataset dataset = file.dataset(path);
    const h5::Info info = dataset.info();
    bytes = base::checked_add(bytes, info.stored_bytes);
    if (path.ends_with(".xxh3")) {
      sum_bytes = base::checked_add(sum_bytes, info.stored_bytes);
      continue;
    }
    Row row{without_numbers(path), type_text(info), base::to_string(info.shape),
            dataset.text_attribute("description").value_or("")};
    auto found = std::ranges::find_if(rows, [&](const Row& each) {
      return each.path == row.path && each.type == row.type && each.shape == row.shape;
    });
    if (found == rows.end()) found = rows.insert(rows.end(), row);
    ++found->count;
    found->bytes = base::checked_add(found->bytes, info.stored_bytes);
  }
  for (const Row& row : rows)
    log.say("  {:<26} {:<8} {:<19} {:>11}  {}", row.path, row.type, row.shape,
            base::bytes_text(row.bytes),
            row.count > 1 ? fmt::format("({} datasets) {}", row.count, row.description)
                          : row.description);
  log.say("  {} of data, {} of it checksums; the file has {}", base::bytes_text(bytes),
          base::bytes_text(sum_bytes),
          base::bytes_text(static_cast<std::int64_t>(fs::file_size(file.path()))));
}

/// Prints totals and the first ids of inputs or results.
void show_sequences(const h5::File& file, const std::string& offsets_path,
                    const std::string& ids_path, base::Log& log) {
  const h5::Dataset offsets = file.dataset(offsets_path);
  const base::Shape shape = offsets.info().shape;
  if (shape.size() != 1 || shape[0] < 1) return;
  const std::int64_t count = shape[0] - 1;
  const h5::Dataset ids = file.dataset(ids_path);
  offsets.check_written();
  ids.check_written();
  std::uint64_t total = 0;
  offsets.read_integers({{count}, {1}}, DType::u64, &total);
  log.say("  {}, {}, {:.1f} a sequence", base::counted(count, "sequence"),
          base::counted(static_cast<std::int64_t>(total), "token"),
          count > 0 ? static_cast<double>(total) / static_cast<double>(count) : 0.0);
  const std::int64_t shown = std::min(count, num_shown);
  std::string list;
  if (ids.info().is_integer) {
    std::vector<std::uint64_t> values(static_cast<std::size_t>(shown));
    if (shown > 0) ids.read_integers({{0}, {shown}}, DType::u64, values.data());
    for (const std::uint64_t id : values)
      list += fmt::format(" {}", id);
  } else {
    for (const std::string& id : ids.read_texts(0, shown))
      list += fmt::format(" {}", base::shown(id));
  }
  log.say("  first ids:{}{}", cut(list), shown < count ? " ..." : "");
}

/// Prints totals of JSON lines. Reads the whole file, since it stores no totals.
void inspect_jsonl(const std::string& path, base::Log& log) {
  const FileKind kind = file_kind(path);
  JsonlReader reader(path, kind.format);
  JsonlRecord record;
  JsonlLine line;
  std::int64_t count = 0, num_tokens = 0, num_texts = 0, num_scored = 0, num_bad = 0;
  std::string ids, problems;
  while (reader.next(record, line)) {
    if (++count <= num_shown) ids += fmt::format(" {}", base::shown(id_text(record)));
    num_tokens += std::ssize(record.tokens);
    num_texts += record.is_text;
    num_scored += record.score_from > 0;
    if (record.problem.empty() || ++num_bad > num_shown) continue;
    problems += fmt::format("\n    line {}: {}", line.number, record.problem);
  }
  const bool is_packed = kind.format != InputFormat::lines;
  log.say("{}: JSON lines{}, {}", path, is_packed ? " in " + kind.what : "",
          base::bytes_text(static_cast<std::int64_t>(fs::file_size(path))));
  log.say("  {}, {}, {:.1f} a sequence", base::counted(count, "sequence"),
          base::counted(num_tokens, "token"),
          count > 0 ? static_cast<double>(num_tokens) / static_cast<double>(count) : 0.0);
  log.say("  first ids:{}{}", cut(ids), num_shown < count ? " ..." : "");
  if (num_texts > 0)
    log.say("  {} are text, counted in bytes: run with --tokenizer bytes",
            base::count_text(num_texts));
  if (num_scored > 0) log.say("  {} have a score_from", base::count_text(num_scored));
  if (num_bad > 0)
    log.say("  {} are bad records; a run makes error records of them:{}{}",
            base::count_text(num_bad), problems, num_shown < num_bad ? "\n    ..." : "");
}

void show_statuses(const h5::File& file, base::Log& log) {
  const h5::Dataset dataset = file.dataset("/sequences/status");
  const base::Shape shape = dataset.info().shape;
  if (shape.size() != 1) return;
  constexpr std::int64_t block = 1 << 20;
  std::map<std::uint8_t, std::int64_t> counts;
  std::vector<std::uint8_t> status;
  for (std::int64_t begin = 0; begin < shape[0]; begin += block) {
    status.resize(static_cast<std::size_t>(std::min(block, shape[0] - begin)));
    dataset.read({{begin}, {std::ssize(status)}}, DType::u8, status.data());
    for (const std::uint8_t each : status)
      ++counts[each];
  }
  for (const auto& [value, count] : counts)
    log.say("  status {:<11}{} ({})", value, base::counted(count, "sequence"),
            name_of(static_cast<SequenceStatus>(value)));
}

void show_timing(const h5::File& file, base::Log& log) {
  for (const char* key : {"ttft_seconds", "wall_seconds", "startup_seconds", "tokens",
                          "tokens_per_second", "tokens_per_ms_per_rank", "mfu"})
    if (const auto value = file.number_attribute(key, "/timing"))
      log.say("  {:<24}{:g}", key, *value);
}

void inspect_run_folder(const std::string& path, base::Log& log) {
  const Json json = read_run_json(path);
  log.say("{}: run folder", path);
  for (const char* key :
       {"run_uuid", "created_utc", "software_version", "git_sha", "attempt", "is_mixed"})
    if (json.contains(key)) log.say("  {:<18}{}", key, cut(json[key].dump()));
  for (const char* group : {"frozen", "mixable"})
    for (const auto& [key, value] : json[group].items())
      log.say("  {:<18}{}", key, cut(value.dump()));
  int num_parts = 0, num_damaged = 0, num_others = 0;
  std::int64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path + "/parts", error)) {
    const std::string name = entry.path().filename().string();
    const bool is_part = parse_part_name(name).has_value();
    const bool is_damaged = name.starts_with("damaged-");
    num_parts += is_part;
    num_damaged += is_damaged;
    num_others += !is_part && !is_damaged;
    if (is_part) bytes += static_cast<std::int64_t>(entry.file_size(error));
  }
  const bool has_results = is_there(path + "/results.h5");
  // a finished run has results and, as a rule, no parts
  if (num_parts > 0 || !has_results)
    log.say("  {}, {}", base::counted(num_parts, "part"), base::bytes_text(bytes));
  if (num_damaged > 0)
    log.say("  {} in parts/, set aside", base::counted(num_damaged, "damaged part"));
  if (num_others > 0)
    log.say("  {} in parts/, not committed", base::counted(num_others, "other file"));
  if (has_results) inspect(path + "/results.h5", log);
}

}  // namespace

void inspect(const std::string& path, base::Log& log) {
  std::error_code error;
  if (fs::is_directory(path, error)) return inspect_run_folder(path, log);
  if (holds_lines(path)) return inspect_jsonl(path, log);
  const ExitCode code = code_of(path, Purpose::inspect);
  refuse_other_kinds(path, code);
  const h5::File file = h5::File::open_to_read(path, code);
  const std::string format = file.text_attribute("format").value_or("");
  if (!format.starts_with("tetrarch-"))
    throw base::Refusal(code,
                        fmt::format("{}: its attribute format is \"{}\" (none of Tetrarch's "
                                    "formats). Give weights, inputs, results or a run folder.",
                                    path, cut(format)));
  const auto version = file.integer_attribute("format_version");
  log.say("{}: {}, format version {}", path, format,
          version && !version->empty() ? std::to_string(version->front()) : "unknown");
  show_attributes(file, log);
  show_datasets(file, log);
  if (format == "tetrarch-inputs") show_sequences(file, "/offsets", "/ids", log);
  if (format != "tetrarch-results") return;
  show_sequences(file, "/sequences/offsets", "/sequences/id", log);
  show_statuses(file, log);
  show_timing(file, log);
}

}  // namespace tetrarch::storage
