/// Vectors of sixteen f32 lanes. On x86-64 they are one zmm, two ymm or four xmm registers, chosen
/// at run time. On other CPUs (aarch64) they are four 16-byte registers of the instruction set that
/// the compiler targets. A kernel is a template over the register width. The bits of a lane do not
/// depend on that width, and sums over lanes use one fixed tree.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "base/dtype.hpp"

#define TETRARCH_INLINE inline __attribute__((always_inline))

/// Defines `void name(const Args&, int64 begin, int64 end)`. It compiles name##_body<Width> once
/// for each instruction set and calls the best one for this CPU. The compiled functions are serial:
/// a parallel OpenMP loop inside them would lose the instruction set, because OpenMP moves loop
/// bodies into functions of their own.
#ifdef __x86_64__
#define TETRARCH_KERNEL(name, Args)                                                               \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))) static void name##_v4(   \
      const Args& args, std::int64_t begin, std::int64_t end) {                                   \
    name##_body<16>(args, begin, end);                                                            \
  }                                                                                               \
  __attribute__((target("avx2,fma"))) static void name##_v3(const Args& args, std::int64_t begin, \
                                                            std::int64_t end) {                   \
    name##_body<8>(args, begin, end);                                                             \
  }                                                                                               \
  static void name##_any(const Args& args, std::int64_t begin, std::int64_t end) {                \
    name##_body<4>(args, begin, end);                                                             \
  }                                                                                               \
  static void name(const Args& args, std::int64_t begin, std::int64_t end) {                      \
    switch (simd::active_isa()) {                                                                 \
      case simd::Isa::v4:                                                                         \
        return name##_v4(args, begin, end);                                                       \
      case simd::Isa::v3:                                                                         \
        return name##_v3(args, begin, end);                                                       \
      case simd::Isa::any:                                                                        \
        return name##_any(args, begin, end);                                                      \
    }                                                                                             \
  }
#else
#define TETRARCH_KERNEL(name, Args)                                          \
  static void name(const Args& args, std::int64_t begin, std::int64_t end) { \
    name##_body<4>(args, begin, end);                                        \
  }
#endif

