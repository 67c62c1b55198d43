// Reads integers of any width, sign and byte order; names element types for messages.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "storage/h5/h5.hpp"
#include "storage/h5/h5_raw.hpp"

namespace tetrarch::storage::h5 {
namespace {

using raw::Owned;

constexpr std::int64_t window = std::int64_t{1} << 18;  // elements converted at once: 2 MiB
constexpr std::size_t widest = 8;                       // bytes; wider integers are refused

std::string with_order(const std::string& name, Id type) {
  return H5Tget_size(type) > 1 && H5Tget_order(type) == H5T_ORDER_BE ? name + " (big-endian)"
                                                                     : name;
}

/// h5py writes truth values as an enumeration of FALSE and TRUE.
bool is_truth_value(Id type) {
  if (H5Tget_nmembers(type) != 2) return false;
  char* name = H5Tget_member_name(type, 0);
  const bool is_false = name != nullptr && std::strcmp(name, "FALSE") == 0;
  H5free_memory(name);
  return is_false;
}

/// Converts `count` values to u32 or u64. Returns the index of the first that does not fit, or
/// `count` if all fit.
template <class To, class From>
std::int64_t narrow(const std::vector<From>& from, std::int64_t count, To* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    const From value = from[static_cast<std::size_t>(i)];
    if (!std::in_range<To>(value)) return i;
    to[i] = static_cast<To>(value);
  }
  return count;
}

/// Reads integers in windows as 64-bit integers (`Wide`: signed or unsigned) and narrows them.
template <class Wide, class To>
void read_windows(const Dataset& dataset, const Hyperslab& slab, To* to, base::ExitCode code,
                  const std::function<void(const Hyperslab&, Wide*)>& read) {
  const std::int64_t total = slab.count.at(0);
  std::vector<Wide> wide(static_cast<std::size_t>(std::min(window, total)));
  for (std::int64_t begin = 0; begin < total; begin += window) {
    const std::int64_t count = std::min(window, total - begin);
    const std::int64_t first = slab.offset.at(0) + begin;
    read({{first}, {count}}, wide.data());
    const std::int64_t bad = narrow(wide, count, to + begin);
    if (bad < count)
      raw::refuse(code,
                  fmt::format("{}[{}] is {} (expected 0 to {}). Write the file again with "
                              "values that fit.",
                              dataset.name(), first + bad, wide[static_cast<std::size_t>(bad)],
                              std::numeric_limits<To>::max()));
  }
}

}  // namespace

namespace raw {

bool is_integer(Id type) {
  return H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) <= widest;
}

std::string kind_of(Id type) {
  const std::size_t bits = 8 * H5Tget_size(type);
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return with_order(
          fmt::format("{}{}", H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int", bits), type);
    case H5T_FLOAT:
      return with_order(fmt::format("float{}", bits), type);
    case H5T_ENUM:
      return is_truth_value(type) ? "bool" : "an enumeration";
    case H5T_STRING:
      return H5Tis_variable_str(type) > 0 ? "text of variable length"
                                          : fmt::format("text of {} bytes", H5Tget_size(type));
    case H5T_BITFIELD:
      return "a bit field";
    case H5T_COMPOUND:
      return "a table of records (compound)";
    case H5T_VLEN:
      return "lists of variable length";
    case H5T_ARRAY:
      return "an array type";
    default:
      return "another type";
  }
}

}  // namespace raw

void Dataset::read_integers(const Hyperslab& slab, base::DType dtype, void* to) const {
  base::expects(dtype == base::DType::u32 || dtype == base::DType::u64, "u32 or u64 is asked for");
  const Owned type(H5Dget_type(id_.get()));
  if (H5Tequal(type.get(), raw::file_type(dtype)) > 0) return read(slab, dtype, to);
  if (!raw::is_integer(type.get()))
    raw::refuse(code_, fmt::format("{}: its elements are {}, expected integers. Make the file "
                                   "again with integers.",
                                   name_, raw::kind_of(type.get())));
  const auto read_as = [&](Id wide) {
    return [this, wide](const Hyperslab& part, auto* values) { read_raw(part, wide, values); };
  };
  const auto windows = [&]<class To>(To* values) {
    if (H5Tget_sign(type.get()) == H5T_SGN_NONE) {
      read_windows<std::uint64_t, To>(*this, slab, values, code_, read_as(H5T_NATIVE_UINT64));
    } else {
      read_windows<std::int64_t, To>(*this, slab, values, code_, read_as(H5T_NATIVE_INT64));
    }
  };
  if (dtype == base::DType::u32) {
    windows(static_cast<std::uint32_t*>(to));
  } else {
    windows(static_cast<std::uint64_t*>(to));
  }
}

void Dataset::read_all_integers(base::DType dtype, void* to) const {
  const base::Shape shape = info().shape;
  if (shape.size() != 1)
    raw::refuse(code_, fmt::format("{}: has shape {}, expected one axis. Make the file again.",
                                   name_, base::to_string(shape)));
  read_integers({{0}, shape}, dtype, to);
}

}  // namespace tetrarch::storage::h5
