/// Owners of CUDA's streams and events.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "base/handle.hpp"

namespace tetrarch::backend::cuda {

struct DestroyStream {
  static cudaStream_t empty() { return nullptr; }
  void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  static cudaEvent_t empty() { return nullptr; }
  void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
};
using Stream = base::Handle<cudaStream_t, DestroyStream>;
using Event = base::Handle<cudaEvent_t, DestroyEvent>;

/// A queue of the device; it does not wait for the default stream.
Stream make_stream();
/// An event without times: its record and a wait for it order two streams.
Event make_event();

}  // namespace tetrarch::backend::cuda
