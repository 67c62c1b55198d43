/// Messages about values that are not finite (NaN or infinity): for the error record of a sequence,
/// and for the log.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "backend/tensor.hpp"
#include "model/not_finite.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// The number of sequences whose first non-finite value arose at one place. Fields as in
/// model::NotFinite.
struct NotFinitePlace {
  std::int64_t layer = -1;
  model::Origin origin = model::Origin::embedding;
  std::int32_t number = -1;
  std::int64_t num_sequences = 0;
};

/// The error record, for example "non-finite values first at layer 3, expert 7, position 12 (...).
/// Check ...". It is the same on every grid.
std::string error_text(const model::NotFinite& found, const plan::ModelSpec& spec);
/// The line of the log, for example "5 sequences with non-finite values first at layer 3, expert 7
/// (...). Check ...".
std::string log_text(const NotFinitePlace& place, const plan::ModelSpec& spec);

/// Counts failed sequences by place, sorted in the order of the forward pass.
class NotFiniteTally {
 public:
  void add(const model::NotFinite& found) { ++count_[{found.layer, found.origin, found.number}]; }
  /// Returns the counts of all ranks together on rank 0. Collective.
  std::vector<NotFinitePlace> gather(const mpi::Communicator& world) const;

 private:
  std::map<std::tuple<std::int64_t, model::Origin, std::int32_t>, std::int64_t> count_;
};

/// Index of the first of these host rows (f32 or bf16) that is not finite; -1 if all are finite.
std::int64_t first_not_finite(const backend::Tensor& rows);

}  // namespace tetrarch::engine
