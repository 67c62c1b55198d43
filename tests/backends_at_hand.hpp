/// The backends that this build and this machine offer, and tests that run on each of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <ostream>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cpu/backend.hpp"
#include "backend/cuda/backend.hpp"
#include "mpi/world.hpp"

namespace tetrarch::backend {

/// A backend that can be used here.
struct BackendAtHand {
  std::string name;
  /// Creates the backend, with one host thread. `world` must outlive it.
  std::unique_ptr<Backend> (*make)(const mpi::Communicator& world);

  friend void PrintTo(const BackendAtHand& backend, std::ostream* to) { *to << backend.name; }
};

/// Creates every backend of the program once. One that refuses is left out, and rank 0 prints why.
/// The first call is collective.
inline const std::vector<BackendAtHand>& backends_at_hand() {
  static const std::vector<BackendAtHand> found = [] {
    const decltype(BackendAtHand::make) all[] = {
        [](const mpi::Communicator& world) { return make_cpu_backend(world, 1); },
        [](const mpi::Communicator& world) { return make_cuda_backend(world, 1); },
    };
    const mpi::Communicator world = mpi::everyone();
    std::vector<BackendAtHand> backends;
    for (const auto make : all) {
      try {
        backends.push_back({make(world)->name(), make});
      } catch (const base::Refusal& refusal) {
        if (world.rank() == 0) std::printf("a backend is left out: %s\n", refusal.what());
      }
    }
    return backends;
  }();
  return found;
}

/// A test that runs once on each backend at hand; GetParam() is the backend. Each suite needs
/// INSTANTIATE_TEST_SUITE_P(Backends, SUITE, backend::at_hand(), backend::name_of_param);
using EachBackend = ::testing::TestWithParam<BackendAtHand>;

inline auto at_hand() {
  return ::testing::ValuesIn(backends_at_hand());
}
inline std::string name_of_param(const ::testing::TestParamInfo<BackendAtHand>& test) {
  std::string name = test.param.name;
  std::ranges::replace(name, '-', '_');
  return name;
}

/// A tensor in a backend's memory, filled with host values.
template <class T>
class Uploaded {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, std::int32_t>);

 public:
  Uploaded(Backend& backend, const std::vector<T>& values, std::int64_t columns)
      : compute_(backend.compute()),
        memory_(backend.allocate(std::ssize(values) * static_cast<std::int64_t>(sizeof(T)))),
        tensor_{memory_->data(), std::is_same_v<T, float> ? base::DType::f32 : base::DType::i32, 1,
                std::ssize(values) / columns, columns} {
    compute_.upload(values.data(), tensor_);
  }
  const Tensor& tensor() const { return tensor_; }
  /// The present values, copied to the host.
  std::vector<T> values() const {
    std::vector<T> host(static_cast<std::size_t>(tensor_.elements()));
    compute_.download(tensor_, host.data());
    return host;
  }

 private:
  Compute& compute_;
  Buffer memory_;
  Tensor tensor_;
};

}  // namespace tetrarch::backend
