// Parts of results: written and committed.
// SPDX-License-Identifier: Apache-2.0
#include "storage/part_file.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "storage/checksum.hpp"
#include "storage/durable.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using Per = DatasetPlan::Per;

constexpr std::int64_t buffer_bytes = 256 << 10;  // of each dataset; also its HDF5 chunk
constexpr std::int64_t max_error_bytes = 200;

static_assert(sizeof(TimingRow) == 80);

template <class T>
void write_vector(h5::File& file, const std::string& path, DType dtype,
                  const std::vector<T>& values, const std::string& description) {
  h5::Create create;
  create.shape = {static_cast<std::int64_t>(values.size())};
  create.dtype = dtype;
  create.description = description;
  h5::Dataset dataset = file.create_dataset(path, create);
  if (!values.empty()) dataset.write_all(dtype, values.data());
}

}  // namespace

void TimingRow::set_phase(std::string_view name) {
  std::memset(phase, 0, sizeof phase);
  std::memcpy(phase, name.data(), std::min(name.size(), sizeof phase));
}

const std::vector<h5::Field>& timing_fields() {
  static const std::vector<h5::Field> fields = {
      {"attempt", DType::i32, offsetof(TimingRow, attempt)},
      {"rank", DType::i32, offsetof(TimingRow, rank)},
      {"dp", DType::i32, offsetof(TimingRow, dp)},
      {"pp", DType::i32, offsetof(TimingRow, pp)},
      {"ep", DType::i32, offsetof(TimingRow, ep)},
      {"tp", DType::i32, offsetof(TimingRow, tp)},
      {"microbatch", DType::i32, offsetof(TimingRow, microbatch)},
      {"layer", DType::i32, offsetof(TimingRow, layer)},
      {"phase", DType::u8, offsetof(TimingRow, phase), sizeof(TimingRow::phase)},
      {"start_s", DType::f64, offsetof(TimingRow, start_s)},
      {"seconds", DType::f64, offsetof(TimingRow, seconds)},
      {"bytes", DType::u64, offsetof(TimingRow, bytes)},
      {"flops", DType::u64, offsetof(TimingRow, flops)}};
  return fields;
}

/// A dataset of the part at hand. Small ones stay in memory and are written at their exact size;
/// those that outgrow the buffer become extendible datasets.
class PartWriter::Column {
 public:
  explicit Column(const DatasetPlan& plan) : plan_(&plan) {}

  std::int64_t rows() const { return rows_; }
  void append(h5::File& file, std::int64_t rows, const std::byte* data);
  void finish(h5::File& file);
  void check(const h5::File& file, std::vector<std::byte>& scratch) const;

 private:
  void write(h5::File& file, const std::byte* data, std::size_t bytes);

  const DatasetPlan* plan_;
  std::int64_t rows_ = 0;
  std::vector<std::byte> buffer_;
  std::optional<h5::Dataset> dataset_;  // once the buffer has been full
  Xxh3 hash_;
};

void PartWriter::Column::append(h5::File& file, std::int64_t rows, const std::byte* data) {
  const auto bytes = static_cast<std::size_t>(rows * plan_->row_bytes());
  rows_ += rows;
  hash_.update({data, bytes});
  if (buffer_.size() + bytes <= static_cast<std::size_t>(buffer_bytes)) {
    buffer_.insert(buffer_.end(), data, data + bytes);
    return;
  }
  write(file, buffer_.data(), buffer_.size());
  buffer_.clear();
  write(file, data, bytes);
}

void PartWriter::Column::write(h5::File& file, const std::byte* data, std::size_t bytes) {
  if (!dataset_) {
    h5::Create create;
    create.shape = plan_->shape(0);
    create.dtype = plan_->dtype;
    create.extendible = true;
    create.chunk_bytes = buffer_bytes;
    dataset_ = file.create_dataset(plan_->path, create);
  }
  const auto rows = static_cast<std::int64_t>(bytes) / plan_->row_bytes();
  if (rows > 0) dataset_->append(rows, plan_->dtype, data);
}

