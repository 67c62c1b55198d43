/// Copies between pageable host memory and the device, through pieces of pinned memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "backend/cuda/memory.hpp"
#include "backend/cuda/stream.hpp"

namespace tetrarch::backend::cuda {

/// A ring of pinned pieces. An upload returns when its bytes are in the ring; only when all pieces
/// are still being copied does it wait for the oldest one.
class Staging {
 public:
  static constexpr std::int64_t piece_bytes = std::int64_t{4} << 20;
  static constexpr int num_pieces = 4;

  /// `stream` must live longer.
  explicit Staging(cudaStream_t stream);
  ~Staging();
  /// Enqueues the copy on the stream. The caller may reuse `host` after the call.
  void upload(const void* host, void* device, std::int64_t bytes);
  /// Waits for the stream and copies.
  void download(const void* device, void* host, std::int64_t bytes);

 private:
  struct Piece {
    PinnedMemory memory;
    Event copied;
    bool is_in_use = false;
  };
  Piece& next_piece();

  cudaStream_t stream_;
  std::array<Piece, num_pieces> pieces_;
  std::size_t next_ = 0;
};

}  // namespace tetrarch::backend::cuda
