// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/staging.hpp"

#include <algorithm>
#include <cstring>

#include "backend/cuda/check.hpp"

namespace tetrarch::backend::cuda {

Staging::Staging(cudaStream_t stream) : stream_(stream) {
  for (Piece& piece : pieces_) {
    piece.memory.reserve(piece_bytes);
    piece.copied = make_event();
  }
}

Staging::~Staging() {
  cudaStreamSynchronize(stream_);  // pieces may still be read
}

/// A piece that no copy uses.
Staging::Piece& Staging::next_piece() {
  Piece& piece = pieces_[next_];
  next_ = (next_ + 1) % pieces_.size();
  if (piece.is_in_use) check(cudaEventSynchronize(piece.copied.get()), "cudaEventSynchronize");
  piece.is_in_use = false;
  return piece;
}

void Staging::upload(const void* host, void* device, std::int64_t bytes) {
  for (std::int64_t done = 0; done < bytes; done += piece_bytes) {
    const auto some = static_cast<std::size_t>(std::min(piece_bytes, bytes - done));
    Piece& piece = next_piece();
    std::memcpy(piece.memory.data(), static_cast<const std::byte*>(host) + done, some);
    check(cudaMemcpyAsync(static_cast<std::byte*>(device) + done, piece.memory.data(), some,
                          cudaMemcpyHostToDevice, stream_),
          "cudaMemcpyAsync to the device");
    check(cudaEventRecord(piece.copied.get(), stream_), "cudaEventRecord");
    piece.is_in_use = true;
  }
}

void Staging::download(const void* device, void* host, std::int64_t bytes) {
  for (std::int64_t done = 0; done < bytes; done += piece_bytes) {
    const auto some = static_cast<std::size_t>(std::min(piece_bytes, bytes - done));
    Piece& piece = next_piece();
    check(cudaMemcpyAsync(piece.memory.data(), static_cast<const std::byte*>(device) + done, some,
                          cudaMemcpyDeviceToHost, stream_),
          "cudaMemcpyAsync from the device");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    std::memcpy(static_cast<std::byte*>(host) + done, piece.memory.data(), some);
  }
}

}  // namespace tetrarch::backend::cuda
