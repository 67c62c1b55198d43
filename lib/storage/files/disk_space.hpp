/// Free space where results are written, and the messages when there is too little.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/log.hpp"

namespace tetrarch::storage {

/// Bytes that this user may still write on the file system of `path`. If `path` does not exist, its
/// nearest existing parent folder counts. Absent if the file system does not tell.
std::optional<std::int64_t> free_bytes(const std::string& path);

/// Runs `write`, which makes the file `path` of about `needed_bytes`. If `write` throws, removes
/// the file and throws SystemError: with the code of a SystemError that was thrown, and with
/// `resources` instead of a Refusal. A message with code `resources` also says how many bytes
/// are needed and how many are free.
void with_space(const std::string& path, std::int64_t needed_bytes,
                const std::function<void()>& write);

/// Logs a note if fewer than `needed_bytes` are free where `folder` is.
void note_scarce_space(const std::string& folder, std::int64_t needed_bytes, base::Log& log);

}  // namespace tetrarch::storage
