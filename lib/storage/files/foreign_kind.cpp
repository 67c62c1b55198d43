// Recognises files that users give instead of a checkpoint, by their first bytes.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/foreign_kind.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/files/durable.hpp"

namespace tetrarch::storage {
namespace {

struct Signature {
  std::string_view bytes;
  const char *what, *advice;
};

using namespace std::string_view_literals;
constexpr const char* save_again =
    "Load it with transformers and write it with save_pretrained(), which makes safetensors files.";
constexpr Signature signatures[] = {
    {"\x1f\x8b"sv, "is compressed by gzip", "Unpack it first (gunzip)."},
    {"\x28\xb5\x2f\xfd"sv, "is compressed by zstd", "Unpack it first (unzstd)."},
    {"\xfd"
     "7zXZ\0"sv,
     "is compressed by xz", "Unpack it first (unxz)."},
    {"BZh"sv, "is compressed by bzip2", "Unpack it first (bunzip2)."},
    {"PK\3\4"sv, "is a zip archive, as PyTorch's own files (.bin, .pt) are", save_again},
    {"\x80\2"sv, "is a Python pickle, as PyTorch's older files (.bin, .pt) are", save_again},
    {"\x80\4"sv, "is a Python pickle, as PyTorch's older files (.bin, .pt) are", save_again},
    {"\x89HDF\r\n\x1a\n"sv, "is an HDF5 file", "Give the folder of a Hugging Face checkpoint."},
    {"GGUF"sv, "is a GGUF file of llama.cpp", "Use the safetensors files that it was made from."},
    {"<"sv, "is an HTML page or an error message of a server, not the file",
     "Download the file again."},
};

}  // namespace

std::optional<ForeignKind> foreign_kind(std::string_view first, std::int64_t file_bytes) {
  if (first.starts_with("version https://git-lfs"))
    return ForeignKind{fmt::format("is a Git LFS pointer ({} bytes), not the weights", file_bytes),
                       "Run `git lfs pull` in the folder, or download with `hf download`."};
  for (const auto& [bytes, what, advice] : signatures)
    if (first.starts_with(bytes)) return ForeignKind{what, advice};
  return std::nullopt;
}

bool begins_as_safetensors(std::string_view first) {
  return first.size() > 8 && first[8] == '{';
}

std::string first_bytes_of(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status = {};
  std::string first(first_bytes, '\0');
  if (!file.has_value() || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return "";
  const ssize_t count = ::pread(file.get(), first.data(), first.size(), 0);
  first.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return first;
}

}  // namespace tetrarch::storage
