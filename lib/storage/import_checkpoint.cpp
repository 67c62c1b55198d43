// Checkpoint tensors, matched by name, converted and transposed unit by unit.
// SPDX-License-Identifier: Apache-2.0
#include "storage/import_checkpoint.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <vector>

#include <fmt/ranges.h>

#include "base/text.hpp"
#include "plan/hf_config.hpp"
#include "plan/problems.hpp"
#include "storage/convert_elements.hpp"
#include "storage/safetensors.hpp"
#include "storage/weights_writer.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using plan::TensorSource;
using plan::TensorSpec;

constexpr std::size_t most_listed = 20;       // names in one message
constexpr std::size_t longest_shown = 200;    // bytes of each
constexpr std::int64_t read_bytes = 8 << 20;  // of the checkpoint at once
constexpr double progress_interval_s = 10;

/// Names that checkpoints carry and no computation needs.
bool is_ignorable(const std::string& name, const plan::ModelSpec& spec) {
  return name.ends_with("rotary_emb.inv_freq") ||
         (spec.tied_embeddings && name == "lm_head.weight");
}

std::string listed(const std::vector<std::string>& names) {
  std::vector<std::string> first;
  for (std::size_t i = 0; i < std::min(names.size(), most_listed); ++i)
    first.push_back(base::shown(names[i], longest_shown));
  std::string text = fmt::format("{}", fmt::join(first, ", "));
  if (first.size() < names.size()) text += fmt::format(" and {} more", names.size() - first.size());
  return text;
}

/// The pieces of every tensor of ours, found by name and with the shape that ours asks for.
class Sources {
 public:
  Sources(const Checkpoint& checkpoint, const plan::ModelSpec& spec,
          const std::vector<TensorSpec>& tensors)
      : checkpoint_(checkpoint) {
    const std::vector<TensorSource> sources = plan::tensor_sources(spec);
    base::expects(sources.size() == tensors.size(), "a source for each tensor");
    plan::Problems problems;
    std::vector<std::string> missing, unexpected;
    std::set<std::string> used;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      base::expects(sources[i].path == tensors[i].path, "sources in the order of tensors");
      is_transposed_.push_back(sources[i].is_transposed);
      std::vector<const StoredTensor*>& found = found_.emplace_back();
      for (const std::vector<std::string>& names : sources[i].pieces) {
        found.push_back(find(names));
        if (!found.back()) {
          missing.push_back(names.front());
          continue;
        }
        used.insert(found.back()->name);
        check_shape(problems, *found.back(), tensors[i], sources[i].is_transposed);
      }
    }
    for (const std::string& name : checkpoint.names())
      if (!used.count(name) && !is_ignorable(name, spec)) unexpected.push_back(name);
    if (!missing.empty())
      problems.add(
          "{} tensors that config.json asks for are missing: {}. Download the checkpoint "
          "again, all files of one version.",
          missing.size(), listed(missing));
    if (!unexpected.empty())
      problems.add(
          "{} tensors have no place in the model of config.json: {}. This version computes "
          "no model that needs them.",
          unexpected.size(), listed(unexpected));
    problems.refuse(ExitCode::weights, checkpoint.folder());
  }

  const StoredTensor& piece(std::size_t tensor, std::int64_t expert) const {
    return *found_[tensor][static_cast<std::size_t>(expert)];
  }
  bool is_transposed(std::size_t tensor) const { return is_transposed_[tensor]; }

 private:
  const StoredTensor* find(const std::vector<std::string>& names) const {
    for (const std::string& name : names)
      if (const StoredTensor* tensor = checkpoint_.find(name)) return tensor;
    return nullptr;
  }

  static void check_shape(plan::Problems& problems, const StoredTensor& found,
                          const TensorSpec& tensor, bool is_transposed) {
    base::Shape expected = tensor.shape;
    if (expected.size() == 3) expected.erase(expected.begin());
    if (is_transposed) std::swap(expected[0], expected[1]);
    if (found.shape != expected)
      problems.add(
          "tensor \"{}\" has shape {}, expected {} from config.json. Download the "
          "checkpoint again, all files of one version.",
          base::shown(found.name, longest_shown), base::to_string(found.shape),
          base::to_string(expected));
  }

  const Checkpoint& checkpoint_;
  std::vector<std::vector<const StoredTensor*>> found_;
  std::vector<bool> is_transposed_;
};

/// Makes the bytes of one unit after another.
class UnitReader {
 public:
  UnitReader(const Checkpoint& checkpoint, const Sources& sources)
      : checkpoint_(checkpoint), sources_(sources) {}

