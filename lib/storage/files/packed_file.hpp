/// Reads the content of a gzip or zstd file from its beginning to its end, in bounded memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "storage/files/durable.hpp"
#include "storage/files/file_kind.hpp"

namespace tetrarch::storage {

/// The bytes of the compressed file, in blocks of 256 KiB.
class PackedBytes {
 public:
  /// Throws Refusal(input) if the file cannot be opened.
  explicit PackedBytes(const std::string& path);
  const std::string& path() const { return path_; }
  /// Reads the next block; false at the end of the file. Call it when size() is 0. Throws
  /// Refusal(input) if reading fails.
  bool fill();
  /// The bytes of the block that use() has not consumed.
  const unsigned char* data() const { return block_.get() + used_; }
  std::size_t size() const { return filled_ - used_; }
  void use(std::size_t bytes) { used_ += bytes; }
  /// Offset in the file of the byte at data().
  std::uint64_t offset() const { return offset_ + used_; }

 private:
  static constexpr std::size_t block_bytes = std::size_t{256} << 10;
  std::string path_;
  Descriptor file_;
  std::unique_ptr<unsigned char[]> block_ = std::make_unique<unsigned char[]>(block_bytes);
  std::size_t filled_ = 0, used_ = 0;
  std::uint64_t offset_ = 0;  // of the block
};

/// Unpacks all members of a gzip file or all frames of a zstd file, and compares their checksums.
class PackedFile {
 public:
  virtual ~PackedFile() = default;
  /// Reads the next `bytes` bytes of the content. Returns how many: fewer only at the end. Throws
  /// Refusal(input) if the file ends inside a member or frame, is damaged, has other bytes after
  /// the last one, or is zstd with a window of more than 128 MiB.
  virtual std::size_t read(char* to, std::size_t bytes) = 0;
};

/// Opens a compressed file; `format`: gzip or zstd. Throws Refusal(input) if it cannot be
/// opened.
std::unique_ptr<PackedFile> open_packed(const std::string& path, InputFormat format);
std::unique_ptr<PackedFile> open_gzip(const std::string& path);
std::unique_ptr<PackedFile> open_zstd(const std::string& path);

/// The error for a file that ends at the current byte; `inside`: "gzip member" or "zstd frame".
base::Refusal is_truncated(const PackedBytes& packed, const char* inside);
/// The error for a file that is damaged near the current byte; `detail`: the library's reason.
base::Refusal is_damaged(const PackedBytes& packed, const std::string& detail);

}  // namespace tetrarch::storage
