/// The built-in variables and functions of CUDA C++ by which the threads of a block meet.
///
/// The last argument of each function is where it is called; messages of faults name it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include <cuda_runtime_api.h>

#include "emulated/block.hpp"

extern "C" {
extern uint3 threadIdx;  // set at each switch of fibers
extern uint3 blockIdx;
extern dim3 blockDim, gridDim;
}
constexpr int warpSize = 32;

namespace tetrarch::emulated {

/// The value that lane `source` of the warp gives to the same shuffle.
template <class T>
T shuffle(Collective kind, unsigned mask, T value, unsigned source, const Place& place) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  constexpr unsigned bytes = (sizeof(T) + 3) / 4 * 4;
  alignas(16) unsigned char mine[bytes] = {}, other[bytes];
  __builtin_memcpy(mine, &value, sizeof(T));
  block().exchange(kind, mask, mine, other, bytes, source, place);
  __builtin_memcpy(&value, other, sizeof(T));
  return value;
}

/// The first lane of this thread's group of `width` lanes, a power of two.
inline unsigned first_of_group(unsigned lane, int width) {
  return lane & ~(static_cast<unsigned>(width) - 1);
}

}  // namespace tetrarch::emulated

#define TETRARCH_EMULATED_PLACE \
  const tetrarch::emulated::Place& place = tetrarch::emulated::Place::current()

inline void __syncthreads(TETRARCH_EMULATED_PLACE) {
  tetrarch::emulated::block().barrier(false, place);
}

inline int __syncthreads_count(int vote, TETRARCH_EMULATED_PLACE) {
  return static_cast<int>(tetrarch::emulated::block().barrier(vote != 0, place));
}

inline int __syncthreads_or(int vote, TETRARCH_EMULATED_PLACE) {
  return tetrarch::emulated::block().barrier(vote != 0, place) != 0;
}

inline int __syncthreads_and(int vote, TETRARCH_EMULATED_PLACE) {
  return tetrarch::emulated::block().barrier(vote == 0, place) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, TETRARCH_EMULATED_PLACE) {
  tetrarch::emulated::block().warp_barrier(mask, place);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, TETRARCH_EMULATED_PLACE) {
  const unsigned first =
      tetrarch::emulated::first_of_group(tetrarch::emulated::block().thread().lane, width);
  const unsigned within = static_cast<unsigned>(source) & (static_cast<unsigned>(width) - 1);
  return tetrarch::emulated::shuffle(tetrarch::emulated::Collective::shuffle, mask, value,
                                     first + within, place);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize,
                  TETRARCH_EMULATED_PLACE) {
  using namespace tetrarch::emulated;
  const unsigned lane = block().thread().lane;
  const unsigned source = lane ^ static_cast<unsigned>(lanes);
  // a source in a later group: the own value
  const bool is_own = first_of_group(source, width) > first_of_group(lane, width);
  return shuffle(Collective::shuffle_xor, mask, value, is_own ? lane : source, place);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = warpSize,
                   TETRARCH_EMULATED_PLACE) {
  using namespace tetrarch::emulated;
  const unsigned lane = block().thread().lane;
  const unsigned last = first_of_group(lane, width) + static_cast<unsigned>(width) - 1;
  return shuffle(Collective::shuffle_down, mask, value, lanes <= last - lane ? lane + lanes : lane,
                 place);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = warpSize,
                 TETRARCH_EMULATED_PLACE) {
  using namespace tetrarch::emulated;
  const unsigned lane = block().thread().lane;
  const unsigned first = first_of_group(lane, width);
  return shuffle(Collective::shuffle_up, mask, value, lanes <= lane - first ? lane - lanes : lane,
                 place);
}

inline unsigned __ballot_sync(unsigned mask, int vote, TETRARCH_EMULATED_PLACE) {
  return tetrarch::emulated::block().ballot(mask, vote != 0, place);
}

inline int __any_sync(unsigned mask, int vote, TETRARCH_EMULATED_PLACE) {
  return tetrarch::emulated::block().ballot(mask, vote != 0, place) != 0;
}

inline int __all_sync(unsigned mask, int vote, TETRARCH_EMULATED_PLACE) {
  return tetrarch::emulated::block().ballot(mask, vote == 0, place) == 0;
}

#undef TETRARCH_EMULATED_PLACE
