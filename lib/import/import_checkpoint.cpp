// Imports a checkpoint: finds its tensors by name, converts and transposes them unit by unit.
// SPDX-License-Identifier: Apache-2.0
#include "import/import_checkpoint.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include <fmt/ranges.h>

#include "base/text.hpp"
#include "import/checkpoint_folder.hpp"
#include "import/checkpoint_tensors.hpp"
#include "import/convert_elements.hpp"
#include "import/hf_config.hpp"
#include "import/tied_head.hpp"
#include "storage/files/file_kind.hpp"
#include "storage/weights/weights_writer.hpp"

namespace tetrarch::hf {
namespace {

using storage::first_bytes_of;
using storage::WeightsWriter;

using base::ExitCode;
using plan::TensorSpec;

constexpr std::int64_t read_bytes = 8 << 20;  // read from the checkpoint at once
constexpr double progress_interval_s = 10;

/// Makes the bytes of single units of weights.h5 from the checkpoint.
class UnitReader {
 public:
  UnitReader(const Checkpoint& checkpoint, const CheckpointTensors& sources)
      : checkpoint_(checkpoint), sources_(sources) {}

  std::span<const std::byte> read(const TensorSpec& tensor, std::size_t index, std::int64_t unit) {
    const Piece& piece = sources_.piece(index, unit / tensor.num_slices);
    const plan::Range rows = tensor.slice_rows(unit % tensor.num_slices);
    unit_.resize(static_cast<std::size_t>(tensor.unit_bytes(unit)));
    if (sources_.is_transposed(index))
      read_transposed(piece, tensor, rows);
    else
      read_rows(piece, tensor, rows);
    return unit_;
  }

 private:
  void read_rows(const Piece& piece, const TensorSpec& tensor, const plan::Range& rows) {
    const StoredTensor& stored = *piece.tensor;
    const std::int64_t from_size = size_of(stored.dtype), to_size = base::size_of(tensor.dtype);
    const std::int64_t begin = piece.begin + rows.begin * tensor.columns();
    const std::int64_t count = rows.size() * tensor.columns();
    const std::int64_t most = read_bytes / from_size;
    for (std::int64_t at = 0; at < count; at += most) {
      const std::int64_t size = std::min(most, count - at);
      matrix_.resize(static_cast<std::size_t>(size * from_size));
      held_ = {};
      checkpoint_.read(stored, (begin + at) * from_size, matrix_);
      convert_elements(stored.dtype, matrix_, tensor.dtype,
                       std::span(unit_).subspan(static_cast<std::size_t>(at * to_size),
                                                static_cast<std::size_t>(size * to_size)));
    }
  }

  void read_transposed(const Piece& piece, const TensorSpec& tensor, const plan::Range& rows) {
    hold(piece, tensor.rows() * tensor.columns());
    const CheckpointDType dtype = piece.tensor->dtype;
    const std::int64_t columns = tensor.columns();
    turned_.resize(static_cast<std::size_t>(rows.size() * columns * size_of(dtype)));
    transpose_rows(size_of(dtype), matrix_, tensor.rows(), rows.begin, rows.size(), columns,
                   turned_);
    convert_elements(dtype, turned_, tensor.dtype, unit_);
  }

  /// Reads a whole matrix into matrix_, unless it is there already. Its slices are asked for one
  /// after another, so that it is read once.
  void hold(const Piece& piece, std::int64_t num_elements) {
    if (held_.tensor == piece.tensor && held_.begin == piece.begin) return;
    const std::int64_t size = size_of(piece.tensor->dtype);
    matrix_.resize(static_cast<std::size_t>(num_elements * size));
    checkpoint_.read(*piece.tensor, piece.begin * size, matrix_);
    held_ = piece;
  }

