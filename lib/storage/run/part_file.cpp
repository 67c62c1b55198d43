// Writes and commits part files.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/part_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "storage/files/checksum.hpp"
#include "storage/files/disk_space.hpp"
#include "storage/files/durable.hpp"
#include "storage/run/part_column.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;

constexpr std::int64_t max_error_bytes = 200;
constexpr std::int64_t header_bytes = 2 << 10;   // about what HDF5 adds to each dataset
constexpr std::int64_t most_timing_rows = 4096;  // in memory: 320 KiB
constexpr std::int64_t check_bytes = 1 << 20;    // read back at once

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

std::int64_t part_writer_bytes(const std::vector<DatasetPlan>& layout) {
  constexpr std::int64_t of_file = 1 << 20, of_dataset = 12 << 10;  // memory that HDF5 needs
  const std::int64_t count = std::ssize(layout);
  return check_bytes + most_timing_rows * static_cast<std::int64_t>(sizeof(TimingRow)) + of_file +
         count * (column_bytes(count) + of_dataset);
}

PartWriter::PartWriter(PartOptions options, std::vector<DatasetPlan> layout)
    : options_(std::move(options)), layout_(std::move(layout)) {}

PartWriter::~PartWriter() {
  discard();
}

void PartWriter::discard() noexcept {
  columns_.clear();
  phases_.reset();
  if (!file_) return;
  file_.reset();
  ::unlink(temporary_.c_str());
}

/// Runs `write`. On a full disk every writing rank fails, but only one has to report it. The first
/// one renames the attempt's folder; the others find that it is gone and wait 5 s, in which the
/// first one's error ends the job.
void PartWriter::guarded(const std::function<void()>& write) try {
  const std::int64_t of_hdf5 = std::ssize(layout_) * header_bytes;
  with_space(temporary_, pending_bytes_ + of_hdf5, write);
} catch (const base::SystemError&) {
  const std::string folder = attempt_folder(options_.run_dir, options_.attempt);
  if (::rename(folder.c_str(), (folder + "-failed").c_str()) != 0 && errno == ENOENT)
    std::this_thread::sleep_for(std::chrono::seconds(5));
  throw;
}

void PartWriter::open_file() {
  if (file_) return;
  temporary_ = fmt::format("{}/d{:03}-e{:03}-{:06}-{}.h5",
                           attempt_folder(options_.run_dir, options_.attempt), options_.dp,
                           options_.ep, number_, ::getpid());
  guarded([&] { file_ = h5::File::create(temporary_, h5::Texts::fixed); });
  columns_.clear();
  for (const DatasetPlan& plan : layout_)
    columns_.push_back(std::make_unique<PartColumn>(plan, column_bytes(std::ssize(layout_))));
  pending_since_ = std::chrono::steady_clock::now();
}

void PartWriter::begin(std::span<const PartSequence> sequences) {
  base::expects(!in_microbatch_, "end() before the next begin()");
  open_file();
  in_microbatch_ = true;
  microbatch_begin_ = sequences_.size();
  places_.clear();
  std::int64_t num_tokens = 0;
  for (const PartSequence& each : sequences) {
    sequences_.push_back(each);
    num_tokens += each.length;
  }
  guarded([&] {
    for (std::size_t i = 0; i < layout_.size(); ++i)
      columns_[i]->begin(
          *file_, layout_[i].per == DatasetPlan::Per::token ? num_tokens : std::ssize(sequences));
  });
  status_.resize(sequences_.size());
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
  const std::int64_t bytes = num_rows * layout_[static_cast<std::size_t>(dataset)].row_bytes();
  pending_bytes_ += bytes;
  guarded([&] { to.write(first_row, num_rows, static_cast<const std::byte*>(data)); });
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
  if (places_.empty())
    for (std::size_t i = microbatch_begin_; i < sequences_.size(); ++i)
      places_.emplace(sequences_[i].sequence, i);
  const auto found = places_.find(sequence);
  base::expects(in_microbatch_ && found != places_.end(), "a sequence of the microbatch");
  status_[found->second] = static_cast<std::uint8_t>(status);
  errors_[found->second] = error.substr(0, max_error_bytes);
}

