// Attributes: reads texts, integers and numbers with bounds on their size; writes attributes.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/format.h>

#include "storage/h5/h5_raw.hpp"

namespace tetrarch::storage::h5::raw {
namespace {

constexpr std::size_t largest_text = 16 << 20;  // bytes of one attribute; longer ones are refused
constexpr std::int64_t most_numbers = 4096;     // in one attribute

struct Open {
  Owned attribute, type, space;
  std::int64_t count = 0;
};

std::optional<Open> open(Id at, const std::string& key, const std::string& object,
                         base::ExitCode code) {
  const htri_t exists = H5Aexists(at, key.c_str());
  if (exists == 0) return std::nullopt;
  Open result;
  if (exists > 0) result.attribute = Owned(H5Aopen(at, key.c_str(), H5P_DEFAULT));
  if (result.attribute.has_value()) {
    result.type = Owned(H5Aget_type(result.attribute.get()));
    result.space = Owned(H5Aget_space(result.attribute.get()));
  }
  if (!result.type.has_value() || !result.space.has_value())
    fail_reading(code, object, fmt::format("attribute \"{}\" cannot be opened", key));
  result.count = H5Sget_simple_extent_npoints(result.space.get());
  return result;
}

[[noreturn]] void wrong_kind(base::ExitCode code, const std::string& object, const std::string& key,
                             const char* expected) {
  refuse(code, fmt::format(
                   "{}: attribute \"{}\" is not {}. Make the file again, or correct the attribute.",
                   object, key, expected));
}

Owned variable_type(const std::string& object) {
  Owned type = made(H5Tcopy(H5T_C_S1), object, "H5Tcopy");
  done(H5Tset_size(type.get(), H5T_VARIABLE), object, "H5Tset_size");
  done(H5Tset_cset(type.get(), H5T_CSET_UTF8), object, "H5Tset_cset");
  return type;
}

std::string read_variable(const Open& open, const std::string& object, const std::string& key,
                          base::ExitCode code) {
  const Owned type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5Tget_cset(open.type.get()));
  char* text = nullptr;
  if (H5Aread(open.attribute.get(), type.get(), &text) < 0)
    fail_reading(code, object, fmt::format("attribute \"{}\" cannot be read", key));
  const std::string result = text ? text : "";
  H5free_memory(text);
  return result;
}

}  // namespace

std::optional<std::string> text_attribute(Id at, const std::string& key, const std::string& object,
                                          base::ExitCode code) {
  const auto found = open(at, key, object, code);
  if (!found) return std::nullopt;
  if (H5Tget_class(found->type.get()) != H5T_STRING || found->count != 1)
    wrong_kind(code, object, key, "one text");
  if (H5Tis_variable_str(found->type.get()) > 0) return read_variable(*found, object, key, code);
  const std::size_t bytes = H5Tget_size(found->type.get());
  if (bytes == 0 || bytes > largest_text) wrong_kind(code, object, key, "a text of up to 16 MiB");
  std::string text(bytes, '\0');
  if (H5Aread(found->attribute.get(), found->type.get(), text.data()) < 0)
    fail_reading(code, object, fmt::format("attribute \"{}\" cannot be read", key));
  return text_in(text.data(), bytes, found->type.get());
}

std::optional<std::vector<std::int64_t>> integer_attribute(Id at, const std::string& key,
                                                           const std::string& object,
                                                           base::ExitCode code) {
  const auto found = open(at, key, object, code);
  if (!found) return std::nullopt;
  if (H5Tget_class(found->type.get()) != H5T_INTEGER || found->count < 1 ||
      found->count > most_numbers)
    wrong_kind(code, object, key, "integers");
  std::vector<std::int64_t> values(static_cast<std::size_t>(found->count));
  if (H5Aread(found->attribute.get(), H5T_NATIVE_INT64, values.data()) < 0)
    fail_reading(code, object, fmt::format("attribute \"{}\" cannot be read", key));
  return values;
}

std::optional<double> number_attribute(Id at, const std::string& key, const std::string& object,
                                       base::ExitCode code) {
  const auto found = open(at, key, object, code);
  if (!found) return std::nullopt;
  const H5T_class_t kind = H5Tget_class(found->type.get());
  if ((kind != H5T_INTEGER && kind != H5T_FLOAT) || found->count != 1)
    wrong_kind(code, object, key, "one number");
  double value = 0;
  if (H5Aread(found->attribute.get(), H5T_NATIVE_DOUBLE, &value) < 0)
    fail_reading(code, object, fmt::format("attribute \"{}\" cannot be read", key));
  return value;
}

void set_text_attribute(Id at, const std::string& key, const std::string& value, Texts texts,
                        const std::string& object) {
  const bool is_fixed = texts == Texts::fixed;
  const Owned type =
      is_fixed ? text_type(std::max<std::size_t>(1, value.size()), object) : variable_type(object);
  const char* const text = value.c_str();
  const void* const from = is_fixed ? static_cast<const void*>(text) : &text;
  set_attribute(at, key, type.get(), type.get(), from, -1, object);
}

void set_attribute(Id at, const std::string& key, Id file_type, Id memory_type, const void* value,
                   std::int64_t count, const std::string& object) {
  if (H5Aexists(at, key.c_str()) > 0) done(H5Adelete(at, key.c_str()), object, "H5Adelete");
  const auto extent = static_cast<hsize_t>(count);
  const Owned space =
      made(count < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &extent, nullptr), object,
           "H5Screate");
  const Owned attribute =
      made(H5Acreate2(at, key.c_str(), file_type, space.get(), H5P_DEFAULT, H5P_DEFAULT), object,
           "H5Acreate");
  done(H5Awrite(attribute.get(), memory_type, value), object, "H5Awrite");
}

}  // namespace tetrarch::storage::h5::raw