  const Checkpoint& checkpoint_;
  const CheckpointTensors& sources_;
  std::vector<std::byte> unit_, matrix_, turned_;
  Piece held_;  // the piece whose bytes are in matrix_
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

/// The types of the tensors that are used, as "F32 (12), BF16 (3)", if any differs from the type to
/// be written or from the type in config.json; else "".
std::string types_to_tell(const CheckpointTensors& sources, const std::string& dtype_in_config,
                          base::DType written) {
  std::map<CheckpointDType, std::int64_t> counts;
  for (const StoredTensor* tensor : sources.used())
    ++counts[tensor->dtype];
  const auto is_as_said = [&](CheckpointDType type) {
    const bool is_config = dtype_in_config == (type == CheckpointDType::f32    ? "float32"
                                               : type == CheckpointDType::bf16 ? "bfloat16"
                                                                               : "float16");
    const bool is_written = type == CheckpointDType::f16
                                ? written == base::DType::f32
                                : (type == CheckpointDType::f32) == (written == base::DType::f32);
    return is_config && is_written;
  };
  if (counts.size() == 1 && is_as_said(counts.begin()->first)) return "";
  std::vector<std::string> texts;
  for (const auto& [type, count] : counts)
    texts.push_back(fmt::format("{} ({})", name_of(type), count));
  return fmt::format("{}", fmt::join(texts, ", "));
}

void tell_types(base::Log& log, const CheckpointTensors& sources, const std::string& in_config,
                base::DType written) {
  const std::string types = types_to_tell(sources, in_config, written);
  if (types.empty()) return;
  const bool is_rounded = written == base::DType::bf16 &&
                          std::ranges::any_of(sources.used(), [](const StoredTensor* tensor) {
                            return tensor->dtype != CheckpointDType::bf16;
                          });
  log.say("import: the tensors are of type {}, config.json says {}: all are stored as {}{}.", types,
          in_config.empty() ? "nothing" : in_config, base::name_of(written),
          is_rounded ? ", rounded (--dtype f32 keeps them as they are)" : ", without loss");
}

void tell(base::Log& log, const std::vector<std::string>& remarks) {
  for (const std::string& remark : remarks)
    log.say("import: {}", remark);
}

/// Whether the file is a weights file that can be opened.
bool is_weights_file(const std::string& path) try {
  constexpr std::string_view hdf5 = "\x89HDF\r\n\x1a\n";
  if (!first_bytes_of(path).starts_with(hdf5)) return false;
  const auto file = storage::h5::File::open_to_read(path, ExitCode::usage);
  return file.text_attribute("format") == "tetrarch-weights";
} catch (const base::Refusal&) {  // damaged: it is unknown what it was
  return false;
}

/// Refuses to overwrite a file that is not an earlier weights.h5. It may be the user's only copy,
/// for example a file of the checkpoint.
void refuse_to_replace(const std::string& out_path) {
  std::error_code error;
  const auto status = std::filesystem::status(out_path, error);
  if (!std::filesystem::exists(status)) return;
  if (std::filesystem::is_directory(status))
    throw base::Refusal(
        ExitCode::usage,
        fmt::format("--out {}: is a folder. Name the file to write, such as {}/weights.h5.",
                    out_path, out_path));
  if (is_weights_file(out_path)) return;
  throw base::Refusal(ExitCode::usage,
                      fmt::format("--out {}: exists, and is no weights file of an earlier import "
                                  "(it would be overwritten). Name another file, or remove it.",
                                  out_path));
}

/// Collects the tensors that hold only zeros. A download that broke off leaves them if it had
/// allocated the file's space in advance.
class ZeroTensors {
 public:
  void add(const TensorSpec& tensor, std::int64_t unit, std::span<const std::byte> bytes) {
    const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
    if (bytes.empty() || !std::ranges::all_of(bytes, is_zero)) return;
    if (tensor.num_experts > 1)
      names_.insert(fmt::format("{}[{}]", tensor.path, unit / tensor.num_slices));
    else
      names_.insert(tensor.path);
  }
  void tell(base::Log& log) const {
    if (names_.empty()) return;
    log.note(
        fmt::format("{} of the tensors written have only zeros, in the whole tensor or in one "
                    "slice: {}. An interrupted download leaves such files. If the model should not "
                    "have such tensors, download it again.",
                    names_.size(), listed({names_.begin(), names_.end()})));
  }

 private:
  std::set<std::string> names_;
};

}  // namespace

void import_checkpoint(const std::string& from_folder, const std::string& out_path,
                       const ImportOptions& options, base::Log& log) {
  refuse_to_replace(out_path);
  const base::Json config = read_checkpoint_config(from_folder);
  std::vector<std::string> remarks;
  plan::ModelSpec spec = from_hugging_face(config, checkpoint_config_path(from_folder), &remarks);
  tell(log, remarks);  // before a refusal that they may explain
  remarks.clear();
  const Checkpoint checkpoint(from_folder);
  spec.tied_embeddings = is_head_tied(checkpoint, spec.tied_embeddings, options.tied, remarks);
  if (options.dtype) spec.dtype = *options.dtype;
  const std::int64_t shards =
      options.reduction_shards.value_or(plan::default_reduction_shards(spec));
  plan::check_reduction_shards(spec, shards, ExitCode::usage);
  const CheckpointTensors sources(checkpoint, spec, plan::tensors_of(spec, shards));
  tell(log, remarks);
  tell(log, checkpoint.remarks());
  tell(log, sources.remarks());
  tell_types(log, sources, dtype_in(config), spec.dtype);

  const std::string source = std::filesystem::absolute(from_folder).lexically_normal().string();
  WeightsWriter writer(out_path, spec, shards, source);
  log.say("import: {} ({} parameters, {}) -> {} ({}, {} reduction shards)", from_folder,
          base::count_text(spec.num_parameters()), spec.family, out_path, base::name_of(spec.dtype),
          shards);
  UnitReader reader(checkpoint, sources);
  ProgressLines progress(log, writer.total_bytes());
  ZeroTensors zeros;
  for (std::size_t i = 0; i < writer.tensors().size(); ++i) {
    const TensorSpec& tensor = writer.tensors()[i];
    for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit) {
      const auto bytes = reader.read(tensor, i, unit);
      writer.write_unit(i, unit, bytes);
      zeros.add(tensor, unit, bytes);
      progress.add(static_cast<std::int64_t>(bytes.size()));
    }
  }
  writer.finish();
  zeros.tell(log);
  log.say("import: {} written in {} ({:.2f} GB/s)", base::bytes_text(writer.total_bytes()),
          base::duration_text(progress.seconds()), progress.rate());
}

}  // namespace tetrarch::hf
