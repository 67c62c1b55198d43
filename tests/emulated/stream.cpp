// SPDX-License-Identifier: Apache-2.0
#include "emulated/stream.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "emulated/device_memory.hpp"
#include "emulated/fault.hpp"
#include "emulated/settings.hpp"

namespace tetrarch::emulated {
namespace {

std::vector<std::unique_ptr<Stream>>& streams() {
  static std::vector<std::unique_ptr<Stream>> streams;
  return streams;
}

thread_local bool is_in_operation = false;
std::chrono::steady_clock::time_point step_time;

/// One step of a random stream that can go on. False: none can.
bool advance_any() {
  const std::size_t count = streams().size();
  if (count == 0) return false;
  const std::size_t first = draw(static_cast<std::uint32_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    Stream& stream = *streams()[(first + i) % count];
    if (!stream.is_idle() && stream.advance() != Step::blocked) return true;
  }
  return false;
}

}  // namespace

Stream::~Stream() {
  if (order_) order::destroy(order_);
}

void Stream::push(Operation operation) {
  order::release(*operation.enqueued);
  operations_.push_back(std::move(operation));
  advance_eagerly();
}

Step Stream::advance() {
  Operation& operation = operations_.front();
  operation.is_host_function ? device_memory().close() : device_memory().open();
  step_time = std::chrono::steady_clock::now();
  Step step = Step::blocked;
  {
    const order::As as_stream(order_);
    order::acquire(*operation.enqueued);
    is_in_operation = true;
    step = operation.run();
    is_in_operation = false;
    if (step == Step::done) {
      operation.run = nullptr;  // frees what the operation owns, as the stream
      order::release(done_);
    }
  }
  if (step != Step::done) return step;
  operations_.pop_front();
  ++counters().operations;
  return step;
}

cudaStream_t create_stream(int priority) {
  streams().push_back(std::make_unique<Stream>(priority));
  return reinterpret_cast<cudaStream_t>(streams().back().get());
}

Stream* find_stream(cudaStream_t handle) {
  for (const auto& stream : streams())
    if (reinterpret_cast<cudaStream_t>(stream.get()) == handle) return stream.get();
  return nullptr;
}

void destroy_stream(cudaStream_t handle) {
  std::erase_if(streams(), [&](const auto& stream) {
    return reinterpret_cast<cudaStream_t>(stream.get()) == handle;
  });
}

void advance_eagerly() {
  if (is_in_operation) return;
  while (draw_eager() && advance_any()) {
  }
}

void advance_once() {
  if (!is_in_operation) advance_any();
}

bool advance_until(const std::function<bool()>& is_done) {
  if (is_in_operation) return false;  // Call has reported it
  while (!is_done()) {
    if (advance_any()) continue;
    if (options().idle) {
      options().idle();
      continue;
    }
    std::string text = "the host waits for ever:";
    for (const auto& stream : streams())
      if (!stream->is_idle()) text += " a stream cannot go on with: " + stream->first() + ";";
    report_fault(text);
    return false;
  }
  return true;
}

bool drain(Stream& stream) {
  if (!advance_until([&] { return stream.is_idle(); })) return false;
  stream.seen_idle();
  return true;
}

bool drain_all() {
  return std::all_of(streams().begin(), streams().end(),
                     [](const auto& stream) { return drain(*stream); });
}

std::chrono::steady_clock::time_point time_of_step() {
  return step_time;
}

bool is_advancing() {
  return is_in_operation;
}

}  // namespace tetrarch::emulated
