// Tells the kind of a file from its first bytes.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/file_kind.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.hpp"
#include "storage/files/durable.hpp"

namespace tetrarch::storage {
namespace {

using namespace std::string_view_literals;
using base::ExitCode;
using base::Refusal;

constexpr std::string_view hdf5_signature = "\x89HDF\r\n\x1a\n"sv;
constexpr std::string_view write_lines =
    "Write it as JSON lines, one object a line: {\"id\": 1, \"tokens\": [1, 2, 3]}.";
constexpr std::string_view from_pandas =
    "Write it as JSON lines, as pandas does: FRAME.to_json(\"inputs.jsonl\", orient=\"records\", "
    "lines=True).";
constexpr std::string_view from_numpy =
    "Write its token ids as JSON lines, or as HDF5 with /tokens, /offsets and /ids.";
constexpr std::string_view unpack_first = "Unpack it first, and give what was in it.";
constexpr std::string_view save_again =
    "Load it with transformers and write it with save_pretrained(), which makes safetensors files.";

/// The kind of a file that has `bytes` at offset `at`, and advice to the user: `what` and `advice`
/// if the file was given as inputs, the `foreign_` ones if it was given as weights. Empty words:
/// this row does not count there. Inputs may be text, so that some kinds need more bytes there.
struct Signature {
  std::string_view bytes;
  std::string_view what;
  std::string_view advice;
  std::size_t at = 0;
  std::string_view foreign_what = "";  // {} stands for the number of bytes of the file
  std::string_view foreign_advice = "";
  InputFormat format = InputFormat::other;
};

constexpr std::array signatures = {
    Signature{hdf5_signature, "HDF5", "", 0, "is an HDF5 file",
              "Give the folder of a Hugging Face checkpoint.", InputFormat::hdf5},
    Signature{"\x1f\x8b"sv, "gzip", "", 0, "is compressed by gzip", "Unpack it first (gunzip).",
              InputFormat::gzip},
    Signature{"\x28\xb5\x2f\xfd"sv, "zstd", "", 0, "is compressed by zstd",
              "Unpack it first (unzstd).", InputFormat::zstd},
    Signature{"version https://git-lfs.github.com/spec/"sv,
              "a Git LFS pointer, not the file itself (the clone did not fetch it)",
              "Fetch it with git lfs pull, or download the file."},
    Signature{"version https://git-lfs"sv, "", "", 0,
              "is a Git LFS pointer ({} bytes), not the weights",
              "Run `git lfs pull` in the folder, or download with `hf download`."},
    Signature{"PAR1"sv, "Parquet", from_pandas},
    Signature{"PARE"sv, "encrypted Parquet", from_pandas},
    Signature{"ARROW1"sv, "Arrow (or Feather)", from_pandas},
    Signature{"\xff\xff\xff\xff"sv, "an Arrow stream", from_pandas},
    Signature{"FEA1"sv, "Feather", from_pandas},
    Signature{"Obj\x01"sv, "Avro", from_pandas},
    Signature{"SQLite format 3"sv, "an SQLite database", from_pandas},
    Signature{"\x93NUMPY"sv, "a NumPy array (.npy)", from_numpy},
    Signature{"MMIDIDX"sv, "an index of Megatron's token files", from_numpy},
    Signature{"GGUF"sv, "a GGUF model", write_lines, 0, "is a GGUF file of llama.cpp",
              "Use the safetensors files that it was made from."},
    Signature{"\x80\x02"sv, "a Python pickle", write_lines, 0,
              "is a Python pickle, as PyTorch's older files (.bin, .pt) are", save_again},
    Signature{"\x80\x03"sv, "a Python pickle", write_lines},
    Signature{"\x80\x04"sv, "a Python pickle", write_lines, 0,
              "is a Python pickle, as PyTorch's older files (.bin, .pt) are", save_again},
    Signature{"\x80\x05"sv, "a Python pickle", write_lines},
    Signature{"CDF\x01"sv, "NetCDF 3", from_numpy},
    Signature{"CDF\x02"sv, "NetCDF 3", from_numpy},
    Signature{"\xfd"
              "7zXZ\0"sv,
              "xz", "Unpack it first: xz -dk FILE.", 0, "is compressed by xz",
              "Unpack it first (unxz)."},
    Signature{"1AY&SY"sv, "bzip2", "Unpack it first: bunzip2 -k FILE.", 4},
    Signature{"BZh"sv, "", "", 0, "is compressed by bzip2", "Unpack it first (bunzip2)."},
    Signature{"PK\x03\x04"sv, "a zip archive (.npz, .xlsx and PyTorch files are zip archives too)",
              unpack_first, 0, "is a zip archive, as PyTorch's own files (.bin, .pt) are",
              save_again},
    Signature{"PK\x05\x06"sv, "an empty zip archive", unpack_first},
    Signature{"7z\xbc\xaf\x27\x1c"sv, "a 7z archive", unpack_first},
    Signature{"Rar!\x1a\x07"sv, "a rar archive", unpack_first},
    Signature{"\x04\x22\x4d\x18"sv, "lz4", "Unpack it first: lz4 -dk FILE."},
    Signature{"\xff\x06\0\0sNaPpY"sv, "snappy", unpack_first},
    Signature{"\x1f\x9d"sv, "compress (.Z)", "Unpack it first: uncompress -k FILE."},
    Signature{"LZIP"sv, "lzip", "Unpack it first: lzip -dk FILE."},
    Signature{"ustar"sv, "a tar archive", "Unpack it first: tar -xf FILE.", 257},
    Signature{"%PDF-"sv, "a PDF document", write_lines},
    Signature{"<!DOCTYPE"sv, "an HTML page (often the result of a failed download)",
              "Download the file again, and check that it is not an HTML page."},
    Signature{"<!doctype"sv, "an HTML page (often the result of a failed download)",
              "Download the file again, and check that it is not an HTML page."},
    Signature{"<html"sv, "an HTML page (often the result of a failed download)",
              "Download the file again, and check that it is not an HTML page."},
    Signature{"<?xml"sv, "XML", write_lines},
    Signature{"<"sv, "", "", 0, "is an HTML page or an error message of a server, not the file",
              "Download the file again."},
};

bool has_at(std::string_view head, std::size_t at, std::string_view bytes) {
  return head.size() >= at && head.substr(at).starts_with(bytes);
}

/// Whether the file begins with a skippable frame of zstd, which holds no data.
bool is_skippable_frame(std::string_view head) {
  return has_at(head, 1, "\x2a\x4d\x18"sv) && (static_cast<unsigned char>(head[0]) & 0xf0) == 0x50;
}

/// `text` without a byte order mark and without white space at its beginning.
std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view mark = "\xef\xbb\xbf";
  if (text.starts_with(mark)) text.remove_prefix(mark.size());
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

std::string_view first_line(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  return line.substr(0, line.find_last_not_of(" \t\r") + 1);
}

/// The first line after the first line of `text` that is not empty.
std::string_view second_line(std::string_view text) {
  const std::size_t end = text.find('\n');
  return end == std::string_view::npos ? "" : first_line(without_blanks(text.substr(end)));
}

FileKind other(std::string what, std::string_view advice) {
  return {InputFormat::other, std::move(what), std::string(advice)};
}

FileKind utf16(std::string_view name) {
  return other(fmt::format("{} text (JSON lines are UTF-8)", name),
               fmt::format("Convert it: iconv -f {} -t UTF-8 FILE > inputs.jsonl.", name));
}

/// The kind of a file that has no known signature and is no text.
FileKind unknown_bytes(std::string_view head, const std::string& name) {
  if (std::ranges::all_of(head, [](char c) { return c == '\0'; }))
    return other("made of zero bytes (often the result of an interrupted copy or download)",
                 "Copy it again, or make it again.");
  std::string bytes;
  for (const char c : head.substr(0, 8))
    bytes += fmt::format(" {:02x}", static_cast<unsigned char>(c));
  if (is_named_hdf5(name))
    return other(fmt::format("no HDF5, or damaged at its beginning (it begins with{}; HDF5 begins "
                             "with 89 48 44 46 0d 0a 1a 0a)",
                             bytes),
                 "Copy it again, or make it again.");
  return other(fmt::format("of an unknown kind (it begins with{})", bytes),
               "Give HDF5, or JSON lines, also as gzip or zstd.");
}

bool is_text(std::string_view head) {
  return std::ranges::none_of(head, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\x1b';
  });
}

FileKind kind_of_text(std::string_view head, bool is_whole, const std::string& name) {
  const FileKind lines{InputFormat::lines, "JSON lines", ""};
  const std::string_view text = without_blanks(head);
  if (text.empty())
    return is_whole ? other("empty (it has only white space)", "Make it again.") : lines;
  const std::string_view first = first_line(text), second = second_line(text);
  if (first == "{" && !second.starts_with('{'))
    return other("one JSON document over many lines (JSON lines have an object in each line)",
                 "Convert it: jq -c . FILE > inputs.jsonl.");
  if (text.starts_with('{')) return lines;
  if (text.starts_with('[') && !(first.ends_with(']') && second.starts_with('{')))
    return other("a JSON array (JSON lines have one object a line, and no brackets around them)",
                 "Convert it: jq -c '.[]' FILE > inputs.jsonl.");
  if (is_named_lines(name)) return lines;
  return other("plain text",
               "Make token ids of it, or byte tokens with tools/text_to_inputs.py, or write one "
               "object a line: {\"id\": 1, \"text\": \"...\"}.");
}

Descriptor opened(const std::string& path, ExitCode code) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status = {};
  if (!file.has_value() || ::fstat(file.get(), &status) != 0)
    throw Refusal(code, fmt::format("{}: cannot be opened ({}). Check the path and its "
                                    "permissions.",
                                    path, std::strerror(errno)));
  if (!S_ISREG(status.st_mode))
    throw Refusal(code, fmt::format("{}: is no regular file (it is read again when tokens are "
                                    "needed). Give a file.",
                                    path));
  return file;
}

