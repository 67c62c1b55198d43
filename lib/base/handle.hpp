/// A move-only owner of something that a C library gives out and wants closed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

namespace tetrarch::base {

/// T: a cheap value (id, pointer). Close: a stateless functor with `void operator()(T) noexcept`
/// and `static T empty()`, the value that owns nothing.
template <class T, class Close>
class Handle {
 public:
  Handle() = default;
  explicit Handle(T value) : value_(value) {}
  Handle(Handle&& other) noexcept : value_(std::exchange(other.value_, Close::empty())) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      value_ = std::exchange(other.value_, Close::empty());
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  T get() const { return value_; }
  bool has_value() const { return !(value_ == Close::empty()); }
  T release() { return std::exchange(value_, Close::empty()); }
  void reset() noexcept {
    if (has_value()) Close{}(std::exchange(value_, Close::empty()));
  }

 private:
  T value_ = Close::empty();
};

}  // namespace tetrarch::base
