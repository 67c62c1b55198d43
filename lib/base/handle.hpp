/// A move-only owner of a resource of a C library; the destructor closes it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

namespace tetrarch::base {

/// T is a value that is cheap to copy (an id, a pointer). Close is a stateless functor with
/// `void operator()(T) noexcept`, which closes the resource, and `static T empty()`, the value of a
/// handle that owns nothing.
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
  /// Gives the resource to the caller, who must then close it.
  T release() { return std::exchange(value_, Close::empty()); }
  /// Closes the resource now.
  void reset() noexcept {
    if (has_value()) Close{}(std::exchange(value_, Close::empty()));
  }

 private:
  T value_ = Close::empty();
};

}  // namespace tetrarch::base
