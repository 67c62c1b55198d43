/// A temporary folder, small inputs, and made-up outputs of which every value is known.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "storage/run/merge.hpp"

namespace tetrarch::storage {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tetrarch-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The content of an input file. Unless `tokens` are given, they are 0, 1, 2 ... modulo 50.
struct Inputs {
  std::vector<std::uint64_t> lengths = {};
  std::vector<std::uint64_t> ids = {};
  std::vector<std::string> text_ids = {};  // used instead of ids if not empty
  std::vector<std::uint32_t> score_from = {};
  std::vector<std::uint32_t> tokens = {};  // used instead of the made-up ones if not empty

  std::vector<std::uint64_t> offsets() const {
    std::vector<std::uint64_t> result{0};
    for (const std::uint64_t length : lengths)
      result.push_back(result.back() + length);
    return result;
  }
};

template <class T>
void put(h5::File& file, const std::string& path, base::DType dtype, const std::vector<T>& values) {
  h5::Create create;
  create.shape = {static_cast<std::int64_t>(values.size())};
  create.dtype = dtype;
  h5::Dataset dataset = file.create_dataset(path, create);
  if (!values.empty()) dataset.write_all(dtype, values.data());
}

inline std::string write_inputs(const std::string& path, Inputs inputs) {
  h5::File file = h5::File::create(path);
  file.set_attribute("format", std::string("tetrarch-inputs"));
  file.set_attribute("format_version", std::vector<std::uint32_t>{1, 0});
  const std::vector<std::uint64_t> offsets = inputs.offsets();
  if (inputs.tokens.empty())
    for (std::uint64_t i = 0; i < offsets.back(); ++i)
      inputs.tokens.push_back(static_cast<std::uint32_t>(i % 50));
  put(file, "/tokens", base::DType::u32, inputs.tokens);
  put(file, "/offsets", base::DType::u64, offsets);
  if (!inputs.score_from.empty()) put(file, "/score_from", base::DType::u32, inputs.score_from);
  if (inputs.text_ids.empty()) {
    if (inputs.ids.empty())
      for (std::uint64_t i = 0; i < inputs.lengths.size(); ++i)
        inputs.ids.push_back(100 + i);
    put(file, "/ids", base::DType::u64, inputs.ids);
  } else {
    file.create_texts("/ids", std::ssize(inputs.text_ids), 32, "").write_texts(inputs.text_ids, 32);
  }
  file.close();
  return path;
}

/// Code and message of the Refusal that `call` throws; code `done` if it throws none.
struct Refused {
  base::ExitCode code = base::ExitCode::done;
  std::string message;
};
inline Refused refusal_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const base::Refusal& error) {
    return {error.code(), error.what()};
  }
  return {};
}

inline plan::ModelSpec small_spec() {
  plan::ModelSpec spec = plan::preset("tiny");
  spec.num_layers = 2;
  spec.window = {0, 0};
  spec.is_moe = {true, true};
  return spec;
}

inline plan::Outputs all_outputs(const plan::ModelSpec& spec) {
  plan::Outputs outputs;
  outputs.topk = outputs.last_logits = outputs.hidden = true;
  outputs.kv = outputs.routing = outputs.experts = true;
  outputs.top_k_logprobs = 3;
  for (std::int64_t layer = -1; layer <= spec.num_layers; ++layer)
    outputs.hidden_layers.push_back(layer);
  return outputs;
}

inline float token_logprob(std::int64_t sequence, std::int64_t position) {
  return -0.1f * static_cast<float>(sequence + 1) - 0.01f * static_cast<float>(position % 97);
}

/// The value of column `i`. Values of neighbouring columns differ by 3, so that a row modulo 16
/// (experts) has no value twice.
inline std::uint32_t made_up_value(const std::string& path, std::int64_t sequence,
                                   std::int64_t position, std::int64_t i) {
  const std::int64_t own = std::accumulate(path.begin(), path.end(), std::int64_t{0});
  return static_cast<std::uint32_t>(own + 3 * i + 7 * position + sequence);
}

/// Makes row `position` of `sequence`. Rows differ between datasets, sequences and positions.
inline void made_up_row(const DatasetPlan& plan, const InputSet& inputs, std::int64_t sequence,
                        std::int64_t position, std::byte* to) {
  const std::int64_t length = inputs.length(sequence);
  const std::int64_t first = std::max<std::int64_t>(1, inputs.score_from(sequence));
  const auto put_value = [&](auto value) { std::memcpy(to, &value, sizeof value); };
  if (plan.path == "/logprobs/token") {
    put_value(position == 0 ? base::failed_value() : token_logprob(sequence, position));
  } else if (plan.path == "/logprobs/sum") {
    double sum = 0;
    for (std::int64_t i = first; i < length; ++i)
      sum += static_cast<double>(token_logprob(sequence, i));
    put_value(sum);
  } else if (plan.path == "/logprobs/count") {
    put_value(static_cast<std::uint64_t>(std::max<std::int64_t>(0, length - first)));
  } else if (plan.path == "/logprobs/is_greedy") {
    put_value(static_cast<std::uint8_t>(sequence % 2));
  } else if (plan.path == "/topk/ids") {
    for (std::int64_t i = 0; i < plan.columns; ++i, to += 4)
      put_value(static_cast<std::uint32_t>((sequence + 7 * position + 11 * i) % 512));
  } else if (plan.path == "/topk/logprobs") {
    for (std::int64_t i = 0; i < plan.columns; ++i, to += 4)
      put_value(-0.5f * static_cast<float>(i) - 0.01f * static_cast<float>(position + sequence));
  } else {
    for (std::int64_t i = 0; i < plan.columns; ++i) {
      const std::uint32_t value = made_up_value(plan.path, sequence, position, i);
      const float number = static_cast<float>(value % 251);
      const std::uint16_t expert = value % 16;
      const base::bf16 half = base::to_bf16(number);
      const void* from = plan.dtype == base::DType::f32    ? static_cast<const void*>(&number)
                         : plan.dtype == base::DType::bf16 ? static_cast<const void*>(&half)
                                                           : static_cast<const void*>(&expert);
      const auto size = static_cast<std::size_t>(base::size_of(plan.dtype));
      std::memcpy(to + static_cast<std::size_t>(i) * size, from, size);
    }
  }
}

