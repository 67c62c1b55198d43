// Writes weights.h5 under a temporary name.
// SPDX-License-Identifier: Apache-2.0
#include "storage/weights/weights_writer.hpp"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

#include "base/build_info.hpp"
#include "base/text.hpp"
#include "storage/files/checksum.hpp"
#include "storage/files/durable.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

const char* describe(const plan::TensorSpec& tensor) {
  const plan::TensorKind& kind = tensor.kind();
  return tensor.has_experts() && kind.expert_description ? kind.expert_description
                                                         : kind.description;
}

void check_space(const std::string& path, std::int64_t bytes) {
  std::error_code error;
  const auto space = std::filesystem::space(folder_of(path), error);
  if (error)
    throw base::SystemError(ExitCode::resources,
                            fmt::format("{}: its folder cannot be used ({}). Make the folder, or "
                                        "give another path.",
                                        path, error.message()));
  if (space.available < static_cast<std::uintmax_t>(bytes))
    throw base::SystemError(
        ExitCode::resources,
        fmt::format("{}: needs {}, but only {} are free there. Free some space, or give another "
                    "path.",
                    path, base::bytes_text(bytes),
                    base::bytes_text(static_cast<std::int64_t>(space.available))));
}

}  // namespace

WeightsWriter::WeightsWriter(const std::string& path, const plan::ModelSpec& spec,
                             std::int64_t reduction_shards, const std::string& source)
    : temporary_(path), tensors_(plan::tensors_of(spec, reduction_shards)) {
  check_space(path, total_bytes());
  file_ = h5::File::create(temporary_.path());
  write_attributes(spec, reduction_shards, source);
  for (const plan::TensorSpec& tensor : tensors_) {
    h5::Create create;
    create.shape = tensor.shape;
    create.dtype = tensor.dtype;
    create.description = describe(tensor);
    h5::Dataset dataset = file_->create_dataset(tensor.path, create);
    const auto num_sums = static_cast<std::size_t>(base::checked_elements(sums_shape(tensor)));
    const auto num_units = static_cast<std::size_t>(tensor.num_units());
    entries_.push_back({std::move(dataset), std::vector<std::uint64_t>(num_sums, 0),
                        std::vector<bool>(num_units, false)});
  }
}

void WeightsWriter::write_attributes(const plan::ModelSpec& spec, std::int64_t reduction_shards,
                                     const std::string& source) {
  const base::BuildInfo& build = base::build_info();
  const std::string config = plan::to_config_json(spec);
  file_->set_attribute("format", std::string("tetrarch-weights"));
  file_->set_attribute("format_version", std::vector<std::uint32_t>{1, 0});
  file_->set_attribute("software_version", build.version);
  file_->set_attribute("git_sha", build.git_sha);
  file_->set_attribute("created_utc", base::utc_now());
  file_->set_attribute("config_json", config);
  file_->set_attribute("config_xxh3", hex_text(xxh3(std::as_bytes(std::span(config)))));
  file_->set_attribute("source", source);
  file_->set_attribute("dtype", std::string(base::name_of(spec.dtype)));
  file_->set_attribute("reduction_shards", static_cast<std::uint64_t>(reduction_shards));
}

std::int64_t WeightsWriter::total_bytes() const {
  std::int64_t total = 0;
  for (const plan::TensorSpec& tensor : tensors_)
    total += tensor.bytes();
  return total;
}

void WeightsWriter::write_unit(std::size_t tensor, std::int64_t unit,
                               std::span<const std::byte> bytes) {
  const plan::TensorSpec& spec = tensors_.at(tensor);
  base::expects(static_cast<std::int64_t>(bytes.size()) == spec.unit_bytes(unit),
                "all bytes of the unit");
  Entry& entry = entries_[tensor];
  const std::int64_t rows = spec.slice_rows(unit % spec.num_slices).size();
  entry.dataset.write(rows_of_unit(spec, unit, 0, rows), spec.dtype, bytes.data());
  BlockSums sums;
  sums.update(bytes);
  const std::vector<std::uint64_t> found = sums.finish();
  const std::int64_t most = sums_shape(spec)[1];
  std::copy(found.begin(), found.end(), entry.sums.begin() + unit * most);
  entry.is_written[static_cast<std::size_t>(unit)] = true;
}

void WeightsWriter::finish() {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const auto& is_written = entries_[i].is_written;
    base::expects(std::find(is_written.begin(), is_written.end(), false) == is_written.end(),
                  "every unit written before the file is finished");
    h5::Create create;
    create.shape = sums_shape(tensors_[i]);
    create.dtype = base::DType::u64;
    create.description =
        "XXH3-64 of each unit's 4 MiB blocks [units, blocks]; unused entries are 0";
    file_->create_dataset(tensors_[i].path + ".xxh3", create)
        .write_all(base::DType::u64, entries_[i].sums.data());
  }
  entries_.clear();
  file_->close();
  temporary_.publish();
}

}  // namespace tetrarch::storage
