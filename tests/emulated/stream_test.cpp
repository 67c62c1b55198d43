// Streams advance late and in a random order; what orders them too little is found.
// SPDX-License-Identifier: Apache-2.0
#include "emulated/stream.hpp"

#include <atomic>
#include <numeric>
#include <thread>

#include "emulated/kernels_under_test.hpp"
#include "emulated/support.hpp"

namespace tetrarch::emulated {
namespace {

using StreamTest = EmulatedTest;

enum class Waits { yes, no };

/// An upload on one stream, a kernel and a download on another.
bool scales_on_two_streams(Waits waits) {
  constexpr int count = 500;
  OwnStream copies, kernels;
  OwnEvent uploaded;
  PinnedArray<float> in(count), out(count);
  DeviceArray<float> device(count);
  std::iota(in.begin(), in.end(), 1.0f);

  upload(device, in, copies);
  cudaEventRecord(uploaded, copies);
  if (waits == Waits::yes) cudaStreamWaitEvent(kernels, uploaded, 0);
  scale(kernels, device.data, count, 2);
  download(out, device, kernels);
  cudaStreamSynchronize(kernels);

  bool is_right = true;
  for (std::size_t i = 0; i < count; ++i)
    is_right &= out[i] == 2 * in[i];
  cudaDeviceSynchronize();
  return is_right;
}

/// A kernel on one stream changes what a kernel on another has written.
bool scales_twice(Waits waits) {
  constexpr int count = 500;
  OwnStream a, b;
  OwnEvent written;
  PinnedArray<float> out(count);
  DeviceArray<float> device(count);

  fill(a, device.data, count, 3);
  cudaEventRecord(written, a);
  if (waits == Waits::yes) cudaStreamWaitEvent(b, written, 0);
  scale(b, device.data, count, 2);
  download(out, device, b);
  cudaStreamSynchronize(b);

  const bool is_right = out[0] == 6 && out[count - 1] == 6;
  cudaDeviceSynchronize();
  return is_right;
}

/// Two uploads through one staging buffer.
bool uploads_twice(Waits waits) {
  constexpr int count = 500;
  OwnStream stream;
  OwnEvent staging_is_free;
  PinnedArray<float> staging(count), out(count);
  DeviceArray<float> first(count), second(count);

  std::fill(staging.begin(), staging.end(), 1.0f);
  upload(first, staging, stream);
  cudaEventRecord(staging_is_free, stream);
  if (waits == Waits::yes) cudaEventSynchronize(staging_is_free);
  std::fill(staging.begin(), staging.end(), 2.0f);
  upload(second, staging, stream);
  download(out, first, stream);
  cudaStreamSynchronize(stream);

  return out[0] == 1 && out[count - 1] == 1;
}

/// A result that the host reads.
bool downloads(Waits waits) {
  constexpr int count = 500;
  OwnStream stream;
  PinnedArray<float> out(count);
  DeviceArray<float> device(count);

  cudaMemsetAsync(device.data, 0, count * sizeof(float), stream);
  download(out, device, stream);
  if (waits == Waits::yes) cudaStreamSynchronize(stream);
  const bool is_right = out[count - 1] == 0;
  cudaStreamSynchronize(stream);
  return is_right;
}

TEST_F(StreamTest, RightProgramsAreRightUnderAllSeeds) {
  EXPECT_EQ(count_wrong([] { return scales_on_two_streams(Waits::yes); }), 0);
  EXPECT_EQ(count_wrong([] { return scales_twice(Waits::yes); }), 0);
  EXPECT_EQ(count_wrong([] { return uploads_twice(Waits::yes); }), 0);
  EXPECT_EQ(count_wrong([] { return downloads(Waits::yes); }), 0);
}

TEST_F(StreamTest, AForgottenEventIsFound) {
  expect_race([] { return scales_on_two_streams(Waits::no); });
}

TEST_F(StreamTest, AForgottenEventBetweenTwoKernelsIsFound) {
  expect_race([] { return scales_twice(Waits::no); });
}

TEST_F(StreamTest, StagingThatIsUsedAgainBeforeItsCopyRanIsFound) {
  expect_race([] { return uploads_twice(Waits::no); });
}

TEST_F(StreamTest, AResultThatIsReadTooEarlyIsFound) {
  expect_race([] { return downloads(Waits::no); });
}

TEST_F(StreamTest, EagernessSaysWhenOperationsRun) {
  OwnStream stream;
  DeviceArray<int> device(10);

  options().eagerness = 0;
  cudaMemsetAsync(device.data, 0, 40, stream);
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);  // which runs one operation
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);

  options().eagerness = 100;
  cudaMemsetAsync(device.data, 0, 40, stream);
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
}

TEST_F(StreamTest, EventsAreAskedAndWaitedFor) {
  options().eagerness = 0;
  OwnStream stream;
  OwnEvent event;
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);  // never recorded

  cudaEventRecord(event, stream);

  EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
}

