// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_limit.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include <sys/resource.h>

namespace tetrarch::engine {
namespace {

constexpr std::int64_t unknown = std::numeric_limits<std::int64_t>::max();

std::int64_t available_on_node() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  std::int64_t kib = 0;
  while (file >> key >> kib && std::getline(file, unit))
    if (key == "MemAvailable:") return kib * 1024;
  return unknown;
}

std::int64_t number_in(const char* path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : unknown;  // "max" is no number: no limit
}

}  // namespace

std::int64_t memory_limit_bytes(const mpi::Communicator& world, const mpi::Communicator& node) {
  std::int64_t available = available_on_node();
  const std::int64_t group_limit = number_in("/sys/fs/cgroup/memory.max");
  const std::int64_t group_used = number_in("/sys/fs/cgroup/memory.current");
  if (group_limit != unknown && group_used != unknown)
    available = std::min(available, std::max<std::int64_t>(1, group_limit - group_used));
  const std::int64_t share = available == unknown ? unknown : available / node.size();
  const std::int64_t least = world.min(share);
  return least == unknown ? 0 : least;
}

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

}  // namespace tetrarch::engine
