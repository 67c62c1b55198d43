// SPDX-License-Identifier: Apache-2.0
#include "engine/agree.hpp"

#include "base/stop_signal.hpp"

namespace tetrarch::engine {

std::optional<Problem> attempt(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::Refusal& error) {
    return Problem{error.code(), error.what()};
  } catch (const base::SystemError& error) {
    return Problem{error.code(), error.what()};
  }
  return std::nullopt;
}

void agree(const mpi::Communicator& world, const std::optional<Problem>& mine) {
  const std::int64_t lowest = world.min(mine ? world.rank() : world.size());
  if (lowest == world.size()) return;
  const int root = static_cast<int>(lowest);
  const std::int64_t code =
      world.max(world.rank() == root ? static_cast<std::int64_t>(mine->code) : std::int64_t{0});
  const std::string message = world.broadcast(world.rank() == root ? mine->message : "", root);
  throw base::Refusal(static_cast<base::ExitCode>(code), message);
}

void on_root(const mpi::Communicator& world, const std::function<void()>& action) {
  agree(world, world.rank() == 0 ? attempt(action) : std::nullopt);
}

int agreed_stop_signal(const mpi::Communicator& world) {
  return static_cast<int>(world.max(std::int64_t{base::stop_signal()}));
}

}  // namespace tetrarch::engine
