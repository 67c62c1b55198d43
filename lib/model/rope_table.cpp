// SPDX-License-Identifier: Apache-2.0
#include "model/rope_table.hpp"

#include <cmath>

namespace tetrarch::model {
namespace {

Vector upload(const std::vector<float>& host, std::int64_t rows, backend::Backend& backend) {
  Vector vector;
  vector.memory = backend.allocate(static_cast<std::int64_t>(host.size() * sizeof(float)));
  const std::int64_t columns = static_cast<std::int64_t>(host.size()) / rows;
  vector.tensor = {vector.memory->data(), base::DType::f32, 1, rows, columns};
  backend.compute().upload(host.data(), vector.tensor);
  return vector;
}

}  // namespace

RopeTable make_rope_table(const plan::ModelSpec& spec, std::int64_t num_positions,
                          backend::Backend& backend) {
  const std::int64_t rows = std::max<std::int64_t>(1, num_positions);
  const std::int64_t half = spec.rope_dim / 2;
  std::vector<float> cosine(rows * half), sine(rows * half);
  for (std::int64_t j = 0; j < half; ++j) {
    const double exponent = 2.0 * static_cast<double>(j) / static_cast<double>(spec.rope_dim);
    const auto frequency = static_cast<float>(std::pow(spec.rope_theta, -exponent));
    for (std::int64_t p = 0; p < rows; ++p) {
      const float angle = static_cast<float>(p) * frequency;  // the rounding of the reference
      cosine[p * half + j] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sine[p * half + j] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  return {upload(cosine, rows, backend), upload(sine, rows, backend)};
}

}  // namespace tetrarch::model
