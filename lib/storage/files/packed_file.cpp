// Reads the compressed bytes of gzip and zstd files.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/packed_file.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::storage {

using base::ExitCode;
using base::Refusal;

PackedBytes::PackedBytes(const std::string& path)
    : path_(path), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (!file_.has_value())
    throw Refusal(ExitCode::input, fmt::format("{}: cannot be opened ({}). Check the path and "
                                               "its permissions.",
                                               path, std::strerror(errno)));
}

bool PackedBytes::fill() {
  offset_ += filled_;
  filled_ = used_ = 0;
  ssize_t count = 0;
  do {
    count = ::pread(file_.get(), block_.get(), block_bytes, static_cast<off_t>(offset_));
  } while (count < 0 && errno == EINTR);
  if (count < 0)
    throw Refusal(ExitCode::input,
                  fmt::format("{}: byte {} cannot be read ({}). Check the file system.", path_,
                              offset_, std::strerror(errno)));
  filled_ = static_cast<std::size_t>(count);
  return filled_ > 0;
}

std::unique_ptr<PackedFile> open_packed(const std::string& path, InputFormat format) {
  base::expects(format == InputFormat::gzip || format == InputFormat::zstd, "a packed file");
  return format == InputFormat::gzip ? open_gzip(path) : open_zstd(path);
}

Refusal is_truncated(const PackedBytes& packed, const char* inside) {
  return Refusal(ExitCode::input,
                 fmt::format("{}: is truncated (it ends at byte {}, inside a {}). Copy it "
                             "again, or make it again.",
                             packed.path(), packed.offset(), inside));
}

Refusal is_damaged(const PackedBytes& packed, const std::string& detail) {
  return Refusal(ExitCode::input,
                 fmt::format("{}: is damaged near byte {} ({}). Copy it again, or make it "
                             "again.",
                             packed.path(), packed.offset(), base::shown(detail, 200)));
}

}  // namespace tetrarch::storage
