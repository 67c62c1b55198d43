/// What the tests of the emulated device share: owners of memory and streams, seeds, faults.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "emulated/fault.hpp"
#include "emulated/settings.hpp"

namespace tetrarch::emulated {

#ifdef TETRARCH_EMULATED_TSAN
constexpr bool has_race_detector = true;
#else
constexpr bool has_race_detector = false;
#endif
#ifdef TETRARCH_EMULATED_ASAN
constexpr bool has_address_sanitizer = true;
#else
constexpr bool has_address_sanitizer = false;
#endif

// ThreadSanitizer finds a race also where the schedule did no harm, so few seeds suffice.
constexpr int num_seeds = has_race_detector ? 5 : 20;

template <class T>
struct DeviceArray {
  T* data = nullptr;
  std::size_t count;

  explicit DeviceArray(std::size_t num) : count(num) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data), num * sizeof(T)), cudaSuccess);
  }
  ~DeviceArray() { cudaFree(data); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
};

template <class T>
struct PinnedArray {
  T* data = nullptr;
  std::size_t count;

  explicit PinnedArray(std::size_t num) : count(num) {
    EXPECT_EQ(cudaMallocHost(reinterpret_cast<void**>(&data), num * sizeof(T)), cudaSuccess);
  }
  ~PinnedArray() { cudaFreeHost(data); }
  PinnedArray(const PinnedArray&) = delete;
  PinnedArray& operator=(const PinnedArray&) = delete;
  T& operator[](std::size_t i) { return data[i]; }
  T* begin() { return data; }
  T* end() { return data + count; }
};

struct OwnStream {
  cudaStream_t handle = nullptr;

  OwnStream() { cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking); }
  ~OwnStream() { cudaStreamDestroy(handle); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  operator cudaStream_t() const { return handle; }
};

struct OwnEvent {
  cudaEvent_t handle = nullptr;

  explicit OwnEvent(unsigned flags = cudaEventDisableTiming) {
    cudaEventCreateWithFlags(&handle, flags);
  }
  ~OwnEvent() { cudaEventDestroy(handle); }
  OwnEvent(const OwnEvent&) = delete;
  OwnEvent& operator=(const OwnEvent&) = delete;
  operator cudaEvent_t() const { return handle; }
};

template <class T>
void upload(DeviceArray<T>& to, PinnedArray<T>& from, cudaStream_t stream) {
  cudaMemcpyAsync(to.data, from.data, from.count * sizeof(T), cudaMemcpyHostToDevice, stream);
}

template <class T>
void download(PinnedArray<T>& to, DeviceArray<T>& from, cudaStream_t stream) {
  cudaMemcpyAsync(to.data, from.data, to.count * sizeof(T), cudaMemcpyDeviceToHost, stream);
}

/// Each test starts with the default options and collects the faults. A test that expects some
/// clears them.
class EmulatedTest : public ::testing::Test {
 protected:
  EmulatedTest() {
    ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
    options() = Options{};
    set_fault_handler([this](const std::string& text) { faults_.push_back(text); });
  }
  ~EmulatedTest() override {
    set_fault_handler(nullptr);
    for (const std::string& fault : faults_)
      ADD_FAILURE() << fault;
  }

  /// How many of the seeds give a wrong result. `is_right` returns whether its result is right.
  static int count_wrong(const std::function<bool()>& is_right) {
    int num_wrong = 0;
    for (int seed = 0; seed < num_seeds; ++seed) {
      set_seed(static_cast<std::uint64_t>(seed));
      num_wrong += is_right() ? 0 : 1;
    }
    return num_wrong;
  }

  /// A race gives a wrong result under some seed, and ThreadSanitizer reports it.
  static void expect_race(const std::function<bool()>& is_right) {
    if (has_race_detector) {
      EXPECT_DEATH(count_wrong(is_right), "data race");
    } else {
      EXPECT_GT(count_wrong(is_right), 0);
    }
  }

  /// At least one fault, and each has this text in it. Forgets them.
  void expect_faults(const std::string& text) {
    EXPECT_FALSE(faults_.empty()) << "no fault with: " << text;
    for (const std::string& fault : faults_)
      EXPECT_NE(fault.find(text), std::string::npos) << fault;
    faults_.clear();
  }

  std::vector<std::string> faults_;
};

}  // namespace tetrarch::emulated
