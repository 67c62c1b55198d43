// tetrarch run with a fault switched on, which a comparison of results must find.
//
//   faulty none|attention-blocks|plain-reduction|slow-instance|left-out:R:PHASE:N|INSTRUCTION-SET
//          run [options]
//
// slow-instance is no fault of the results: the second instance sleeps after each microbatch. Nor
// is an instruction set (x86-64, x86-64-v3 or x86-64-v4) that the own kernels are bound to.
// left-out: rank R leaves out its N-th collective of tensors in that phase, and goes on.
//
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "backend/cpu/kernels/testing.hpp"
#include "engine/testing.hpp"
#include "failure.hpp"
#include "mpi/launcher.hpp"
#include "options.hpp"
#include "probe.hpp"
#include "storage/h5.hpp"
#include "subcommands.hpp"

namespace {

using namespace tetrarch;

/// True when `name` is that of an instruction set; this CPU must have it.
bool bind_to(const std::string& name) {
  namespace simd = backend::cpu::simd;
  for (const simd::Isa isa : {simd::Isa::any, simd::Isa::v3, simd::Isa::v4})
    if (name == simd::name_of(isa)) {
      backend::cpu::testing::set_isa(isa);
      return true;
    }
  return false;
}

/// What follows "left-out:" of a fault.
bool leave_out(const std::string& words) {
  const std::size_t first = words.find(':'), last = words.rfind(':');
  if (first == std::string::npos || first == last) return false;
  const std::string phase_name = words.substr(first + 1, last - first - 1);
  for (int phase = 0; phase < base::num_phases; ++phase)
    if (base::name_of(static_cast<base::Phase>(phase)) == phase_name) {
      const char* const own_rank = std::getenv("OMPI_COMM_WORLD_RANK");
      if (own_rank != nullptr && words.substr(0, first) == own_rank)
        backend::cpu::testing::set_left_out(static_cast<base::Phase>(phase),
                                            std::atoi(words.c_str() + last + 1));
      return true;
    }
  return false;
}

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
  else if (const std::string prefix = "left-out:"; fault.starts_with(prefix))
    return leave_out(fault.substr(prefix.size()));
  else
    return fault == "none" || bind_to(fault);
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
  if (argc > 1 && std::string(argv[1]) == app::probe_word) return app::run_probe(argc, argv);
  if (argc < 3 || std::string(argv[2]) != "run" || !switch_on(argv[1])) {
    std::fputs(
        "usage: faulty none|attention-blocks|plain-reduction|slow-instance|left-out:R:PHASE:N|"
        "x86-64|x86-64-v3|x86-64-v4 run [options]\n",
        stderr);
    return 2;
  }
  return run(argc, argv);
}
