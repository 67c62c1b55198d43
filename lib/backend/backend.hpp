/// A machine to compute on and to speak through: makes everything of one kind.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/communicator.hpp"
#include "backend/compute.hpp"

namespace tetrarch::backend {

/// A whole weight of the model, before it is cut into shards; what start-up checks need to know.
struct WholeWeight {
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;         // of one product: a reduction shard's K where there is one
  std::int64_t output_slices = 1;  // the outputs are held in multiples of outputs / output_slices
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu"
  /// For people: libraries with versions, instruction set, kernel family.
  virtual std::string description() const = 0;
  /// What the bits of results depend on; ranks and resumes must agree in it. Final after prepare().
  virtual std::string identity() const = 0;
  /// Remarks that a user should see, each one line.
  virtual std::vector<std::string> notes() const = 0;
  virtual int num_threads() const = 0;

  /// Chooses the kernels for a model's products, once, before any pack(): a function of the whole
  /// weights alone, so that every grid chooses alike.
  virtual void prepare(base::DType dtype, std::span<const WholeWeight> weights) = 0;

  virtual Compute& compute() = 0;
  /// Zeroed memory. Throws SystemError(resources).
  virtual Buffer allocate(std::int64_t bytes) = 0;
  /// Of all buffers and weights of this process that are alive.
  virtual std::int64_t allocated_bytes() const = 0;
  /// Calls work(i) for each i of [0, count), in no order, by the threads that compute; work does
  /// not throw.
  virtual void for_each(std::int64_t count, const std::function<void(std::int64_t)>& work) = 0;
  /// Collective over exactly these world ranks, given in communicator order. `name`, a literal: in
  /// the records of what ran.
  virtual std::unique_ptr<Communicator> make_communicator(std::span<const int> world_ranks,
                                                          const char* name) = 0;
};

}  // namespace tetrarch::backend
