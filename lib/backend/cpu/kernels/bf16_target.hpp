/// Marks functions that use AVX512-BF16; to be called where active_bf16_kernels() says so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#define TETRARCH_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define TETRARCH_BF16_INLINE inline TETRARCH_BF16 __attribute__((always_inline))
