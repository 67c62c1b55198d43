/// Parallel loops over rows or items, and working memory of a thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include <omp.h>

namespace tetrarch::backend::cpu {

/// A loop with less work than this (bytes or vector operations) runs on one thread, because waking
/// the others takes microseconds.
constexpr std::int64_t worth_waking = 1 << 16;

/// Calls work(begin, end) on even parts of [0, count), in parallel. `cost` is the work of one row,
/// in bytes or vector operations.
template <class Work>
void for_ranges(std::int64_t count, std::int64_t cost, const Work& work) {
  const std::int64_t parts = std::clamp<std::int64_t>(
      count * std::max<std::int64_t>(cost, 1) / worth_waking, 1, omp_get_max_threads());
  if (parts == 1) {
    if (count > 0) work(std::int64_t{0}, count);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(parts))
  for (std::int64_t part = 0; part < parts; ++part)
    work(part * count / parts, (part + 1) * count / parts);
}

/// Calls work(i) for each i of [0, count), in parallel and in any order. For items of unequal work.
/// `cost` is the work of all items together, in bytes or vector operations.
template <class Work>
void for_items(std::int64_t count, std::int64_t cost, const Work& work) {
  if (count == 1 || cost < worth_waking || omp_get_max_threads() == 1) {
    for (std::int64_t i = 0; i < count; ++i)
      work(i);
    return;
  }
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i)
    work(i);
}

/// The items of one thread that are not yet begun. Their own thread takes them from the front.
/// Threads that have finished their own items take them from the back.
class alignas(64) Share {
 public:
  /// Sets the items to [begin, end); numbers are below 2^32.
  void set(std::int64_t begin, std::int64_t end) { left_ = pack(begin, end); }
  /// Removes and returns the first (or last) item; -1 if none is left.
  std::int64_t take_first() {
    return take([](std::int64_t& begin, std::int64_t&) { return begin++; });
  }
  std::int64_t take_last() {
    return take([](std::int64_t&, std::int64_t& end) { return --end; });
  }

 private:
  static std::uint64_t pack(std::int64_t begin, std::int64_t end) {
    return static_cast<std::uint64_t>(begin) << 32 | static_cast<std::uint64_t>(end);
  }
  template <class Shrink>
  std::int64_t take(const Shrink& shrink) {
    std::uint64_t left = left_.load(std::memory_order_relaxed);
    while (true) {
      auto begin = static_cast<std::int64_t>(left >> 32);
      auto end = static_cast<std::int64_t>(left & 0xffffffff);
      if (begin >= end) return -1;
      const std::int64_t item = shrink(begin, end);
      if (left_.compare_exchange_weak(left, pack(begin, end), std::memory_order_relaxed))
        return item;
    }
  }

  std::atomic<std::uint64_t> left_ = 0;  // begin, end
};

/// Calls work(next) on several threads, which share the items [0, n). Each call of next() returns
/// an item to do, or -1 if none is left. A thread first gets a contiguous part of the items, with
/// an equal share of the work, in order; then items of other threads. work_before has n + 1
/// entries: the sum of the work of all items before each item, and the total.
template <class Work>
void for_work(std::span<const std::int64_t> work_before, const Work& work) {
  const auto count = static_cast<std::int64_t>(work_before.size()) - 1;
  const std::int64_t total = work_before.back();
  const std::int64_t parts =
      std::clamp<std::int64_t>(total / worth_waking, 1, omp_get_max_threads());
  if (parts == 1) {
    std::int64_t item = 0;
    return work([&] { return item < count ? item++ : -1; });
  }
  const auto first = [&](std::int64_t part) {
    const auto at = std::lower_bound(work_before.begin(), work_before.begin() + count,
                                     total / parts * part + total % parts * part / parts);
    return part == parts ? count : at - work_before.begin();
  };
  std::vector<Share> shares(static_cast<std::size_t>(parts));
  for (std::int64_t part = 0; part < parts; ++part)
    shares[static_cast<std::size_t>(part)].set(first(part), first(part + 1));
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(parts))
  for (std::int64_t part = 0; part < parts; ++part)
    work([&] {
      std::int64_t item = shares[static_cast<std::size_t>(part)].take_first();
      for (std::int64_t other = 1; item < 0 && other < parts; ++other)
        item = shares[static_cast<std::size_t>((part + other) % parts)].take_last();
      return item;
    });
}

/// Memory that is reused and grows on demand; 64-byte aligned, contents undefined. floats() throws
/// std::bad_alloc.
class Scratch {
 public:
  float* floats(std::int64_t count) {
    if (count > capacity_) {
      memory_.reset();
      capacity_ = 0;
      const auto bytes = (static_cast<std::size_t>(count) * sizeof(float) + 63) / 64 * 64;
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      if (!memory_) throw std::bad_alloc();
      capacity_ = count;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  std::int64_t capacity_ = 0;
};

}  // namespace tetrarch::backend::cpu