/// `count` bytes from offset `at` on; fewer only at the end of the file.
std::string bytes_at(const Descriptor& file, std::uint64_t at, std::size_t count,
                     const std::string& path, ExitCode code) {
  std::string bytes(count, '\0');
  std::size_t done = 0;
  while (done < count) {
    const ssize_t now =
        ::pread(file.get(), bytes.data() + done, count - done, static_cast<off_t>(at + done));
    if (now < 0 && errno == EINTR) continue;
    if (now < 0)
      throw Refusal(code, fmt::format("{}: byte {} cannot be read ({}). Check the file system.",
                                      path, at + done, std::strerror(errno)));
    if (now == 0) break;
    done += static_cast<std::size_t>(now);
  }
  bytes.resize(done);
  return bytes;
}

/// Whether the file has the signature of HDF5: at byte 0, or after a user block at byte 512, 1024,
/// 2048, ...
bool has_hdf5_signature(const Descriptor& file, const std::string& path, ExitCode code) {
  for (std::uint64_t at = 0; at < std::uint64_t{1} << 62; at = at == 0 ? 512 : 2 * at) {
    const std::string found = bytes_at(file, at, hdf5_signature.size(), path, code);
    if (found == hdf5_signature) return true;
    if (found.size() < hdf5_signature.size()) return false;
  }
  return false;
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return 'A' <= c && c <= 'Z' ? c + ('a' - 'A') : c; });
  return text;
}

