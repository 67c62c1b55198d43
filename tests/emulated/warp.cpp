// The collectives of a warp. A warp is in one of them at a time.
// SPDX-License-Identifier: Apache-2.0
#include "emulated/block.hpp"

namespace tetrarch::emulated {
namespace {

/// Words rather than memcpy, which the sanitizers would take for an access of the program.
void copy_words(void* to, const void* from, unsigned bytes) {
  for (unsigned i = 0; i < bytes / 4; ++i)
    static_cast<volatile unsigned*>(to)[i] = static_cast<const volatile unsigned*>(from)[i];
}

void fill_words(void* to, unsigned bytes) {
  for (unsigned i = 0; i < bytes / 4; ++i)
    static_cast<volatile unsigned*>(to)[i] = 0xffffffffu;
}

}  // namespace

/// What is wrong with the call of a collective; empty if nothing is.
std::string Block::problem_of(const Warp& warp, Collective kind, unsigned mask,
                              const Place& place) const {
  if (!(mask >> running_->lane & 1))
    return "a lane that its own mask does not name, at " + text_of(place);
  if (mask & ~warp.alive)
    return "the mask names lanes that do not exist or have returned, at " + text_of(place);
  if (warp.arrived == 0) return "";
  if (warp.kind != kind || warp.place.line() != place.line())
    return "lanes of one warp in different collectives: " + text_of(warp.place) + " and " +
           text_of(place);
  return warp.mask == mask ? "" : "lanes of one warp with different masks, at " + text_of(place);
}

bool Block::is_possible(const Warp& warp, Collective kind, unsigned mask,
                        const Place& place) const {
  const std::string problem = problem_of(warp, kind, mask, place);
  if (!problem.empty()) report(problem);
  return problem.empty();
}

/// Called after the lane left its value: waits for the other lanes of the mask. Returns the parity
/// under which their values are found.
unsigned Block::join(Collective kind, unsigned mask, const Place& place) {
  ++counters().warp_collectives;
  Warp& warp = warps_[running_->warp];
  running_->place = place;
  if (!is_possible(warp, kind, mask, place)) give_up();
  const unsigned parity = warp.parity;
  warp.mask = mask;
  warp.kind = kind;
  warp.place = place;
  warp.arrived |= 1u << running_->lane;
  if (warp.arrived == mask) {
    finish_collective(warp);
    if (!options().yields_in_warps) return parity;
    running_->state = BlockThread::State::ready;
    ready_.add(running_);
  } else {
    running_->state = BlockThread::State::in_collective;
  }
  wait_for_others();
  return parity;
}

void Block::finish_collective(Warp& warp) {
  warp.arrived = 0;
  warp.parity ^= 1;
  warp.ballots[warp.parity] = 0;
  const unsigned first = running_->warp * warp_size;
  for (unsigned i = first; i < num_threads_ && i < first + warp_size; ++i) {
    if (threads_[i]->state != BlockThread::State::in_collective) continue;
    threads_[i]->state = BlockThread::State::ready;
    ready_.add(threads_[i].get());
  }
}

void Block::warp_barrier(unsigned mask, const Place& place) {
  const unsigned warp = running_->warp;
  order::Token& token = order_->warps[warp].barriers[warps_[warp].parity];
  order::release(token);
  join(Collective::barrier, mask, place);
  order::acquire(token);
}

void Block::exchange(Collective kind, unsigned mask, const void* mine, void* other, unsigned bytes,
                     unsigned source, const Place& place) {
  Warp& warp = warps_[running_->warp];
  copy_words(warp.values[warp.parity][running_->lane], mine, bytes);
  const unsigned parity = join(kind, mask, place);
  if (mask >> source & 1) {
    copy_words(other, warp.values[parity][source], bytes);
  } else {
    fill_words(other, bytes);
  }
}

unsigned Block::ballot(unsigned mask, bool vote, const Place& place) {
  Warp& warp = warps_[running_->warp];
  if (vote) warp.ballots[warp.parity] |= 1u << running_->lane;
  return warp.ballots[join(Collective::ballot, mask, place)];
}

}  // namespace tetrarch::emulated
