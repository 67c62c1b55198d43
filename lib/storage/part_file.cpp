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
#include "storage/part_column.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;

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
    columns_.push_back(std::make_unique<PartColumn>(plan));
  pending_since_ = std::chrono::steady_clock::now();
}

void PartWriter::begin(std::span<const PartSequence> sequences) {
  base::expects(!in_microbatch_, "end() before the next begin()");
  open_file();
  in_microbatch_ = true;
  microbatch_begin_ = sequences_.size();
  std::int64_t num_tokens = 0;
  for (const PartSequence& each : sequences) {
    sequences_.push_back(each);
    num_tokens += each.length;
  }
  for (std::size_t i = 0; i < layout_.size(); ++i)
    columns_[i]->begin(
        *file_, layout_[i].per == DatasetPlan::Per::token ? num_tokens : std::ssize(sequences));
  status_.resize(sequences_.size());
  errors_.resize(sequences_.size());
}

PartColumn& PartWriter::column(int dataset) {
  base::expects(in_microbatch_, "write() and add() between begin() and end()");
  base::expects(dataset >= 0 && dataset < static_cast<int>(layout_.size()),
                "a dataset of the layout");
  return *columns_[static_cast<std::size_t>(dataset)];
}

void PartWriter::write(int dataset, std::int64_t first_row, std::int64_t num_rows,
                       const void* data) {
  PartColumn& to = column(dataset);
  if (num_rows == 0) return;
  to.write(first_row, num_rows, static_cast<const std::byte*>(data));
  const std::int64_t bytes = num_rows * layout_[static_cast<std::size_t>(dataset)].row_bytes();
  pending_bytes_ += bytes;
  bytes_written_ += bytes;
}

void PartWriter::write(std::string_view path, std::int64_t first_row, std::int64_t num_rows,
                       const void* data) {
  write(find_dataset(layout_, path), first_row, num_rows, data);
}

void PartWriter::add(int dataset, std::int64_t first_row, std::int64_t num_rows,
                     const std::uint64_t* counts) {
  column(dataset).add(first_row, num_rows, counts);
}

void PartWriter::add(std::string_view path, std::int64_t first_row, std::int64_t num_rows,
                     const std::uint64_t* counts) {
  add(find_dataset(layout_, path), first_row, num_rows, counts);
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
  for (const auto& column : columns_)
    column->end();
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
  pending_bytes_ = 0;
  ++number_;
}

}  // namespace tetrarch::storage
