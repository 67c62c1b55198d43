// Reads one safetensors file and checks its header.
// SPDX-License-Identifier: Apache-2.0
#include "import/safetensors.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.hpp"
#include "base/text.hpp"
#include "storage/files/file_kind.hpp"

namespace tetrarch::hf {
namespace {

using storage::begins_as_safetensors;
using storage::first_bytes_of;
using storage::foreign_kind;

using base::ExitCode;
using base::Json;
using base::Refusal;

constexpr std::uint64_t largest_header = 100'000'000;  // bytes; the format's own limit
constexpr int deepest_header = 4;
constexpr std::size_t longest_shown = 200;  // bytes of a name in messages
constexpr std::size_t most_axes = 8;

[[noreturn]] void refuse(const std::string& object, const std::string& problem) {
  throw Refusal(ExitCode::weights,
                fmt::format("{}: {}. Download or copy the file again.", object, problem));
}

std::optional<CheckpointDType> dtype_from(std::string_view name) {
  for (const auto dtype : {CheckpointDType::f32, CheckpointDType::bf16, CheckpointDType::f16})
    if (name == name_of(dtype)) return dtype;
  return std::nullopt;
}

/// The value if it is a whole number of 0 .. 2^63 - 1, else absent.
std::optional<std::int64_t> size_from(const Json& value) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  return value.get<std::int64_t>();
}

/// Bytes of a tensor; absent if they do not fit in 63 bits.
std::optional<std::int64_t> bytes_of(const base::Shape& shape, CheckpointDType dtype) {
  std::int64_t bytes = size_of(dtype);
  for (const std::int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  return bytes;
}

base::Shape read_shape(const Json& value, const std::string& object) {
  if (!value.is_array()) refuse(object, "shape is no list of whole numbers");
  if (value.size() > most_axes)
    refuse(object, fmt::format("shape has {} axes, more than {}", value.size(), most_axes));
  base::Shape shape;
  for (const Json& extent : value) {
    const auto size = size_from(extent);
    if (!size) refuse(object, "shape is no list of whole numbers");
    shape.push_back(*size);
  }
  return shape;
}

CheckpointDType read_dtype(const Json& value, const std::string& object) {
  if (!value.is_string()) refuse(object, "dtype is no text");
  const auto dtype = dtype_from(value.get_ref<const std::string&>());
  if (!dtype)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: dtype is {} (this version reads F32, BF16 and F16). Convert "
                              "the checkpoint to one of these.",
                              object, base::shown(value.dump())));
  return *dtype;
}

StoredTensor read_tensor(const std::string& name, const Json& value, std::int64_t data_begin,
                         std::int64_t file_bytes, const std::string& where) {
  const std::string object =
      fmt::format("{}: tensor \"{}\"", where, base::shown(name, longest_shown));
  if (!value.is_object()) refuse(object, "its entry is no object");
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!value.contains(key)) refuse(object, fmt::format("{} is missing", key));
  if (value.size() != 3) refuse(object, "its entry has other keys than dtype, shape, data_offsets");

  StoredTensor tensor;
  tensor.name = name;
  tensor.dtype = read_dtype(value.at("dtype"), object);
  tensor.shape = read_shape(value.at("shape"), object);
  const Json& offsets = value.at("data_offsets");
  const bool is_pair = offsets.is_array() && offsets.size() == 2;
  const auto begin = is_pair ? size_from(offsets[0]) : std::nullopt;
  const auto end = is_pair ? size_from(offsets[1]) : std::nullopt;
  if (!begin || !end || *begin > *end)
    refuse(object, "data_offsets are not two whole numbers, the first at most the second");
  if (*end > file_bytes - data_begin)
    refuse(
        object,
        fmt::format(
            "its data end at byte {}, but the file has only {} bytes of data (the file is cut off)",
            *end, file_bytes - data_begin));
  const auto bytes = bytes_of(tensor.shape, tensor.dtype);
  if (!bytes)
    refuse(object, fmt::format("shape {} is too large (its bytes do not fit in 63 bits)",
                               base::to_string(tensor.shape)));
  if (*bytes != *end - *begin)
    refuse(object, fmt::format("data_offsets give {} bytes, but shape {} needs {}", *end - *begin,
                               base::to_string(tensor.shape), *bytes));
  tensor.begin = data_begin + *begin;
  tensor.end = data_begin + *end;
  return tensor;
}

