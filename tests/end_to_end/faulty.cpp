// tetrarch run with a fault switched on, which a comparison of results must find.
//
//   faulty none|attention-blocks|plain-reduction|slow-instance run [options]
//
// slow-instance is no fault of the results: the second instance sleeps after each microbatch.
//
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "backend/cpu/kernels/testing.hpp"
#include "engine/testing.hpp"
#include "failure.hpp"
#include "mpi/launcher.hpp"
#include "options.hpp"
#include "storage/h5.hpp"
#include "subcommands.hpp"

namespace {

using namespace tetrarch;

/// True when there is such a fault. Key blocks move only where there is more than one rank, so that
/// the run on one rank is a right one.
bool switch_on(const std::string& fault) {
  namespace testing = backend::cpu::testing;
  constexpr std::int64_t shift = 5;
  if (fault == "attention-blocks")
    testing::set_attention_block_shift(mpi::find_launcher().expected_ranks > 1 ? shift : 0);
  else if (fault == "plain-reduction")
    testing::set_plain_reduction(true);
  else if (fault == "slow-instance")
    engine::testing::set_slow_instance(1, 0.5);
  else
    return fault == "none";
  return true;
}

int run(int argc, char** argv) {
  const app::Subcommand subcommand = app::run_subcommand();
  const std::vector<std::string> arguments(argv + 3, argv + argc);
  try {
    return subcommand.act(app::parse_options("run", subcommand.options, "", arguments), argc, argv);
  } catch (const base::UsageError& error) {
    return app::report(error, app::Launch::ranks);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::set_terminate(app::end_with_failure);
  storage::h5::be_quiet();
  if (argc < 3 || std::string(argv[2]) != "run" || !switch_on(argv[1])) {
    std::fputs("usage: faulty none|attention-blocks|plain-reduction|slow-instance run [options]\n",
               stderr);
    return 2;
  }
  return run(argc, argv);
}
