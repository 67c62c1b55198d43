// Unpacks compressed inputs into the run folder.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/spool.hpp"

#include <cerrno>
#include <chrono>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/stop_signal.hpp"
#include "base/text.hpp"
#include "storage/files/disk_space.hpp"
#include "storage/files/durable.hpp"
#include "storage/files/packed_file.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;
using base::ExitCode;

void write_all(const Descriptor& file, const std::string& path, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_file(path, "written", errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void refuse_scarce_space(const std::string& run_dir, std::int64_t needed_bytes) {
  const auto free = free_bytes(run_dir);
  if (!free || *free >= needed_bytes) return;
  throw base::SystemError(
      ExitCode::resources,
      fmt::format("{}: too little space to unpack the compressed inputs (they need {}, but only {} "
                  "are free there). Free some space, or use another --out.",
                  run_dir, base::bytes_text(needed_bytes), base::bytes_text(*free)));
}

base::Refusal has_changed(const std::string& path) {
  return base::Refusal(ExitCode::input,
                       fmt::format("{}: has changed since the run began (its content is different "
                                   "now). Start the run again.",
                                   path));
}

}  // namespace

std::string spool_folder(const std::string& run_dir) {
  return run_dir + "/.tmp-spool";
}

Spool::Spool(const InputSet& inputs, const std::string& run_dir, base::Log& log)
    : folder_(spool_folder(run_dir)) {
  if (inputs.packed().empty()) return;
  const auto started = std::chrono::steady_clock::now();
  refuse_scarce_space(run_dir, inputs.unpacked_bytes());
  std::error_code error;
  fs::create_directory(folder_, error);
  if (error) fail_file(folder_, "made", error.value());
  try {
    for (const PackedInput& packed : inputs.packed())
      unpack(inputs.files()[packed.file], packed);
  } catch (...) {
    fs::remove_all(folder_, error);
    throw;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  log.say("spool    {}: {} of {} compressed file{} in {}", folder_,
          base::bytes_text(inputs.unpacked_bytes()), inputs.packed().size(),
          inputs.packed().size() == 1 ? "" : "s", base::duration_text(seconds.count()));
}

Spool::~Spool() {
  std::error_code error;
  fs::remove_all(folder_, error);
}

void Spool::unpack(const std::string& path, const PackedInput& packed) const {
  constexpr std::size_t block_bytes = std::size_t{1} << 20;
  const std::string to = folder_ + "/" + InputSet::unpacked_name(packed.file);
  const auto source = open_packed(path, packed.format);
  Xxh3 hash;
  std::uint64_t done = 0;
  std::string block(block_bytes, '\0');
  const Descriptor file(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.has_value()) fail_file(to, "made", errno);
  while (done < packed.inside.bytes) {
    base::refuse_when_stopped("the inputs were unpacked");
    const std::string_view bytes(block.data(), source->read(block.data(), block.size()));
    if (bytes.empty()) break;
    hash.update(bytes);
    with_space(to, static_cast<std::int64_t>(packed.inside.bytes),
               [&] { write_all(file, to, bytes); });
    done += bytes.size();
  }
  char more = 0;
  if (done != packed.inside.bytes || source->read(&more, 1) > 0 ||
      hash.digest() != packed.inside.xxh3)
    throw has_changed(path);
}

}  // namespace tetrarch::storage