TEST_F(StreamTest, EventsWithTimingMeasure) {
  OwnStream stream;
  OwnEvent begin(cudaEventDefault), end(cudaEventDefault), without_timing;
  const auto sleep = [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  float milliseconds = 0;

  cudaEventRecord(begin, stream);
  cudaLaunchHostFunc(stream, sleep, nullptr);
  cudaEventRecord(end, stream);
  cudaEventRecord(without_timing, stream);
  cudaStreamSynchronize(stream);

  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
  EXPECT_GE(milliseconds, 5);
  EXPECT_NE(cudaEventElapsedTime(&milliseconds, begin, without_timing), cudaSuccess);
  expect_faults("without timing");
}

TEST_F(StreamTest, AWaitForAnEventThatWasNeverRecordedIsAFault) {
  OwnStream stream;
  OwnEvent event;

  cudaStreamWaitEvent(stream, event, 0);

  expect_faults("never recorded");
}

TEST_F(StreamTest, AWaitIsForTheRecordBeforeIt) {
  OwnStream a, b;
  OwnEvent event;

  cudaEventRecord(event, a);
  cudaStreamWaitEvent(b, event, 0);
  cudaEventRecord(event, b);  // if b waited for this, it would wait for itself

  EXPECT_EQ(cudaStreamSynchronize(b), cudaSuccess);
}

TEST_F(StreamTest, AStreamThatCanNeverGoOnIsAFault) {
  OwnStream stream;
  std::atomic<bool> may_go_on = false;
  find_stream(stream)->push(
      {[] { return "a receive"; }, [&] { return may_go_on ? Step::done : Step::blocked; }});

  EXPECT_NE(cudaStreamSynchronize(stream), cudaSuccess);

  expect_faults("a stream cannot go on with: a receive");
  may_go_on = true;
}

TEST_F(StreamTest, IdleIsCalledWhileAStreamWaitsForAnotherProcess) {
  OwnStream stream;
  std::atomic<int> num_idle = 0;
  options().idle = [&] { ++num_idle; };
  find_stream(stream)->push(
      {[] { return "a receive"; }, [&] { return num_idle == 3 ? Step::done : Step::blocked; }});

  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);

  EXPECT_EQ(num_idle.load(), 3);
}

TEST_F(StreamTest, HostFunctionsRunInOrderAndMustNotCallCuda) {
  OwnStream stream;
  int value = 1;
  const auto twice = [](void* data) { *static_cast<int*>(data) *= 2; };
  const auto add = [](void* data) { *static_cast<int*>(data) += 5; };
  cudaLaunchHostFunc(stream, twice, &value);
  cudaLaunchHostFunc(stream, add, &value);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(value, 7);

  cudaLaunchHostFunc(
      stream, [](void*) { cudaDeviceSynchronize(); }, nullptr);
  cudaStreamSynchronize(stream);
  expect_faults("a host function of a stream calls CUDA");
}

TEST_F(StreamTest, AQueryDoesNotWaitForAThreadThatWaits) {
  options().eagerness = 0;
  OwnStream stream;
  OwnEvent event;
  std::atomic<bool> has_begun = false, may_end = false;
  std::atomic<cudaError_t> answer = cudaSuccess;
  cudaEventRecord(event, stream);
  find_stream(stream)->push({[] { return "a slow kernel"; },
                             [&] {
                               has_begun = true;
                               while (!may_end)
                                 std::this_thread::yield();
                               return Step::done;
                             }});
  std::thread watcher([&] {
    while (!has_begun)
      std::this_thread::yield();
    answer = cudaEventQuery(event);
    may_end = true;
  });

  cudaStreamSynchronize(stream);
  watcher.join();

  EXPECT_EQ(answer.load(), cudaErrorNotReady);
}

TEST_F(StreamTest, WaitsOfTheHostAreCounted) {
  OwnStream stream;
  OwnEvent event;
  const std::int64_t before = counters().host_waits;

  cudaEventRecord(event, stream);
  cudaEventQuery(event);
  cudaEventSynchronize(event);
  cudaStreamSynchronize(stream);

  EXPECT_EQ(counters().host_waits - before, 2);
}

TEST_F(StreamTest, PrioritiesHaveARange) {
  int lowest = 0, highest = 0, priority = 0;
  cudaDeviceGetStreamPriorityRange(&lowest, &highest);
  ASSERT_LT(highest, lowest);
  cudaStream_t stream = nullptr;

  EXPECT_EQ(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest), cudaSuccess);
  cudaStreamGetPriority(stream, &priority);
  EXPECT_EQ(priority, highest);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_NE(cudaStreamSynchronize(stream), cudaSuccess);
  expect_faults("a stream that does not exist");
}

}  // namespace
}  // namespace tetrarch::emulated