void PartWriter::append_timing(std::span<const TimingRow> rows) {
  if (rows.empty()) return;
  open_file();
  timing_.insert(timing_.end(), rows.begin(), rows.end());
  if (std::ssize(timing_) >= most_timing_rows) guarded([&] { flush_timing(); });
}

void PartWriter::flush_timing() {
  if (!phases_)
    phases_ = file_->create_records("/timing/phases", timing_fields(), sizeof(TimingRow),
                                    timing_description);
  phases_->append_records(std::ssize(timing_), timing_fields(), sizeof(TimingRow), timing_.data());
  timing_sum_.update(std::as_bytes(std::span(timing_)));
  num_timing_rows_ += std::ssize(timing_);
  timing_.clear();
}

bool PartWriter::has_timing(const h5::File& file) const {
  const h5::Dataset phases = file.dataset("/timing/phases");
  if (phases.info().shape != base::Shape{num_timing_rows_}) return false;
  Xxh3 sum;
  std::vector<TimingRow> rows;
  for (std::int64_t first = 0; first < num_timing_rows_; first += most_timing_rows) {
    const std::int64_t count = std::min(most_timing_rows, num_timing_rows_ - first);
    rows.assign(static_cast<std::size_t>(count), TimingRow{});
    phases.read_records(first, count, timing_fields(), sizeof(TimingRow), rows.data());
    sum.update(std::as_bytes(std::span(rows)));
  }
  return sum.digest() == timing_sum_.digest();
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
  for (const auto& [at, error] : errors_)
    text_bytes = std::max(text_bytes, error.size());
  const auto text_of = [this](std::int64_t i) {
    const auto error = errors_.find(static_cast<std::size_t>(i));
    return error == errors_.end() ? "" : error->second;
  };
  const auto count = std::ssize(sequences_);
  file.create_texts("/sequences/error", count, static_cast<std::int64_t>(text_bytes),
                    "what is wrong with the sequence")
      .write_texts(count, static_cast<std::int64_t>(text_bytes), text_of);
  flush_timing();
  phases_.reset();
}

/// Reads the lists of sequences and times back. HDF5 keeps a small dataset in a buffer and reports
/// no error if it cannot write it.
void PartWriter::check_sequences(const h5::File& file) const {
  const PartList found = read_list(file);
  std::map<std::int64_t, std::string> errors;
  for (const auto& [at, error] : errors_)
    if (!error.empty()) errors[sequences_[at].sequence] = error;
  bool is_same = found.entries.size() == sequences_.size() && found.errors == errors;
  for (std::size_t i = 0; is_same && i < sequences_.size(); ++i)
    is_same = found.entries[i].sequence == sequences_[i].sequence &&
              found.entries[i].length == sequences_[i].length &&
              static_cast<std::uint8_t>(found.entries[i].status) == status_[i];
  if (is_same && has_timing(file)) return;
  throw base::SystemError(
      base::ExitCode::resources,
      fmt::format(
          "{}: the list of sequences and times that was read back differs from what was "
          "written (a full or failing disk). Check the disk and run the same command again.",
          file.path()));
}

void PartWriter::write_and_publish() {
  file_->set_attribute("format", std::string("tetrarch-part"));
  file_->set_attribute("format_version", std::vector<std::uint32_t>{1, 0});
  file_->set_attribute("run_uuid", options_.run_uuid);
  write_sequences(*file_);
  for (const auto& column : columns_)
    column->finish(*file_);
  file_->close();
  {
    const h5::File written =
        h5::File::open_to_read(temporary_, base::ExitCode::resources, h5::Chunks::direct);
    std::vector<std::byte> scratch(check_bytes);
    for (const auto& column : columns_)
      column->check(written, scratch);
    check_sequences(written);
  }
  const PartName name{options_.dp, options_.ep, options_.attempt, number_, file_xxh3(temporary_)};
  publish(temporary_, options_.run_dir + "/parts/" + to_string(name));
}

void PartWriter::commit() {
  base::expects(!in_microbatch_, "end() before commit()");
  if (!file_) return;
  guarded([&] { write_and_publish(); });
  file_.reset();
  columns_.clear();
  sequences_.clear();
  status_.clear();
  errors_.clear();
  timing_.clear();
  timing_sum_.reset();
  num_timing_rows_ = 0;
  microbatch_begin_ = 0;
  pending_bytes_ = 0;
  ++number_;
}

}  // namespace tetrarch::storage
