// Unpacks zstd files with libzstd.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/error.hpp"
#include "base/handle.hpp"
#include "storage/files/packed_file.hpp"

namespace tetrarch::storage {
namespace {

struct CloseContext {
  static ZSTD_DCtx* empty() { return nullptr; }
  void operator()(ZSTD_DCtx* context) const noexcept { ::ZSTD_freeDCtx(context); }
};

class ZstdFile final : public PackedFile {
 public:
  explicit ZstdFile(const std::string& path) : packed_(path), context_(::ZSTD_createDCtx()) {
    constexpr int window_log = 27;  // 128 MiB of memory
    if (!context_.has_value() || ::ZSTD_isError(::ZSTD_DCtx_setParameter(
                                     context_.get(), ZSTD_d_windowLogMax, window_log)) != 0)
      throw base::SystemError(base::ExitCode::resources,
                              "no memory for unpacking zstd. Give the job more memory.");
  }

  std::size_t read(char* to, std::size_t bytes) override {
    std::size_t done = 0;
    while (done < bytes && (next_ < ready_ || decompress())) {
      const std::size_t count = std::min(bytes - done, ready_ - next_);
      std::copy_n(buffer_.data() + next_, count, to + done);
      next_ += count;
      done += count;
    }
    return done;
  }

 private:
  /// Fills the buffer; false at the end of the file. The library decompresses a whole frame in one
  /// step if the frame fits the output buffer, and then checks its sizes more strictly. So it is
  /// always given this buffer, and the result does not depend on how much the caller asks for.
  bool decompress() {
    ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
    while (out.pos < out.size && decompress_some(out)) {
    }
    next_ = 0;
    ready_ = out.pos;
    return ready_ > 0;
  }

  /// Makes one call of the library; false at the end of the file. Throws if that is inside a frame.
  bool decompress_some(ZSTD_outBuffer& out) {
    const bool is_end = packed_.size() == 0 && !packed_.fill();
    if (is_end && !is_inside_) return false;
    ZSTD_inBuffer in{packed_.data(), packed_.size(), 0};
    const std::size_t before = out.pos;
    const std::size_t left = ::ZSTD_decompressStream(context_.get(), &out, &in);
    if (::ZSTD_isError(left) != 0) throw refusal(left);
    packed_.use(in.pos);
    // at the end of the file the library puts out the rest of a frame, or nothing if it is cut off
    if (is_end && left > 0 && out.pos == before) throw is_truncated(packed_, "zstd frame");
    is_inside_ = left > 0;
    return true;
  }

  base::Refusal refusal(std::size_t status) const {
    switch (::ZSTD_getErrorCode(status)) {
      case ZSTD_error_frameParameter_windowTooLarge:
        return base::Refusal(
            base::ExitCode::input,
            fmt::format("{}: its zstd window is larger than 128 MiB (each reader needs that much "
                        "memory; zstd makes such files with --long=28 or more). Unpack it first: "
                        "zstd -d --long=31 FILE.",
                        packed_.path()));
      case ZSTD_error_prefix_unknown:
        return is_damaged(packed_, "no zstd frame begins there");
      case ZSTD_error_dictionary_wrong:
        return base::Refusal(
            base::ExitCode::input,
            fmt::format("{}: needs a dictionary of zstd (which is not in the file). Unpack it "
                        "first: zstd -d -D DICTIONARY FILE.",
                        packed_.path()));
      default:
        return is_damaged(packed_, ::ZSTD_getErrorName(status));
    }
  }

  PackedBytes packed_;
  base::Handle<ZSTD_DCtx*, CloseContext> context_;
  std::string buffer_ = std::string(std::size_t{1} << 17, '\0');
  std::size_t next_ = 0, ready_ = 0;  // in buffer_: next byte to hand out; end of data
  bool is_inside_ = false;            // a frame has begun and not ended
};

}  // namespace

std::unique_ptr<PackedFile> open_zstd(const std::string& path) {
  return std::make_unique<ZstdFile>(path);
}

}  // namespace tetrarch::storage
