/// The interface of a backend: it creates the Compute and the Communicator objects of one kind of
/// device, and the memory that they work on.
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

/// The size of one whole weight of the model, before it is cut into shards. Backend::prepare()
/// chooses the kernels by these sizes.
struct WholeWeight {
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;         // of one product; with reduction shards: the inputs of one shard
  std::int64_t output_slices = 1;  // a rank holds a multiple of outputs / output_slices outputs
};

/// A backend: one object per process, which all objects of its device come from. Calls throw
/// SystemError when a library or the system fails.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu"
  /// For log files: number of threads, libraries with their versions, instruction set, kernel
  /// family.
  virtual std::string description() const = 0;
  /// Names everything that the bits of results depend on. All ranks of a job, and a resumed run and
  /// its predecessor, must have the same identity. It does not change after prepare().
  virtual std::string identity() const = 0;
  /// Messages that the user should see, one line each. Filled by prepare().
  virtual std::vector<std::string> notes() const = 0;
  /// Number of host threads that compute.
  virtual int num_threads() const = 0;

  /// Chooses the kernels for the products of a model. Call it once, before any Compute::pack() or
  /// build_matrix(). The choice depends on the whole weights and not on the shards, so that every
  /// grid chooses the same kernels.
  virtual void prepare(base::DType dtype, std::span<const WholeWeight> weights) = 0;

  /// The operations of this backend; the reference is valid as long as the backend.
  virtual Compute& compute() = 0;
  /// Returns `bytes` bytes of zeroed memory. Throws SystemError(resources) when there is not
  /// enough.
  virtual Buffer allocate(std::int64_t bytes) = 0;
  /// Bytes of all live buffers and weights of this process.
  virtual std::int64_t allocated_bytes() const = 0;
  /// Calls work(i) for each i of [0, count), in any order, on the threads that compute. Returns
  /// when all calls have returned. `work` must not throw.
  virtual void for_each(std::int64_t count, const std::function<void(std::int64_t)>& work) = 0;
  /// Creates a communicator of the given world ranks, in the given order. Collective: all these
  /// ranks call it, and no other rank does. `name` is a string literal; it names the communicator
  /// in the records of operations (base/flight_recorder.hpp).
  virtual std::unique_ptr<Communicator> make_communicator(std::span<const int> world_ranks,
                                                          const char* name) = 0;
};

}  // namespace tetrarch::backend
