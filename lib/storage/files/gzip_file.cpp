// Unpacks gzip files with zlib.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <zlib.h>

#include "base/error.hpp"
#include "storage/files/packed_file.hpp"

namespace tetrarch::storage {
namespace {

class GzipFile final : public PackedFile {
 public:
  explicit GzipFile(const std::string& path) : packed_(path) {
    constexpr int gzip_alone = 16;
    if (::inflateInit2(&stream_, gzip_alone + MAX_WBITS) != Z_OK)
      throw base::SystemError(base::ExitCode::resources,
                              "no memory for unpacking gzip. Give the job more memory.");
  }
  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;
  ~GzipFile() override { ::inflateEnd(&stream_); }

  std::size_t read(char* to, std::size_t bytes) override {
    std::size_t done = 0;
    while (done < bytes && (is_inside_ || begin_member()))
      done += inflate_some(to + done, bytes - done);
    return done;
  }

 private:
  /// Begins the next gzip member; false if there is none. Zero bytes after the last member are
  /// skipped: files from tapes are padded with them. Throws Refusal(input) for other bytes
  /// there.
  bool begin_member() {
    while (packed_.size() > 0 || packed_.fill()) {
      if (num_members_ == 0 || (!has_zeros_ && packed_.data()[0] == 0x1f)) {
        ::inflateReset(&stream_);
        ++num_members_;
        return is_inside_ = true;
      }
      if (packed_.data()[0] != 0)
        throw base::Refusal(
            base::ExitCode::input,
            fmt::format(
                "{}: at byte {}, after its {} gzip member{}, it has bytes that are neither gzip "
                "nor zeros (they may be damaged data). Make the file again, or truncate it there.",
                packed_.path(), packed_.offset(), num_members_, num_members_ == 1 ? "" : "s"));
      has_zeros_ = true;
      packed_.use(1);
    }
    return false;
  }

  std::size_t inflate_some(char* to, std::size_t bytes) {
    if (packed_.size() == 0 && !packed_.fill()) throw is_truncated(packed_, "gzip member");
    const std::size_t given = packed_.size();
    const auto room =
        static_cast<uInt>(std::min<std::size_t>(bytes, std::numeric_limits<uInt>::max()));
    stream_.next_in = const_cast<Bytef*>(packed_.data());
    stream_.avail_in = static_cast<uInt>(given);
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = room;
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    packed_.use(given - stream_.avail_in);
    if (status == Z_STREAM_END) {
      is_inside_ = false;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      throw is_damaged(packed_, stream_.msg ? stream_.msg : "zlib cannot read it");
    }
    return room - stream_.avail_out;
  }

  PackedBytes packed_;
  z_stream stream_ = {};
  std::int64_t num_members_ = 0;
  bool is_inside_ = false, has_zeros_ = false;
};

}  // namespace

std::unique_ptr<PackedFile> open_gzip(const std::string& path) {
  return std::make_unique<GzipFile>(path);
}

}  // namespace tetrarch::storage
