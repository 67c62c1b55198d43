// Applies the activations of expert networks, and multiplies by the result of the up projection.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "backend/cpu/kernels/activation_lanes.hpp"
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::lanes;

struct ActivationArgs {
  Tensor gate, up, out;
  ActivationKind kind;
  std::int64_t first_row = 0, first_column = 0;  // of out: the position of gate's first value
};

/// Activates `count` values of a row; `up` may be null.
template <ActivationKind Kind, int Width, class T>
TETRARCH_INLINE void activate_columns(const T* gate, const T* up, std::int64_t count, T* out) {
  const auto some = [&](std::int64_t at, std::int64_t left) {
    auto value = act<Kind>(simd::load_some<Width>(gate + at, left));
    if (up != nullptr)
      value = simd::rounded_to<Width, T>(value) * simd::load_some<Width>(up + at, left);
    simd::store_some(value, out + at, left);
  };
  const std::int64_t whole = count / lanes * lanes;
#pragma GCC unroll 2
  for (std::int64_t c = 0; c < whole; c += lanes)
    some(c, lanes);
  if (whole < count) some(whole, count - whole);
}

/// Activates rows [begin, end). A row is cut where a slice of `out` ends, because `out` stores each
/// slice of a row contiguously.
template <ActivationKind Kind, int Width, class T>
TETRARCH_INLINE void activate_rows(const ActivationArgs& args, std::int64_t begin,
                                   std::int64_t end) {
  const Tensor& to = args.out;
  const std::int64_t columns = args.gate.columns;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* gate = static_cast<const T*>(args.gate.data) + row * columns;
    const T* up =
        args.up.is_absent() ? nullptr : static_cast<const T*>(args.up.data) + row * columns;
    for (std::int64_t from = 0; from < columns;) {
      const std::int64_t slice = (args.first_column + from) / to.columns;
      const std::int64_t column = (args.first_column + from) % to.columns;
      const std::int64_t width = std::min(columns - from, to.columns - column);
      T* out =
          static_cast<T*>(to.data) + (slice * to.rows + args.first_row + row) * to.columns + column;
      activate_columns<Kind, Width>(gate + from, up == nullptr ? up : up + from, width, out);
      from += width;
    }
  }
}

template <ActivationKind Kind, int Width>
TETRARCH_INLINE void activate_as(const ActivationArgs& args, std::int64_t begin, std::int64_t end) {
  if (args.gate.dtype == base::DType::f32)
    activate_rows<Kind, Width, float>(args, begin, end);
  else
    activate_rows<Kind, Width, base::bf16>(args, begin, end);
}

template <int Width>
TETRARCH_INLINE void activate_range_body(const ActivationArgs& args, std::int64_t begin,
                                         std::int64_t end) {
  switch (args.kind) {
    case ActivationKind::silu:
      return activate_as<ActivationKind::silu, Width>(args, begin, end);
    case ActivationKind::gelu_tanh:
      return activate_as<ActivationKind::gelu_tanh, Width>(args, begin, end);
    case ActivationKind::gelu:
      return activate_as<ActivationKind::gelu, Width>(args, begin, end);
  }
}
TETRARCH_KERNEL(activate_range, ActivationArgs)

}  // namespace

void activate_part(const Tensor& gate, const Tensor& up, ActivationKind kind, const Tensor& out,
                   std::int64_t first_row, std::int64_t first_column) {
  activate_range({gate, up, out, kind, first_row, first_column}, 0, gate.rows);
}

void activation(const Tensor& gate, const Tensor& up, ActivationKind kind, const Tensor& out) {
  const ActivationArgs args{gate, up, out, kind};
  for_ranges(gate.rows, 4 * gate.columns,
             [&](std::int64_t begin, std::int64_t end) { activate_range(args, begin, end); });
}

}  // namespace tetrarch::backend::cpu