std::string_view without_end(std::string_view name, std::string_view end) {
  return name.ends_with(end) ? name.substr(0, name.size() - end.size()) : name;
}

}  // namespace

bool is_named_lines(const std::string& path) {
  const std::string name = lower(std::filesystem::path(path).filename().string());
  const std::string_view inside = without_end(without_end(name, ".gz"), ".zst");
  const auto is = [&](std::string_view end) {
    return inside.ends_with(end) && inside.size() > end.size();
  };
  return is(".jsonl") || is(".ndjson") || is(".json");
}

bool is_named_hdf5(const std::string& path) {
  const std::string extension = lower(std::filesystem::path(path).extension().string());
  return extension == ".h5" || extension == ".hdf5";
}

FileKind kind_of_bytes(std::string_view head, bool is_whole, const std::string& name) {
  if (head.empty()) return other("empty (0 bytes)", "Make it again.");
  if (is_skippable_frame(head)) return {InputFormat::zstd, "zstd", ""};
  for (const Signature& each : signatures)
    if (!each.what.empty() && has_at(head, each.at, each.bytes))
      return {each.format, std::string(each.what), std::string(each.advice)};
  if (head.starts_with("\xff\xfe\0\0"sv) || head.starts_with("\0\0\xfe\xff"sv))
    return utf16("UTF-32");
  if (head.starts_with("\xff\xfe"sv) || head.starts_with("\xfe\xff"sv) ||
      head.starts_with("{\0"sv) || head.starts_with("\0{"sv))
    return utf16("UTF-16");
  if (has_at(head, 8, "{\""sv) && !is_text(head.substr(0, 8)))
    return other("safetensors (weights)", write_lines);
  if (head.starts_with("ORC") && !is_text(head)) return other("ORC", from_pandas);
  if (is_text(first_line(without_blanks(head))) || without_blanks(head).starts_with('{'))
    return kind_of_text(head, is_whole, name);
  return unknown_bytes(head, name);
}

FileKind file_kind(const std::string& path, ExitCode code) {
  const Descriptor file = opened(path, code);
  if (has_hdf5_signature(file, path, code)) return {InputFormat::hdf5, "HDF5", ""};
  const std::string head = bytes_at(file, 0, kind_head_bytes, path, code);
  return kind_of_bytes(head, head.size() < kind_head_bytes, path);
}

bool is_hdf5(const std::string& path) try {
  return has_hdf5_signature(opened(path, ExitCode::input), path, ExitCode::input);
} catch (const Refusal&) {
  return false;
}

bool holds_lines(const std::string& path) try {
  const InputFormat format = file_kind(path).format;
  return format == InputFormat::lines || format == InputFormat::gzip || format == InputFormat::zstd;
} catch (const Refusal&) {
  return false;
}

void refuse_other_kinds(const std::string& path, ExitCode code) {
  const FileKind kind = file_kind(path, code);
  if (kind.format == InputFormat::other) throw refusal_of(path, kind, code);
}

Refusal refusal_of(const std::string& path, const FileKind& kind, ExitCode code) {
  return Refusal(code, fmt::format("{}: is {}. {}", path, kind.what, kind.advice));
}

std::optional<ForeignKind> foreign_kind(std::string_view first, std::int64_t file_bytes) {
  for (const Signature& each : signatures)
    if (!each.foreign_what.empty() && has_at(first, each.at, each.bytes))
      return ForeignKind{fmt::format(fmt::runtime(each.foreign_what), file_bytes),
                         std::string(each.foreign_advice)};
  return std::nullopt;
}

bool begins_as_safetensors(std::string_view first) {
  return first.size() > 8 && first[8] == '{';
}

std::string first_bytes_of(const std::string& path) try {
  return bytes_at(opened(path, ExitCode::input), 0, first_bytes, path, ExitCode::input);
} catch (const Refusal&) {
  return "";
}

}  // namespace tetrarch::storage