  std::span<const std::byte> read(const TensorSpec& tensor, std::size_t index, std::int64_t unit) {
    const StoredTensor& piece = sources_.piece(index, unit / tensor.num_slices);
    const plan::Range rows = tensor.slice_rows(unit % tensor.num_slices);
    unit_.resize(static_cast<std::size_t>(tensor.unit_bytes(unit)));
    if (sources_.is_transposed(index))
      read_transposed(piece, tensor, rows);
    else
      read_rows(piece, tensor, rows);
    return unit_;
  }

 private:
  void read_rows(const StoredTensor& piece, const TensorSpec& tensor, const plan::Range& rows) {
    const std::int64_t from_size = size_of(piece.dtype), to_size = base::size_of(tensor.dtype);
    const std::int64_t begin = rows.begin * tensor.columns();
    const std::int64_t count = rows.size() * tensor.columns();
    const std::int64_t most = read_bytes / from_size;
    for (std::int64_t at = 0; at < count; at += most) {
      const std::int64_t size = std::min(most, count - at);
      matrix_.resize(static_cast<std::size_t>(size * from_size));
      held_ = nullptr;
      checkpoint_.read(piece, (begin + at) * from_size, matrix_);
      convert_elements(piece.dtype, matrix_, tensor.dtype,
                       std::span(unit_).subspan(static_cast<std::size_t>(at * to_size),
                                                static_cast<std::size_t>(size * to_size)));
    }
  }

  void read_transposed(const StoredTensor& piece, const TensorSpec& tensor,
                       const plan::Range& rows) {
    hold(piece);
    const std::int64_t columns = tensor.columns();
    turned_.resize(static_cast<std::size_t>(rows.size() * columns * size_of(piece.dtype)));
    transpose_rows(size_of(piece.dtype), matrix_, tensor.rows(), rows.begin, rows.size(), columns,
                   turned_);
    convert_elements(piece.dtype, turned_, tensor.dtype, unit_);
  }

  /// The slices of one matrix come one after another: it is read once for all of them.
  void hold(const StoredTensor& piece) {
    if (held_ == &piece) return;
    matrix_.resize(static_cast<std::size_t>(piece.end - piece.begin));
    checkpoint_.read(piece, 0, matrix_);
    held_ = &piece;
  }

  const Checkpoint& checkpoint_;
  const Sources& sources_;
  std::vector<std::byte> unit_, matrix_, turned_;
  const StoredTensor* held_ = nullptr;  // whose bytes are in matrix_
};

class ProgressLines {
 public:
  ProgressLines(base::Log& log, std::int64_t total_bytes) : log_(log), total_bytes_(total_bytes) {}

  void add(std::int64_t bytes) {
    done_bytes_ += bytes;
    if (seconds() < next_s_) return;
    next_s_ = seconds() + progress_interval_s;
    log_.say("import: {} of {} ({:.2f} GB/s)", base::bytes_text(done_bytes_),
             base::bytes_text(total_bytes_), rate());
  }
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  double rate() const { return 1e-9 * static_cast<double>(done_bytes_) / seconds(); }

 private:
  base::Log& log_;
  std::int64_t total_bytes_, done_bytes_ = 0;
  double next_s_ = progress_interval_s;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

void import_checkpoint(const std::string& from_folder, const std::string& out_path,
                       std::optional<base::DType> dtype,
                       std::optional<std::int64_t> reduction_shards, base::Log& log) {
  const Checkpoint checkpoint(from_folder);
  std::vector<std::string> remarks;
  plan::ModelSpec spec =
      plan::from_hugging_face(checkpoint.config(), checkpoint.config_path(), &remarks);
  for (const std::string& remark : remarks)
    log.say("import: {}", remark);
  if (dtype) spec.dtype = *dtype;
  const std::int64_t shards = reduction_shards.value_or(plan::default_reduction_shards(spec));
  plan::check_reduction_shards(spec, shards, ExitCode::usage);
  const Sources sources(checkpoint, spec, plan::tensors_of(spec, shards));

  const std::string source = std::filesystem::absolute(from_folder).lexically_normal().string();
  WeightsWriter writer(out_path, spec, shards, source);
  log.say("import: {} ({} parameters, {}) -> {} ({}, {} reduction shards)", from_folder,
          base::count_text(spec.num_parameters()), spec.family, out_path, base::name_of(spec.dtype),
          shards);
  UnitReader reader(checkpoint, sources);
  ProgressLines progress(log, writer.total_bytes());
  for (std::size_t i = 0; i < writer.tensors().size(); ++i) {
    const TensorSpec& tensor = writer.tensors()[i];
    for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit) {
      const auto bytes = reader.read(tensor, i, unit);
      writer.write_unit(i, unit, bytes);
      progress.add(static_cast<std::int64_t>(bytes.size()));
    }
  }
  writer.finish();
  log.say("import: {} written in {} ({:.2f} GB/s)", base::bytes_text(writer.total_bytes()),
          base::duration_text(progress.seconds()), progress.rate());
}

}  // namespace tetrarch::storage
