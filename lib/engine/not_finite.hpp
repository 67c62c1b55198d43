/// Words about values that are not finite: in a sequence's error record, and in the log.
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

/// How many sequences failed first at one place.
struct NotFinitePlace {
  std::int64_t layer = -1;
  model::Origin origin = model::Origin::embedding;
  std::int32_t number = -1;
  std::int64_t num_sequences = 0;
};

/// "non-finite values first at layer 3, expert 7, position 12 (...). Look at ...": the same on
/// every grid.
std::string error_text(const model::NotFinite& found, const plan::ModelSpec& spec);
/// "5 sequences fail at layer 3, expert 7: ..."
std::string log_text(const NotFinitePlace& place, const plan::ModelSpec& spec);

/// Counts sequences by place, in the order of the forward pass.
class NotFiniteTally {
 public:
  void add(const model::NotFinite& found) { ++count_[{found.layer, found.origin, found.number}]; }
  /// Of all ranks, at rank 0. Collective.
  std::vector<NotFinitePlace> gather(const mpi::Communicator& world) const;

 private:
  std::map<std::tuple<std::int64_t, model::Origin, std::int32_t>, std::int64_t> count_;
};

/// Number of the first of these host rows, f32 or bf16, that is not finite; -1: none.
std::int64_t first_not_finite(const backend::Tensor& rows);

}  // namespace tetrarch::engine