/// What `sequence` adds to a row of /routing: the counts of its made-up /experts; nothing is
/// dropped.
inline std::vector<std::uint64_t> made_up_counts(const DatasetPlan& plan, const InputSet& inputs,
                                                 std::int64_t sequence, std::int64_t layer) {
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(plan.columns));
  if (plan.path == "/routing/dropped") return counts;
  const std::string experts = numbered_path("experts", layer);
  constexpr std::int64_t top_k = 2;  // as in small_spec()
  for (std::int64_t position = 0; position < inputs.length(sequence); ++position)
    for (std::int64_t i = 0; i < top_k; ++i)
      ++counts[made_up_value(experts, sequence, position, i) % 16];
  return counts;
}

/// The bytes of all rows of one sequence.
inline std::vector<std::byte> made_up(const DatasetPlan& plan, const InputSet& inputs,
                                      std::int64_t sequence) {
  const std::int64_t rows =
      plan.per == DatasetPlan::Per::token ? inputs.length(sequence) : std::int64_t{1};
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * plan.row_bytes()));
  for (std::int64_t row = 0; row < rows; ++row)
    made_up_row(plan, inputs, sequence, row, bytes.data() + row * plan.row_bytes());
  return bytes;
}

/// Writes all made-up rows and counts of the current microbatch, in row order.
inline void write_rows(PartWriter& writer, const InputSet& inputs,
                       const std::vector<std::int64_t>& sequences) {
  for (const DatasetPlan& plan : writer.layout()) {
    if (plan.per == DatasetPlan::Per::run) {
      for (const std::int64_t sequence : sequences)
        for (std::int64_t layer = 0; layer < plan.rows; ++layer)
          writer.add(plan.path, layer, 1, made_up_counts(plan, inputs, sequence, layer).data());
      continue;
    }
    std::int64_t row = 0;
    for (const std::int64_t sequence : sequences) {
      const std::vector<std::byte> bytes = made_up(plan, inputs, sequence);
      const std::int64_t num_rows = std::ssize(bytes) / plan.row_bytes();
      writer.write(plan.path, row, num_rows, bytes.data());
      row += num_rows;
    }
  }
}

inline void write_microbatch(PartWriter& writer, const InputSet& inputs,
                             const std::vector<std::int64_t>& sequences) {
  std::vector<PartSequence> list;
  for (const std::int64_t sequence : sequences)
    list.push_back({sequence, inputs.length(sequence)});
  writer.begin(list);
  write_rows(writer, inputs, sequences);
  writer.end();
}

inline ResultsHeader small_header(const plan::ModelSpec& spec, const InputSet& inputs) {
  ResultsHeader header;
  header.command_line = "tetrarch run";
  header.config_json = plan::to_config_json(spec);
  header.weights_xxh3 = "0123456789abcdef";
  header.inputs_xxh3 = inputs.identity();
  header.grid = {1, 1, 2, 1};
  header.backend = "cpu";
  header.dtype = "bf16";
  return header;
}

/// Inputs, settings and layout of a small run, whose folder open() creates.
struct SmallRun {
  explicit SmallRun(const TemporaryFolder& folder, const Inputs& given,
                    const plan::Outputs& outputs = {}, plan::ModelSpec model = small_spec())
      : spec(std::move(model)),
        inputs(InputSet::open({write_inputs(folder / "inputs.h5", given)}, spec.vocab_size,
                              spec.max_position)),
        layout(results_layout(outputs, spec)),
        header(small_header(spec, inputs)),
        path(folder / "run") {
    settings.frozen = {{"weights", "0123456789abcdef"}, {"inputs", inputs.identity()}};
    settings.facts = merge_facts(inputs, layout, header, spec);
  }
  RunFolder open() { return RunFolder::open(path, settings, {}, log); }
  PartOptions options(const RunFolder& folder, int ep) const {
    return {path, folder.run_uuid(), folder.attempt(), 0, ep};
  }
  MergeReport merge(RunFolder& folder, Missing missing = Missing::refused) {
    return storage::merge(folder, inputs, layout, header, {}, {}, missing, log);
  }

  base::Log log{base::Log::Sink::none};
  plan::ModelSpec spec;
  InputSet inputs;
  std::vector<DatasetPlan> layout;
  ResultsHeader header;
  std::string path;
  RunSettings settings;
};

/// The entries of a folder parts/, without the folders of attempts.
inline std::vector<std::string> parts_in(const std::string& folder) {
  std::vector<std::string> names = names_in(folder);
  std::erase_if(names, [](const std::string& name) { return name.starts_with(".tmp-a"); });
  return names;
}

inline void flip_bit(const std::string& path, std::int64_t byte, int bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(byte);
  char value = 0;
  file.read(&value, 1);
  value = static_cast<char>(value ^ (1 << bit));
  file.seekp(byte);
  file.write(&value, 1);
}

}  // namespace tetrarch::storage
