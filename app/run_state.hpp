/// The run folder of a job: its settings, and what earlier attempts have left to do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "mpi/communicator.hpp"
#include "plan/plan.hpp"
#include "run_files.hpp"
#include "storage/inputs/inputs_file.hpp"
#include "storage/run/results_layout.hpp"
#include "storage/run/run_folder.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::app {

/// What a later attempt must not change (`frozen`), and what it may change only with --allow-mixed
/// (`mixable`). `kernels` names the kernels of all ranks.
storage::RunSettings settings_of(const plan::RunConfig& config, const plan::Plan& plan,
                                 const storage::WeightsFile& weights,
                                 const storage::InputSet& inputs,
                                 const std::vector<storage::DatasetPlan>& layout,
                                 const std::string& kernels);

/// The run folder. Only rank 0 holds it open, with its lock; the other ranks know its state.
struct HeldFolder {
  std::optional<storage::RunFolder> held;  // on rank 0 only; so is `committed`
  storage::Committed committed;
  std::string run_uuid;
  int attempt = 0;
  bool is_complete = false;
};

/// Opens or resumes the run folder on rank 0, and tells its state to all ranks. Only rank 0 calls
/// `settings`. Collective over `world`.
HeldFolder hold_folder(const plan::RunConfig& config, const mpi::Communicator& world,
                       const std::function<storage::RunSettings()>& settings, base::Log& log);

/// Bytes of disk space that the run still needs: the parts of the sequences in `left`, the
/// unpacked copy of compressed inputs, and the results.
std::int64_t space_needed(const std::vector<storage::DatasetPlan>& layout,
                          const storage::InputSet& inputs,
                          std::span<const plan::SequenceLength> left);

/// The sequences that are not committed yet, the same list on every rank.
/// Collective over `world` and `node`.
SequenceList left_to_do(const storage::InputSet& inputs, const HeldFolder& folder,
                        const mpi::Communicator& world, const mpi::Communicator& node);

}  // namespace tetrarch::app