/// Checks that every byte of the data belongs to exactly one tensor.
void check_cover(const std::vector<StoredTensor>& tensors, std::int64_t data_begin,
                 std::int64_t file_bytes, const std::string& where) {
  std::vector<const StoredTensor*> sorted;
  for (const StoredTensor& tensor : tensors)
    sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::int64_t at = data_begin;
  for (const StoredTensor* tensor : sorted) {
    const std::string object =
        fmt::format("{}: tensor \"{}\"", where, base::shown(tensor->name, longest_shown));
    if (tensor->begin < at) refuse(object, "its data overlap with another tensor's");
    if (tensor->begin > at)
      refuse(object,
             fmt::format("{} bytes before its data belong to no tensor", tensor->begin - at));
    at = tensor->end;
  }
  if (at != file_bytes)
    refuse(where, fmt::format("{} bytes at its end belong to no tensor", file_bytes - at));
}

}  // namespace

std::int64_t size_of(CheckpointDType dtype) {
  return dtype == CheckpointDType::f32 ? 4 : 2;
}

std::string_view name_of(CheckpointDType dtype) {
  return dtype == CheckpointDType::f32 ? "F32" : dtype == CheckpointDType::bf16 ? "BF16" : "F16";
}

std::vector<StoredTensor> parse_safetensors_header(std::string_view text, std::int64_t data_begin,
                                                   std::int64_t file_bytes,
                                                   const std::string& where) {
  if (text.empty() || text.front() != '{') refuse(where, "its header does not begin with '{'");
  const Json header = base::parse_json(text, where + ": header", ExitCode::weights, deepest_header);
  std::vector<StoredTensor> tensors;
  for (const auto& [name, value] : header.items())
    if (name != "__metadata__")
      tensors.push_back(read_tensor(name, value, data_begin, file_bytes, where));
  check_cover(tensors, data_begin, file_bytes, where);
  return tensors;
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat status = {};
  if (!file_.has_value() || ::fstat(file_.get(), &status) != 0)
    throw Refusal(ExitCode::weights, fmt::format("{}: cannot be opened ({}). Check the path, and "
                                                 "that the checkpoint is complete.",
                                                 path, std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) refuse(path, "is no regular file");
  const std::int64_t file_bytes = status.st_size;
  if (file_bytes < 8) refuse(path, fmt::format("has {} bytes, too few for a header", file_bytes));

  StoredTensor whole;
  whole.end = file_bytes;
  std::uint64_t header_bytes = 0;
  read(whole, 0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  const std::string first = first_bytes_of(path);
  if (const auto kind = foreign_kind(first, file_bytes); kind && !begins_as_safetensors(first))
    throw Refusal(ExitCode::weights, fmt::format("{}: {}. {}", path, kind->what, kind->advice));
  if (header_bytes > largest_header)
    refuse(path, fmt::format("its header claims {} bytes, more than the format's limit of {}",
                             header_bytes, largest_header));
  if (header_bytes > static_cast<std::uint64_t>(file_bytes - 8))
    refuse(path, fmt::format("its header claims {} bytes, but only {} follow (the file is cut off)",
                             header_bytes, file_bytes - 8));
  std::string text(header_bytes, '\0');
  read(whole, 8, std::as_writable_bytes(std::span(text)));
  tensors_ =
      parse_safetensors_header(text, 8 + static_cast<std::int64_t>(header_bytes), file_bytes, path);
}

void SafetensorsFile::read(const StoredTensor& tensor, std::int64_t offset,
                           std::span<std::byte> to) const {
  base::expects(
      offset >= 0 && static_cast<std::int64_t>(to.size()) <= tensor.end - tensor.begin - offset,
      "a range inside the tensor");
  std::size_t done = 0;
  while (done < to.size()) {
    const std::int64_t at = tensor.begin + offset + static_cast<std::int64_t>(done);
    const ssize_t count = ::pread(file_.get(), to.data() + done, to.size() - done, at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      refuse(path_, fmt::format("byte {} cannot be read ({})", at,
                                count < 0 ? std::strerror(errno) : "the file became shorter"));
    done += static_cast<std::size_t>(count);
  }
}

}  // namespace tetrarch::hf
