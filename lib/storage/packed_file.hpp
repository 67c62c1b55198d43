/// What is inside a gzip or zstd file, one byte after the other, in bounded memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "storage/durable.hpp"
#include "storage/file_kind.hpp"

namespace tetrarch::storage {

/// The bytes of the compressed file, block by block.
class PackedBytes {
 public:
  explicit PackedBytes(const std::string& path);
  const std::string& path() const { return path_; }
  /// The next block in `data` and `size`; false at the end. Call it when `size` is used up.
  bool fill();
  /// What is not used up yet of the block.
  const unsigned char* data() const { return block_.get() + used_; }
  std::size_t size() const { return filled_ - used_; }
  void use(std::size_t bytes) { used_ += bytes; }
  /// Of the next byte in the file.
  std::uint64_t offset() const { return offset_ + used_; }

 private:
  static constexpr std::size_t block_bytes = std::size_t{256} << 10;
  std::string path_;
  Descriptor file_;
  std::unique_ptr<unsigned char[]> block_ = std::make_unique<unsigned char[]>(block_bytes);
  std::size_t filled_ = 0, used_ = 0;
  std::uint64_t offset_ = 0;  // of the block
};

/// Members of gzip and frames of zstd may follow each other; checksums are compared.
class PackedFile {
 public:
  virtual ~PackedFile() = default;
  /// Fewer bytes than asked for only at the end. Throws UsageError(input) where the file ends
  /// inside a member or frame, is damaged, has other bytes behind the last one, or is zstd with a
  /// window of more than 128 MiB.
  virtual std::size_t read(char* to, std::size_t bytes) = 0;
};

/// `format`: gzip or zstd.
std::unique_ptr<PackedFile> open_packed(const std::string& path, InputFormat format);
std::unique_ptr<PackedFile> open_gzip(const std::string& path);
std::unique_ptr<PackedFile> open_zstd(const std::string& path);

/// "is truncated (...)": it ends at this byte inside `inside`.
base::UsageError is_truncated(const PackedBytes& packed, const char* inside);
/// "is damaged near byte N (`detail`)".
base::UsageError is_damaged(const PackedBytes& packed, const std::string& detail);

}  // namespace tetrarch::storage
