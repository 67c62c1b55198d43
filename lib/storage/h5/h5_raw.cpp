// Owned ids, error text and types of HDF5.
// SPDX-License-Identifier: Apache-2.0
#include "storage/h5/h5_raw.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

namespace tetrarch::storage::h5::raw {
namespace {

struct Frames {
  std::vector<std::string> texts;
};

herr_t note_frame(unsigned, const H5E_error2_t* frame, void* to) {
  auto& texts = static_cast<Frames*>(to)->texts;
  if (frame->desc && *frame->desc && (texts.empty() || texts.back() != frame->desc))
    texts.emplace_back(frame->desc);
  return 0;
}

struct TypePair {
  base::DType dtype;
  Id file, memory;
};

std::array<TypePair, 8> type_table() {
  using base::DType;
  return {{{DType::f32, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT},
           {DType::u16, H5T_STD_U16LE, H5T_NATIVE_UINT16},
           {DType::bf16, H5T_STD_U16LE, H5T_NATIVE_UINT16},
           {DType::i32, H5T_STD_I32LE, H5T_NATIVE_INT32},
           {DType::u32, H5T_STD_U32LE, H5T_NATIVE_UINT32},
           {DType::u8, H5T_STD_U8LE, H5T_NATIVE_UINT8},
           {DType::u64, H5T_STD_U64LE, H5T_NATIVE_UINT64},
           {DType::f64, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE}}};
}

const TypePair& type_pair(base::DType dtype) {
  static const auto table = type_table();
  for (const TypePair& pair : table)
    if (pair.dtype == dtype) return pair;
  throw base::InternalError("a dtype that files do not have");
}

}  // namespace

void CloseAny::operator()(Id id) const noexcept {
  if (H5Iis_valid(id) <= 0) return;
  switch (H5Iget_type(id)) {
    case H5I_DATASET:
      H5Dclose(id);
      return;
    case H5I_GROUP:
      H5Gclose(id);
      return;
    case H5I_DATATYPE:
      H5Tclose(id);
      return;
    case H5I_DATASPACE:
      H5Sclose(id);
      return;
    case H5I_ATTR:
      H5Aclose(id);
      return;
    case H5I_GENPROP_LST:
      H5Pclose(id);
      return;
    default:
      H5Idec_ref(id);
  }
}

namespace {

/// The operating system's error text alone. HDF5 wraps it in a longer text with the time, the
/// file's name, its descriptor and an address.
std::string shortened(const std::string& text) {
  constexpr std::string_view before = "error message = '";
  const std::size_t begin = text.find(before);
  if (begin == std::string::npos) return text;
  const std::size_t at = begin + before.size();
  return text.substr(at, text.find('\'', at) - at);
}

}  // namespace

std::string reason() {
  Frames frames;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note_frame, &frames);
  H5Eclear2(H5E_DEFAULT);
  if (frames.texts.empty()) return "no reason given";
  std::string text = shortened(frames.texts.front());  // innermost: the cause; outermost: the call
  if (frames.texts.size() > 1) text += "; " + frames.texts.back();
  return shown(std::move(text));
}

std::string shown(std::string text) {
  constexpr std::size_t most = 400;
  if (text.size() > most) text = text.substr(0, most) + "...";
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return text;
}

void refuse(base::ExitCode code, const std::string& message) {
  if (code == base::ExitCode::resources) throw base::SystemError(code, message);
  throw base::Refusal(code, message);
}

void fail_reading(base::ExitCode code, const std::string& object, const std::string& problem) {
  const std::string why = reason();
  if (why.find("memory allocation failed") != std::string::npos ||
      why.find("Cannot allocate memory") != std::string::npos)
    throw base::SystemError(
        base::ExitCode::resources,
        fmt::format("{}: {} (HDF5: {}; the system gave no more memory). Raise the limits of this "
                    "process (ulimit -v, the job's memory).",
                    object, problem, why));
  if (why.find("already open for write") != std::string::npos)
    refuse(code, fmt::format("{}: {} (its mark \"open for writing\" is set: a program is still "
                             "writing it, or ended without closing it). Wait for that program; if "
                             "it has ended, run h5clear -s on the file, and check what it holds.",
                             object, problem));
  refuse(code, fmt::format("{}: {} (HDF5: {}). The file is damaged or incomplete; copy it or make "
                           "it again.",
                           object, problem, why));
}

void fail_writing(const std::string& object, const std::string& problem) {
  throw base::SystemError(base::ExitCode::resources,
                          fmt::format("{}: {} (HDF5: {}). Check the free space, the quota and the "
                                      "permissions of its folder.",
                                      object, problem, reason()));
}

Owned made(Id id, const std::string& object, const char* call) {
  if (id < 0) fail_writing(object, fmt::format("{} failed", call));
  return Owned(id);
}

void done(herr_t status, const std::string& object, const char* call) {
  if (status < 0) fail_writing(object, fmt::format("{} failed", call));
}

Id memory_type(base::DType dtype) {
  return type_pair(dtype).memory;
}
Id file_type(base::DType dtype) {
  return type_pair(dtype).file;
}

std::optional<base::DType> dtype_of(Id type) {
  const H5T_class_t kind = H5Tget_class(type);
  if (kind != H5T_INTEGER && kind != H5T_FLOAT) return std::nullopt;
  static const auto table = type_table();
  for (const TypePair& pair : table)
    if (H5Tequal(type, pair.file) > 0) return pair.dtype;
  return std::nullopt;
}

Owned record_type(const std::vector<Field>& fields, std::int64_t record_bytes,
                  const std::string& object) {
  Owned type =
      made(H5Tcreate(H5T_COMPOUND, static_cast<std::size_t>(record_bytes)), object, "H5Tcreate");
  for (const Field& field : fields) {
    const auto offset = static_cast<std::size_t>(field.offset);
    if (field.text_bytes > 0) {
      const Owned text = text_type(static_cast<std::size_t>(field.text_bytes), object);
      done(H5Tinsert(type.get(), field.name.c_str(), offset, text.get()), object, "H5Tinsert");
    } else {
      done(H5Tinsert(type.get(), field.name.c_str(), offset, memory_type(field.dtype)), object,
           "H5Tinsert");
    }
  }
  return type;
}

Owned text_type(std::size_t bytes, const std::string& object) {
  Owned type = made(H5Tcopy(H5T_C_S1), object, "H5Tcopy");
  done(H5Tset_size(type.get(), bytes), object, "H5Tset_size");
  done(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), object, "H5Tset_strpad");
  done(H5Tset_cset(type.get(), H5T_CSET_UTF8), object, "H5Tset_cset");
  return type;
}

std::string text_in(const char* from, std::size_t bytes, Id type) {
  const H5T_str_t padding = H5Tget_strpad(type);
  if (padding == H5T_STR_NULLTERM) return std::string(from, strnlen(from, bytes));
  const char pad = padding == H5T_STR_SPACEPAD ? ' ' : '\0';
  while (bytes > 0 && from[bytes - 1] == pad)
    --bytes;
  return std::string(from, bytes);
}

base::Shape shape_of(Id dataspace) {
  const int rank = H5Sget_simple_extent_ndims(dataspace);
  if (rank <= 0) return {};
  std::vector<hsize_t> extent(static_cast<std::size_t>(rank));
  H5Sget_simple_extent_dims(dataspace, extent.data(), nullptr);
  base::Shape shape;
  for (const hsize_t length : extent)  // beyond 63 bits: INT64_MAX, so that checks refuse it
    shape.push_back(length > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(length));
  return shape;
}

}  // namespace tetrarch::storage::h5::raw