void PartWriter::Column::finish(h5::File& file) {
  if (dataset_) {
    write(file, buffer_.data(), buffer_.size());
  } else {
    h5::Create create;
    create.shape = plan_->shape(rows_);
    create.dtype = plan_->dtype;
    dataset_ = file.create_dataset(plan_->path, create);
    if (rows_ > 0) dataset_->write_all(plan_->dtype, buffer_.data());
  }
  buffer_.clear();
  dataset_.reset();
}

/// Reads back what was written: HDF5 can lose a chunk on a full disk and report success.
void PartWriter::Column::check(const h5::File& file, std::vector<std::byte>& scratch) const {
  const h5::Dataset dataset = file.dataset(plan_->path);
  const std::int64_t row_bytes = plan_->row_bytes();
  const std::int64_t step =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(scratch.size()) / row_bytes);
  scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(row_bytes)));
  Xxh3 found;
  for (std::int64_t row = 0; row < rows_; row += step) {
    const std::int64_t count = std::min(step, rows_ - row);
    h5::Hyperslab slab{plan_->shape(row), plan_->shape(count)};
    if (!plan_->is_vector) slab.offset[1] = 0;
    dataset.read(slab, plan_->dtype, scratch.data());
    found.update({scratch.data(), static_cast<std::size_t>(count * row_bytes)});
  }
  if (found.digest() != hash_.digest())
    throw base::SystemError(
        base::ExitCode::resources,
        fmt::format(
            "{}: what was read back differs from what was written (a full or failing disk). "
            "Check the disk and run the same command again.",
            dataset.name()));
}

PartWriter::PartWriter(PartOptions options, std::vector<DatasetPlan> layout)
    : options_(std::move(options)), layout_(std::move(layout)) {}

PartWriter::~PartWriter() {
  discard();
}

void PartWriter::discard() noexcept {
  columns_.clear();
  if (!file_) return;
  file_.reset();
  ::unlink(temporary_.c_str());
}

void PartWriter::open_file() {
  if (file_) return;
  temporary_ = fmt::format("{}/parts/.tmp-d{:03}-e{:03}-a{:03}-{:06}-{}.h5", options_.run_dir,
                           options_.dp, options_.ep, options_.attempt, number_, ::getpid());
  file_ = h5::File::create(temporary_);
  columns_.clear();
  for (const DatasetPlan& plan : layout_)
    columns_.push_back(std::make_unique<Column>(plan));
  pending_since_ = std::chrono::steady_clock::now();
}

void PartWriter::begin(std::span<const PartSequence> sequences) {
  base::expects(!in_microbatch_, "end() before the next begin()");
  open_file();
  in_microbatch_ = true;
  microbatch_begin_ = sequences_.size();
  for (const PartSequence& each : sequences) {
    sequences_.push_back(each);
    num_tokens_ += each.length;
  }
  status_.resize(sequences_.size());
  errors_.resize(sequences_.size());
}

void PartWriter::append(int dataset, std::int64_t rows, const void* data) {
  base::expects(in_microbatch_, "append() after begin()");
  base::expects(dataset >= 0 && dataset < static_cast<int>(layout_.size()) && rows >= 0,
                "a dataset of the layout");
  if (rows == 0) return;
  columns_[static_cast<std::size_t>(dataset)]->append(*file_, rows,
                                                      static_cast<const std::byte*>(data));
  const std::int64_t bytes = rows * layout_[static_cast<std::size_t>(dataset)].row_bytes();
  pending_bytes_ += bytes;
  bytes_written_ += bytes;
}

void PartWriter::append(std::string_view path, std::int64_t rows, const void* data) {
  append(find_dataset(layout_, path), rows, data);
}

