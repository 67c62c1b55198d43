/// How much room there is where results are written, and what is said when there is too little.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "storage/results_layout.hpp"

namespace tetrarch::storage {

/// Bytes that the file system of `path`, which need not exist yet, has left for this user.
std::optional<std::int64_t> free_bytes(const std::string& path);

/// Runs `write`, which makes the temporary file `path` of about `needed_bytes`. When that fails the
/// file is removed, and what was thrown becomes a SystemError that, where it is one of resources,
/// also says how much was needed and how much is free.
void with_space(const std::string& path, std::int64_t needed_bytes,
                const std::function<void()>& write);

/// Bytes of the datasets of `layout` with so many sequences and tokens.
std::int64_t payload_bytes(const std::vector<DatasetPlan>& layout, std::int64_t num_sequences,
                           std::int64_t num_tokens);
/// A note when `folder` has not room for so many bytes more.
void note_scarce_space(const std::string& folder, std::int64_t needed_bytes, base::Log& log);

}  // namespace tetrarch::storage