namespace tetrarch::backend::cpu::simd {

/// any: the instruction set that the compiler targets; v3, v4: x86-64-v3 and x86-64-v4.
enum class Isa { any, v3, v4 };
/// The best instruction set of this CPU, unless a test has chosen a lesser one.
Isa active_isa();
/// A name such as "x86-64-v3" or "aarch64".
const char* name_of(Isa isa);

constexpr int lanes = 16;

template <int Width>
struct Native;
// clang-format off
template <> struct Native<4> {
  typedef float f32 __attribute__((vector_size(16)));
  typedef std::int32_t i32 __attribute__((vector_size(16)));
  typedef std::uint32_t u32 __attribute__((vector_size(16)));
  typedef std::uint16_t u16 __attribute__((vector_size(8)));
};
template <> struct Native<8> {
  typedef float f32 __attribute__((vector_size(32)));
  typedef std::int32_t i32 __attribute__((vector_size(32)));
  typedef std::uint32_t u32 __attribute__((vector_size(32)));
  typedef std::uint16_t u16 __attribute__((vector_size(16)));
};
template <> struct Native<16> {
  typedef float f32 __attribute__((vector_size(64)));
  typedef std::int32_t i32 __attribute__((vector_size(64)));
  typedef std::uint32_t u32 __attribute__((vector_size(64)));
  typedef std::uint16_t u16 __attribute__((vector_size(32)));
};
// clang-format on

template <int Width>
struct F32 {
  using Part = typename Native<Width>::f32;
  static constexpr int parts = lanes / Width;
  Part part[parts];
};
/// Sixteen i32 lanes; a mask has 0 or -1 in each lane.
template <int Width>
struct I32 {
  using Part = typename Native<Width>::i32;
  static constexpr int parts = lanes / Width;
  Part part[parts];
};

#define TETRARCH_EACH_PART(i) _Pragma("GCC unroll 4") for (int i = 0; i < lanes / Width; ++i)

template <int Width>
TETRARCH_INLINE F32<Width> splat(float value) {
  F32<Width> to;
  TETRARCH_EACH_PART(i) to.part[i] = value - typename F32<Width>::Part{};
  return to;
}
template <int Width>
TETRARCH_INLINE I32<Width> splat_int(std::int32_t value) {
  I32<Width> to;
  TETRARCH_EACH_PART(i) to.part[i] = value - typename I32<Width>::Part{};
  return to;
}

#define TETRARCH_OPERATOR(op)                                          \
  template <int Width>                                                 \
  TETRARCH_INLINE F32<Width> operator op(F32<Width> a, F32<Width> b) { \
    F32<Width> to;                                                     \
    TETRARCH_EACH_PART(i) to.part[i] = a.part[i] op b.part[i];         \
    return to;                                                         \
  }
TETRARCH_OPERATOR(+)
TETRARCH_OPERATOR(-)
TETRARCH_OPERATOR(*)
TETRARCH_OPERATOR(/)
#undef TETRARCH_OPERATOR

template <int Width>
TETRARCH_INLINE I32<Width> operator+(I32<Width> a, I32<Width> b) {
  I32<Width> to;
  TETRARCH_EACH_PART(i) to.part[i] = a.part[i] + b.part[i];
  return to;
}

#define TETRARCH_COMPARISON(op)                                                       \
  template <int Width>                                                                \
  TETRARCH_INLINE I32<Width> operator op(F32<Width> a, F32<Width> b) {                \
    I32<Width> to;                                                                    \
    TETRARCH_EACH_PART(i)                                                             \
    to.part[i] = reinterpret_cast<typename I32<Width>::Part>(a.part[i] op b.part[i]); \
    return to;                                                                        \
  }                                                                                   \
  template <int Width>                                                                \
  TETRARCH_INLINE I32<Width> operator op(I32<Width> a, I32<Width> b) {                \
    I32<Width> to;                                                                    \
    TETRARCH_EACH_PART(i) to.part[i] = a.part[i] op b.part[i];                        \
    return to;                                                                        \
  }
TETRARCH_COMPARISON(<)
TETRARCH_COMPARISON(>)
TETRARCH_COMPARISON(==)
#undef TETRARCH_COMPARISON

template <int Width>
TETRARCH_INLINE F32<Width> select(I32<Width> mask, F32<Width> yes, F32<Width> no) {
  F32<Width> to;
  TETRARCH_EACH_PART(i) to.part[i] = mask.part[i] ? yes.part[i] : no.part[i];
  return to;
}
template <int Width>
TETRARCH_INLINE I32<Width> select(I32<Width> mask, I32<Width> yes, I32<Width> no) {
  I32<Width> to;
  TETRARCH_EACH_PART(i) to.part[i] = mask.part[i] ? yes.part[i] : no.part[i];
  return to;
}
/// a * b + c, fused if the instruction set can (kernels are compiled with -ffp-contract=fast).
template <int Width>
TETRARCH_INLINE F32<Width> fma(F32<Width> a, F32<Width> b, F32<Width> c) {
  F32<Width> to;
  TETRARCH_EACH_PART(i) to.part[i] = a.part[i] * b.part[i] + c.part[i];
  return to;
}
/// The maximum. A NaN in `a` is kept; a NaN in `b` is ignored.
template <int Width>
TETRARCH_INLINE F32<Width> max(F32<Width> a, F32<Width> b) {
  return select(b > a, b, a);
}

template <int Width>
TETRARCH_INLINE F32<Width> load(const float* from) {
  F32<Width> to;  // part by part: GCC copies the whole struct through smaller registers
  TETRARCH_EACH_PART(i) std::memcpy(&to.part[i], from + i * Width, sizeof to.part[i]);
  return to;
}
template <int Width>
TETRARCH_INLINE F32<Width> load(const base::bf16* from) {
  F32<Width> to;
  TETRARCH_EACH_PART(i) {
    typename Native<Width>::u16 half;
    std::memcpy(&half, from + i * Width, sizeof half);
    to.part[i] = reinterpret_cast<typename F32<Width>::Part>(
        __builtin_convertvector(half, typename Native<Width>::u32) << 16);
  }
  return to;
}
template <int Width>
TETRARCH_INLINE I32<Width> load(const std::int32_t* from) {
  I32<Width> to;
  TETRARCH_EACH_PART(i) std::memcpy(&to.part[i], from + i * Width, sizeof to.part[i]);
  return to;
}
template <int Width>
TETRARCH_INLINE void store(F32<Width> from, float* to) {
  TETRARCH_EACH_PART(i) std::memcpy(to + i * Width, &from.part[i], sizeof from.part[i]);
}
template <int Width>
TETRARCH_INLINE void store(I32<Width> from, std::int32_t* to) {
  TETRARCH_EACH_PART(i) std::memcpy(to + i * Width, &from.part[i], sizeof from.part[i]);
}
/// Rounds f32 to bf16, to nearest, ties to even, as base::to_bf16() does. Returns the bf16 bits.
template <int Width>
TETRARCH_INLINE typename Native<Width>::u32 bf16_bits(typename F32<Width>::Part value) {
  using U32 = typename Native<Width>::u32;
  const U32 bits = reinterpret_cast<U32>(value);
  const U32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U32 quiet_nan = (bits >> 16) | 0x40u;
  return value == value ? rounded : quiet_nan;
}
template <int Width>
TETRARCH_INLINE void store(F32<Width> from, base::bf16* to) {
  TETRARCH_EACH_PART(i) {
    const auto half =
        __builtin_convertvector(bf16_bits<Width>(from.part[i]), typename Native<Width>::u16);
    std::memcpy(static_cast<void*>(to + i * Width), &half, sizeof half);
  }
}
/// Loads the first `count` lanes from memory; the other lanes are `fill`.
template <int Width, class T>
TETRARCH_INLINE F32<Width> load_some(const T* from, std::int64_t count, float fill = 0) {
  if (count >= lanes) return load<Width>(from);
  float all[lanes];
  for (int i = 0; i < lanes; ++i)
    all[i] = fill;
  for (std::int64_t i = 0; i < count; ++i) {
    if constexpr (sizeof(T) == 2)
      all[i] = base::to_float(from[i]);
    else
      all[i] = from[i];
  }
  return load<Width>(all);
}
template <int Width, class T>
TETRARCH_INLINE void store_some(F32<Width> from, T* to, std::int64_t count) {
  if (count >= lanes) return store(from, to);
  T all[lanes];
  store(from, all);
  for (std::int64_t i = 0; i < count; ++i)
    to[i] = all[i];
}
/// Rounds to T: the value that a store to T and a load give.
template <int Width, class T>
TETRARCH_INLINE F32<Width> rounded_to(F32<Width> value) {
  if constexpr (sizeof(T) == 2) TETRARCH_EACH_PART(i)
  value.part[i] =
      reinterpret_cast<typename F32<Width>::Part>(bf16_bits<Width>(value.part[i]) << 16);
  return value;
}

/// Sums the lanes by a fixed tree: lane i with i + 8, then with i + 4, i + 2, i + 1.
template <int Width>
TETRARCH_INLINE float sum_of_lanes(F32<Width> value) {
  float all[lanes];
  store(value, all);
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i)
      all[i] += all[i + half];
  return all[0];
}
/// The largest lane; NaN lanes count as -inf.
template <int Width>
TETRARCH_INLINE float max_of_lanes(F32<Width> value) {
  float all[lanes];
  store(value, all);
  float best = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < lanes; ++i)
    best = all[i] > best ? all[i] : best;
  return best;
}

