/// Attributes of functions that use AVX512-BF16. Call such a function only if active_bf16_kernels()
/// returns avx512_bf16.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#define TETRARCH_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define TETRARCH_BF16_INLINE inline TETRARCH_BF16 __attribute__((always_inline))
