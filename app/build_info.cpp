// The texts of --build-info: version and build of this program, and the libraries that it uses.
// SPDX-License-Identifier: Apache-2.0
#include "base/build_info.hpp"

#include <fmt/format.h>

#include "base/json.hpp"
#include "engine/backends.hpp"
#include "mpi/session.hpp"
#include "storage/h5/h5.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {
namespace {

base::Json build_info() {
  const base::BuildInfo& build = base::build_info();
  return {{"version", build.version},
          {"git_sha", build.git_sha},
          {"compiler", build.compiler},
          {"build_type", build.build_type},
          {"cuda", build.is_cuda_emulated ? base::Json("emulated") : base::Json(build.has_cuda)},
          {"mpi", mpi::Session::library_version()},
          {"hdf5", storage::h5::library_version()},
          {"backends", engine::describe_backends()}};
}

}  // namespace

std::string build_info_text() {
  std::string text;
  const base::Json info = build_info();
  for (const auto& [name, value] : info.items())
    text += fmt::format(
        "{:<11} {}\n", name,
        value.is_boolean() ? (value.get<bool>() ? "yes" : "no") : value.get<std::string>());
  return text;
}

std::string build_info_json() {
  return build_info().dump(2) + "\n";
}

}  // namespace tetrarch::app