/// e^x, with an error below 2 ulp; exp(-inf) = 0, exp(0) = 1, NaN stays NaN. The argument is
/// reduced by ln 2 in two parts; the polynomial is that of Moshier's Cephes library (expf).
template <int Width>
TETRARCH_INLINE F32<Width> exp(F32<Width> x) {
  const auto low = splat<Width>(-104.0f), high = splat<Width>(89.0f);
  x = select(x < low, low, x);
  x = select(x > high, high, x);
  const auto magic = splat<Width>(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const auto shifted = fma(x, splat<Width>(1.44269504088896341f), magic);
  const auto n = shifted - magic;
  auto r = fma(n, splat<Width>(-0.693359375f), x);
  r = fma(n, splat<Width>(2.12194440e-4f), r);
  auto p = splat<Width>(1.9875691500e-4f);
  p = fma(p, r, splat<Width>(1.3981999507e-3f));
  p = fma(p, r, splat<Width>(8.3334519073e-3f));
  p = fma(p, r, splat<Width>(4.1665795894e-2f));
  p = fma(p, r, splat<Width>(1.6666665459e-1f));
  p = fma(p, r, splat<Width>(5.0000001201e-1f));
  p = fma(p, r * r, r) + splat<Width>(1.0f);
  F32<Width> to;
  TETRARCH_EACH_PART(i) {
    using Int = typename I32<Width>::Part;
    using Float = typename F32<Width>::Part;
    const Int exponent = reinterpret_cast<Int>(shifted.part[i]) - 0x4b400000;
    // scales by two factors, so that denormal results round only once
    const Int half = exponent >> 1;
    const Float first = reinterpret_cast<Float>((half + 127) << 23);
    const Float second = reinterpret_cast<Float>((exponent - half + 127) << 23);
    to.part[i] = p.part[i] * first * second;
  }
  return to;
}

}  // namespace tetrarch::backend::cpu::simd
