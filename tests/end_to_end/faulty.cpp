// tetrarch run with a fault switched on, which a comparison of results must find.
//
//   faulty none|attention-blocks|plain-reduction|slow-instance|left-out:R:PHASE:N|
//          slow-exchange:R:PHASE:MS|KERNELS run [options]
//
// slow-instance is no fault of the results: the second instance sleeps after each microbatch. Nor
// are the kernels that the own ones are bound to: those of an instruction set, without any for bf16
// (x86-64, x86-64-v3 or x86-64-v4), or those for bf16 (avx512-bf16, amx-bf16 or amx-software). Exit
// code 77: this CPU does not have them.
// left-out: rank R leaves out its N-th collective of tensors in that phase, and goes on.
// slow-exchange: in its first collective of tensors in that phase rank R waits MS milliseconds
// before each piece; a piece is one row, in all exchanges of all ranks.
//
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "backend/cpu/kernels/testing.hpp"
#include "engine/testing.hpp"
#include "failure.hpp"
#include "mpi/launcher.hpp"
#include "mpi/row_exchange_testing.hpp"
#include "options.hpp"
#include "probe.hpp"
#include "storage/h5/h5.hpp"
#include "subcommands.hpp"

namespace {

using namespace tetrarch;

void end_without_kernels(const std::string& name) {
  std::fprintf(stderr, "faulty: this CPU has no %s\n", name.c_str());
  std::exit(77);
}

/// True when `name` is that of kernels.
bool bind_to(const std::string& name) {
  namespace cpu = backend::cpu;
  for (const cpu::simd::Isa isa : {cpu::simd::Isa::any, cpu::simd::Isa::v3, cpu::simd::Isa::v4})
    if (name == cpu::simd::name_of(isa)) {
      if (isa > cpu::simd::active_isa()) end_without_kernels(name);
      cpu::testing::set_isa(isa);
      cpu::testing::set_bf16_kernels(cpu::Bf16Kernels::widened);
      return true;
    }
  constexpr std::pair<const char*, cpu::Bf16Kernels> of_bf16[] = {
      {"avx512-bf16", cpu::Bf16Kernels::avx512_bf16},
      {"amx-bf16", cpu::Bf16Kernels::amx},
      {"amx-software", cpu::Bf16Kernels::amx_software}};
  for (const auto& [known, kernels] : of_bf16)
    if (name == known) {
      if (!cpu::testing::has_bf16_kernels(kernels)) end_without_kernels(name);
      cpu::testing::set_bf16_kernels(kernels);
      return true;
    }
  return false;
}

/// `words` are R:PHASE:NUMBER: on rank R calls act(PHASE, NUMBER). False when they are not.
bool on_rank(const std::string& words, const std::function<void(base::Phase, int)>& act) {
  const std::size_t first = words.find(':'), last = words.rfind(':');
  if (first == std::string::npos || first == last) return false;
  const std::string phase_name = words.substr(first + 1, last - first - 1);
  for (int phase = 0; phase < base::num_phases; ++phase)
    if (base::name_of(static_cast<base::Phase>(phase)) == phase_name) {
      const char* const own_rank = std::getenv("OMPI_COMM_WORLD_RANK");
      if (own_rank != nullptr && words.substr(0, first) == own_rank)
        act(static_cast<base::Phase>(phase), std::atoi(words.c_str() + last + 1));
      return true;
    }
  return false;
}

bool slow_down(const std::string& words) {
  mpi::testing::set_piece_bytes(1);
  return on_rank(words, [](base::Phase phase, int milliseconds) {
    mpi::testing::set_slow_exchange(phase, 1e-3 * milliseconds);
  });
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
    return on_rank(fault.substr(prefix.size()), mpi::testing::set_left_out);
  else if (const std::string slow = "slow-exchange:"; fault.starts_with(slow))
    return slow_down(fault.substr(slow.size()));
  else
    return fault == "none" || bind_to(fault);
  return true;
}

int run(int argc, char** argv) {
  const app::Subcommand subcommand = app::run_subcommand();
  const std::vector<std::string> arguments(argv + 3, argv + argc);
  try {
    return subcommand.act(app::parse_options("run", subcommand.options, "", arguments), argc, argv);
  } catch (const base::Refusal& error) {
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
        "slow-exchange:R:PHASE:MS|x86-64|x86-64-v3|x86-64-v4|avx512-bf16|amx-bf16|amx-software "
        "run [options]\n",
        stderr);
    return 2;
  }
  return run(argc, argv);
}
