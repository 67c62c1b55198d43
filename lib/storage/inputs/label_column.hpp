/// One value per sequence, such as its offset or status. The values are in the column's own memory
/// while it is built, and may then be replaced by a copy that all ranks of a node share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <initializer_list>
#include <span>
#include <vector>

namespace tetrarch::storage {

template <class T>
class LabelColumn {
 public:
  LabelColumn() = default;
  LabelColumn(std::initializer_list<T> values) : own_(values) {}

  /// For building the column: the functions down to operator[] use its own memory.
  std::vector<T>& own() { return own_; }
  void push_back(T value) { own_.push_back(value); }
  void reserve(std::size_t count) { own_.reserve(count); }
  void resize(std::size_t count) { own_.resize(count); }
  T* data() { return own_.data(); }
  T& back() { return own_.back(); }
  T& operator[](std::size_t i) { return own_[i]; }

  std::span<const T> all() const { return is_elsewhere_ ? elsewhere_ : std::span<const T>(own_); }
  std::size_t size() const { return all().size(); }
  bool empty() const { return all().empty(); }
  const T& back() const { return all().back(); }
  const T& operator[](std::size_t i) const { return all()[i]; }

  /// From now on the values are those of `elsewhere`; the column's own memory is freed.
  void refer_to(std::span<const T> elsewhere) {
    own_ = {};
    elsewhere_ = elsewhere;
    is_elsewhere_ = true;
  }

 private:
  std::vector<T> own_;
  std::span<const T> elsewhere_;
  bool is_elsewhere_ = false;
};

}  // namespace tetrarch::storage
