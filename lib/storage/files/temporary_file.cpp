// A file that gets its name only when it is complete.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/temporary_file.hpp"

#include <filesystem>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "base/text.hpp"
#include "storage/files/durable.hpp"

namespace tetrarch::storage {
namespace {

/// In the same folder, so that a rename gives the file its final name.
std::string new_name(const std::string& path) {
  return fmt::format("{}/.tmp-{}-{}", folder_of(path), base::make_uuid().substr(0, 8),
                     std::filesystem::path(path).filename().string());
}

}  // namespace

TemporaryFile::TemporaryFile(const std::string& path) : TemporaryFile(path, new_name(path)) {}

TemporaryFile::TemporaryFile(std::string path, std::string temporary)
    : final_(std::move(path)), temporary_(std::move(temporary)), removed_on_signal_(temporary_) {}

TemporaryFile::~TemporaryFile() {
  ::unlink(temporary_.c_str());
}

void TemporaryFile::publish() {
  storage::publish(temporary_, final_);
}

}  // namespace tetrarch::storage
