// Datasets: their properties, hyperslabs, texts and records.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/format.h>

#include "storage/h5/h5.hpp"
#include "storage/h5/h5_raw.hpp"

namespace tetrarch::storage::h5 {
namespace {

using raw::done;
using raw::made;
using raw::Owned;

constexpr std::int64_t largest_transfer = std::int64_t{1} << 30;  // bytes in one H5Dread or write
constexpr std::size_t largest_text = 1 << 16;                     // bytes of one fixed-length text
constexpr std::int64_t text_window_bytes = 1 << 22;               // bytes of texts in one transfer
constexpr std::int64_t texts_at_once = 1 << 14;                   // most texts in one transfer

std::vector<hsize_t> extents(const base::Shape& shape) {
  return {shape.begin(), shape.end()};
}

/// Calls `move(slab, byte offset)` for parts of at most largest_transfer bytes, in memory order.
template <class Move>
void in_parts(const Hyperslab& slab, std::int64_t element_bytes, std::int64_t at, Move&& move) {
  const std::int64_t bytes = base::checked_mul(base::checked_elements(slab.count), element_bytes);
  const auto wide = std::find_if(slab.count.begin(), slab.count.end(),
                                 [](std::int64_t count) { return count > 1; });
  if (bytes <= largest_transfer || wide == slab.count.end()) {
    if (bytes > 0) move(slab, at);
    return;
  }
  const auto axis = wide - slab.count.begin();
  Hyperslab first = slab, second = slab;
  first.count[axis] /= 2;
  second.offset[axis] += first.count[axis];
  second.count[axis] -= first.count[axis];
  in_parts(first, element_bytes, at, move);
  in_parts(second, element_bytes, at + bytes / slab.count[axis] * first.count[axis], move);
}

struct Selection {
  Owned file, memory;
  bool is_good = false;
};

Selection select(Id dataset, const Hyperslab& slab) {
  Selection result;
  result.file = Owned(H5Dget_space(dataset));
  if (slab.count.empty()) {
    result.memory = Owned(H5Screate(H5S_SCALAR));
    result.is_good =
        result.file.has_value() && H5Sget_simple_extent_type(result.file.get()) == H5S_SCALAR;
    return result;
  }
  const auto offset = extents(slab.offset), count = extents(slab.count);
  const int rank = static_cast<int>(count.size());
  if (offset.size() != count.size() || H5Sget_simple_extent_ndims(result.file.get()) != rank)
    return result;
  result.memory = Owned(H5Screate_simple(rank, count.data(), nullptr));
  result.is_good = result.memory.has_value() &&
                   H5Sselect_hyperslab(result.file.get(), H5S_SELECT_SET, offset.data(), nullptr,
                                       count.data(), nullptr) >= 0 &&
                   H5Sselect_valid(result.file.get()) > 0;
  return result;
}

std::string text_of(const Hyperslab& slab) {
  return fmt::format("{} elements from {}", base::to_string(slab.count),
                     base::to_string(slab.offset));
}

/// Reads elements as `type`; `name` is the dataset's in messages.
void read_as(Id dataset, const Hyperslab& slab, Id type, void* to, const std::string& name,
             base::ExitCode code) {
  const Selection selected = select(dataset, slab);
  if (!selected.is_good ||
      H5Dread(dataset, type, selected.memory.get(), selected.file.get(), H5P_DEFAULT, to) < 0)
    raw::fail_reading(code, name, fmt::format("{} cannot be read", text_of(slab)));
}

void write_as(Id dataset, const Hyperslab& slab, Id type, const void* from,
              const std::string& name) {
  const Selection selected = select(dataset, slab);
  if (!selected.is_good ||
      H5Dwrite(dataset, type, selected.memory.get(), selected.file.get(), H5P_DEFAULT, from) < 0)
    raw::fail_writing(name, fmt::format("{} cannot be written", text_of(slab)));
}

/// Grows the first axis; returns where the new rows begin.
std::int64_t grow(Id dataset, std::int64_t rows, const std::string& name) {
  const Owned space = made(H5Dget_space(dataset), name, "H5Dget_space");
  base::Shape shape = raw::shape_of(space.get());
  base::expects(!shape.empty() && rows >= 0, "a dataset with an axis to grow");
  const std::int64_t begin = shape[0];
  shape[0] = base::checked_add(begin, rows);
  done(H5Dset_extent(dataset, extents(shape).data()), name, "H5Dset_extent");
  return begin;
}

base::Shape shape_of_dataset(Id dataset) {
  const Owned space(H5Dget_space(dataset));
  return raw::shape_of(space.get());
}

bool is_extendible(Id dataset) {
  const Owned space(H5Dget_space(dataset));
  hsize_t extent = 0, most = 0;
  return H5Sget_simple_extent_ndims(space.get()) == 1 &&
         H5Sget_simple_extent_dims(space.get(), &extent, &most) == 1 && most == H5S_UNLIMITED;
}

bool is_bf16(Id dataset, const std::string& name, base::ExitCode code) {
  const Owned type(H5Dget_type(dataset));
  return H5Tequal(type.get(), H5T_STD_U16LE) > 0 && H5Aexists(dataset, "dtype") > 0 &&
         raw::text_attribute(dataset, "dtype", name, code) == "bf16";
}

}  // namespace

void CloseDataset::operator()(Id id) const noexcept {
  raw::CloseAny{}(id);
}

Dataset::Dataset(Id id, std::string name, base::ExitCode code, Texts texts)
    : id_(id), name_(std::move(name)), code_(code), texts_(texts) {}

Info Dataset::info() const {
  Info result;
  const Owned type(H5Dget_type(id_.get()));
  const Owned plist(H5Dget_create_plist(id_.get()));
  result.shape = shape_of_dataset(id_.get());
  result.dtype = is_bf16(id_.get(), name_, code_) ? base::DType::bf16 : raw::dtype_of(type.get());
  result.element_bytes = static_cast<std::int64_t>(H5Tget_size(type.get()));
  result.kind = raw::kind_of(type.get());
  result.is_integer = raw::is_integer(type.get());
  if (H5Tget_class(type.get()) == H5T_STRING) {
    result.is_variable_text = H5Tis_variable_str(type.get()) > 0;
    if (!result.is_variable_text)
      result.text_bytes = static_cast<std::int64_t>(H5Tget_size(type.get()));
  }
  result.is_contiguous = H5Pget_layout(plist.get()) == H5D_CONTIGUOUS;
  result.stored_bytes =
      static_cast<std::int64_t>(std::min<hsize_t>(H5Dget_storage_size(id_.get()), INT64_MAX));
  if (result.is_contiguous && result.stored_bytes > 0) {
    const haddr_t at = H5Dget_offset(id_.get());
    if (at != HADDR_UNDEF && at <= INT64_MAX) result.file_offset = static_cast<std::int64_t>(at);
  }
  return result;
}

void Dataset::read(const Hyperslab& slab, base::DType dtype, void* to) const {
  const Owned type(H5Dget_type(id_.get()));
  if (H5Tequal(type.get(), raw::file_type(dtype)) <= 0) {
    const auto found = raw::dtype_of(type.get());
    raw::refuse(code_, fmt::format("{}: its elements are {}, expected {} (types are not "
                                   "converted). Make the file again with that type.",
                                   name_, found ? base::name_of(*found) : "of another kind",
                                   base::name_of(dtype)));
  }
  in_parts(slab, base::size_of(dtype), 0, [&](const Hyperslab& part, std::int64_t at) {
    read_raw(part, raw::memory_type(dtype), static_cast<char*>(to) + at);
  });
}

void Dataset::read_raw(const Hyperslab& slab, Id memory_type, void* to) const {
  // The library may leave the buffer unchanged for chunks that were never written.
  std::memset(
      to, 0,
      static_cast<std::size_t>(base::checked_elements(slab.count)) * H5Tget_size(memory_type));
  read_as(id_.get(), slab, memory_type, to, name_, code_);
}

void Dataset::write(const Hyperslab& slab, base::DType dtype, const void* from) {
  const Owned type(H5Dget_type(id_.get()));
  base::expects(H5Tequal(type.get(), raw::file_type(dtype)) > 0,
                "elements written in the dataset's own type");
  in_parts(slab, base::size_of(dtype), 0, [&](const Hyperslab& part, std::int64_t at) {
    write_as(id_.get(), part, raw::memory_type(dtype), static_cast<const char*>(from) + at, name_);
  });
}

void Dataset::read_all(base::DType dtype, void* to) const {
  const base::Shape shape = shape_of_dataset(id_.get());
  read({base::Shape(shape.size(), 0), shape}, dtype, to);
}

void Dataset::write_all(base::DType dtype, const void* from) {
  const base::Shape shape = shape_of_dataset(id_.get());
  write({base::Shape(shape.size(), 0), shape}, dtype, from);
}

void Dataset::extend(std::int64_t rows) {
  grow(id_.get(), rows, name_);
}

std::vector<std::string> Dataset::read_texts(std::int64_t begin, std::int64_t count) const {
  const Owned type(H5Dget_type(id_.get()));
  if (H5Tget_class(type.get()) != H5T_STRING || shape_of_dataset(id_.get()).size() != 1)
    raw::refuse(
        code_,
        fmt::format("{}: is no list of texts, expected one. Make the file again with texts there.",
                    name_));
  std::vector<std::string> texts;
  if (count == 0) return texts;
  const Hyperslab slab{{begin}, {count}};
  if (H5Tis_variable_str(type.get()) > 0) {
    std::vector<char*> found(static_cast<std::size_t>(count), nullptr);
    const Owned memory(H5Tcopy(type.get()));
    read_as(id_.get(), slab, memory.get(), found.data(), name_, code_);
    for (char* text : found) {
      texts.emplace_back(text ? text : "");
      H5free_memory(text);
    }
    return texts;
  }
  const std::size_t bytes = H5Tget_size(type.get());
  if (bytes > largest_text)
    raw::refuse(code_,
                fmt::format("{}: its texts have {} bytes each, expected at most {}. Make the "
                            "file again with shorter ones.",
                            name_, bytes, largest_text));
  std::vector<char> found(
      static_cast<std::size_t>(base::checked_mul(count, static_cast<std::int64_t>(bytes))));
  read_as(id_.get(), slab, type.get(), found.data(), name_, code_);
  for (std::int64_t i = 0; i < count; ++i)
    texts.push_back(raw::text_in(found.data() + i * bytes, bytes, type.get()));
  return texts;
}

void Dataset::visit_texts(const std::function<void(std::int64_t, std::string&)>& visit) const {
  read_texts(0, 0);  // throws if this is no list of texts
  const std::int64_t total = shape_of_dataset(id_.get()).front();
  const std::int64_t text_bytes = std::max<std::int64_t>(1, info().text_bytes);
  const std::int64_t most =
      std::clamp<std::int64_t>(text_window_bytes / text_bytes, 1, texts_at_once);
  for (std::int64_t begin = 0; begin < total; begin += most) {
    std::vector<std::string> window = read_texts(begin, std::min(most, total - begin));
    for (std::size_t i = 0; i < window.size(); ++i)
      visit(begin + static_cast<std::int64_t>(i), window[i]);
  }
}

void Dataset::write_texts(const std::vector<std::string>& texts, std::int64_t text_bytes) {
  write_texts(std::ssize(texts), text_bytes,
              [&](std::int64_t i) { return texts[static_cast<std::size_t>(i)]; });
}

void Dataset::write_texts(std::int64_t count, std::int64_t text_bytes, const TextOf& text_of) {
  if (count == 0) return;
  const std::int64_t first = is_extendible(id_.get()) ? grow(id_.get(), count, name_) : 0;
  const Owned type = raw::text_type(static_cast<std::size_t>(text_bytes), name_);
  const std::int64_t most = std::clamp<std::int64_t>(text_window_bytes / text_bytes, 1, count);
  std::vector<char> packed;
  for (std::int64_t begin = 0; begin < count; begin += most) {
    const std::int64_t at_once = std::min(most, count - begin);
    packed.assign(static_cast<std::size_t>(at_once * text_bytes), '\0');
    for (std::int64_t i = 0; i < at_once; ++i) {
      const std::string text = text_of(begin + i);
      base::expects(std::ssize(text) <= text_bytes, "texts that fit their fixed length");
      text.copy(packed.data() + i * text_bytes, text.size());
    }
    write_as(id_.get(), {{first + begin}, {at_once}}, type.get(), packed.data(), name_);
  }
}

void Dataset::append_records(std::int64_t count, const std::vector<Field>& fields,
                             std::int64_t record_bytes, const void* records) {
  if (count == 0) return;
  const Owned type = raw::record_type(fields, record_bytes, name_);
  const std::int64_t begin = grow(id_.get(), count, name_);
  write_as(id_.get(), {{begin}, {count}}, type.get(), records, name_);
}

void Dataset::read_records(std::int64_t begin, std::int64_t count, const std::vector<Field>& fields,
                           std::int64_t record_bytes, void* records) const {
  if (count == 0) return;
  const Owned type = raw::record_type(fields, record_bytes, name_);
  read_as(id_.get(), {{begin}, {count}}, type.get(), records, name_, code_);
}

void Dataset::set_attribute(const std::string& key, const std::string& value) {
  raw::set_text_attribute(id_.get(), key, value, texts_, name_);
}

void Dataset::set_attribute(const std::string& key, std::uint64_t value) {
  raw::set_attribute(id_.get(), key, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value, -1, name_);
}

std::optional<std::string> Dataset::text_attribute(const std::string& key) const {
  return raw::text_attribute(id_.get(), key, name_, code_);
}

}  // namespace tetrarch::storage::h5
