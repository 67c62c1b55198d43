// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_limit.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

namespace tetrarch::engine {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t unknown = std::numeric_limits<std::int64_t>::max();
// for no limit, cgroups v1 writes a number near 2^63
constexpr std::int64_t no_limit = std::int64_t{1} << 62;

std::int64_t available_on_node() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  std::int64_t kib = 0;
  while (file >> key >> kib && std::getline(file, unit))
    if (key == "MemAvailable:") return kib * 1024;
  return unknown;
}

std::int64_t number_in(const fs::path& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : unknown;  // "max" means no limit and is not a number
}

/// The file names of one version of cgroups.
struct Dialect {
  const char *limit, *used, *cache_prefix;
};
constexpr Dialect version_2{"memory.max", "memory.current", ""};
constexpr Dialect version_1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_"};

/// Bytes of file cache of a group and the groups below it. The kernel frees them before it refuses
/// memory.
std::int64_t cache_bytes(const fs::path& group, const Dialect& dialect) {
  const std::string prefix = dialect.cache_prefix;
  std::ifstream file(group / "memory.stat");
  std::string key;
  std::int64_t value = 0, bytes = 0;
  while (file >> key >> value)
    if (key == prefix + "inactive_file" || key == prefix + "active_file") bytes += value;
  return bytes;
}

std::int64_t available_in(const fs::path& group, const Dialect& dialect) {
  const std::int64_t limit = number_in(group / dialect.limit);
  const std::int64_t used = number_in(group / dialect.used);
  if (limit >= no_limit || used == unknown) return unknown;
  const std::int64_t held = std::max<std::int64_t>(0, used - cache_bytes(group, dialect));
  return std::max<std::int64_t>(1, limit - held);
}

/// The least of the memory available in `group` and in all groups above it, up to the mount point.
/// In a container, the upper part of the path may not be mounted; a group that does not exist sets
/// no limit.
std::int64_t least_upwards(const fs::path& mount, fs::path group, const Dialect& dialect) {
  std::int64_t least = available_in(mount, dialect);
  for (; !group.empty(); group = group.parent_path())
    least = std::min(least, available_in(mount / group, dialect));
  return least;
}

/// Does a list of controllers such as "cpu,memory" contain memory?
bool names_memory(const std::string& controllers) {
  return ("," + controllers + ",").find(",memory,") != std::string::npos;
}

}  // namespace

std::optional<std::int64_t> available_in_cgroups(const fs::path& root) {
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream file(root / "proc/self/cgroup");
  std::string id, controllers, path;
  std::int64_t least = unknown;
  while (std::getline(file, id, ':') && std::getline(file, controllers, ':') &&
         std::getline(file, path)) {
    const fs::path group = fs::path(path).relative_path();
    if (controllers.empty()) {
      least = std::min(least, least_upwards(mounts, group, version_2));
      least = std::min(least, least_upwards(mounts / "unified", group, version_2));
    } else if (names_memory(controllers)) {
      least = std::min(least, least_upwards(mounts / "memory", group, version_1));
    }
  }
  return least == unknown ? std::nullopt : std::optional(least);
}

std::int64_t memory_limit_bytes(const mpi::Communicator& world, const mpi::Communicator& node) {
  const std::int64_t available =
      std::min(available_on_node(), available_in_cgroups().value_or(unknown));
  const std::int64_t share =
      available == unknown ? unknown : std::max<std::int64_t>(1, available / node.size());
  const std::int64_t least = world.min(share);
  return least == unknown ? 0 : least;
}

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  return file >> size >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

}  // namespace tetrarch::engine