void PartWriter::set_status(std::int64_t sequence, SequenceStatus status,
                            const std::string& error) {
  const auto begin = sequences_.begin() + static_cast<std::ptrdiff_t>(microbatch_begin_);
  const auto found = std::find_if(
      begin, sequences_.end(), [&](const PartSequence& each) { return each.sequence == sequence; });
  base::expects(in_microbatch_ && found != sequences_.end(), "a sequence of the microbatch");
  const auto index = static_cast<std::size_t>(found - sequences_.begin());
  status_[index] = static_cast<std::uint8_t>(status);
  errors_[index] = error.substr(0, max_error_bytes);
}

void PartWriter::append_timing(std::span<const TimingRow> rows) {
  if (rows.empty()) return;
  open_file();
  timing_.insert(timing_.end(), rows.begin(), rows.end());
}

void PartWriter::end() {
  base::expects(in_microbatch_, "begin() before end()");
  in_microbatch_ = false;
  for (std::size_t i = 0; i < layout_.size(); ++i) {
    const std::int64_t expected =
        layout_[i].per == Per::token ? num_tokens_ : static_cast<std::int64_t>(sequences_.size());
    if (columns_[i]->rows() != expected)
      throw base::InternalError(fmt::format(
          "internal defect: {} has {} rows in the part, expected {}. Please report it with the "
          "command line.",
          layout_[i].path, columns_[i]->rows(), expected));
  }
}

bool PartWriter::is_due() const {
  if (in_microbatch_ || !file_ || sequences_.empty()) return false;
  const std::chrono::duration<double> age = std::chrono::steady_clock::now() - pending_since_;
  return pending_bytes_ >= options_.commit_bytes || age.count() >= options_.commit_interval_s;
}

void PartWriter::write_sequences(h5::File& file) {
  std::vector<std::uint64_t> index, length;
  for (const PartSequence& each : sequences_) {
    index.push_back(static_cast<std::uint64_t>(each.sequence));
    length.push_back(static_cast<std::uint64_t>(each.length));
  }
  write_vector(file, "/sequences/index", DType::u64, index, "place in input order");
  write_vector(file, "/sequences/length", DType::u64, length, "tokens");
  write_vector(file, "/sequences/status", DType::u8, status_, "0 ok, 4 non-finite");
  std::size_t text_bytes = 1;
  for (const std::string& error : errors_)
    text_bytes = std::max(text_bytes, error.size());
  file.create_texts("/sequences/error", static_cast<std::int64_t>(errors_.size()),
                    static_cast<std::int64_t>(text_bytes), "what is wrong with the sequence")
      .write_texts(errors_, static_cast<std::int64_t>(text_bytes));
  file.create_records("/timing/phases", timing_fields(), sizeof(TimingRow), timing_description)
      .append_records(static_cast<std::int64_t>(timing_.size()), timing_fields(), sizeof(TimingRow),
                      timing_.data());
}

void PartWriter::commit() {
  base::expects(!in_microbatch_, "end() before commit()");
  if (!file_) return;
  file_->set_attribute("format", std::string("tetrarch-part"));
  file_->set_attribute("format_version", std::vector<std::uint32_t>{1, 0});
  file_->set_attribute("run_uuid", options_.run_uuid);
  write_sequences(*file_);
  for (const auto& column : columns_)
    column->finish(*file_);
  file_->close();
  {
    const h5::File written = h5::File::open_to_read(temporary_, base::ExitCode::resources);
    std::vector<std::byte> scratch(4 << 20);
    for (const auto& column : columns_)
      column->check(written, scratch);
  }
  const PartName name{options_.dp, options_.ep, options_.attempt, number_, file_xxh3(temporary_)};
  publish(temporary_, options_.run_dir + "/parts/" + to_string(name));
  file_.reset();
  columns_.clear();
  sequences_.clear();
  status_.clear();
  errors_.clear();
  timing_.clear();
  microbatch_begin_ = 0;
  num_tokens_ = pending_bytes_ = 0;
  ++number_;
}

}  // namespace tetrarch::storage
