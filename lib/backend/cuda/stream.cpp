// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/stream.hpp"

#include "backend/cuda/check.hpp"

namespace tetrarch::backend::cuda {

Stream make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return Stream(stream);
}

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return Event(event);
}

}  // namespace tetrarch::backend::cuda
