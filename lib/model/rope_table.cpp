// SPDX-License-Identifier: Apache-2.0
#include "model/rope_table.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tetrarch::model {
namespace {

constexpr std::int64_t rows_at_once = 256;

OwnedTensor empty_table(std::int64_t rows, std::int64_t columns, backend::Backend& backend) {
  OwnedTensor table;
  table.memory = backend.allocate(rows * columns * base::size_of(base::DType::f32));
  table.tensor = {table.memory->data(), base::DType::f32, 1, rows, columns};
  return table;
}

double llama3_frequency(double frequency, const plan::RopeScaling& scaling) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double waves = static_cast<double>(scaling.orig_max) / wavelength;
  if (waves < scaling.low_freq_factor) return frequency / scaling.factor;
  if (waves > scaling.high_freq_factor) return frequency;
  const double share =
      (waves - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - share) * frequency / scaling.factor + share * frequency;
}

/// The range of pairs j in which yarn mixes f_j and f_j / factor.
struct YarnRange {
  double low, high;
};

YarnRange yarn_range(const plan::ModelSpec& spec) {
  const plan::RopeScaling& scaling = spec.rope_scaling;
  const auto dim = static_cast<double>(spec.rope_dim);
  const auto pair_of = [&](double turns) {
    const double length = static_cast<double>(scaling.orig_max) / (2 * std::numbers::pi * turns);
    return dim * std::log(length) / (2 * std::log(spec.rope_theta));
  };
  YarnRange range{pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)};
  if (scaling.truncate) range = {std::floor(range.low), std::ceil(range.high)};
  range = {std::max(range.low, 0.0), std::min(range.high, dim - 1)};
  if (range.low == range.high) range.high += 0.001;
  return range;
}

/// yarn's attention factor when positions are stretched by `factor`.
double yarn_scale(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

}  // namespace

std::vector<float> rope_frequencies(const plan::ModelSpec& spec) {
  const plan::RopeScaling& scaling = spec.rope_scaling;
  const bool is_yarn = spec.rope_type == plan::RopeType::yarn;
  const YarnRange range = is_yarn ? yarn_range(spec) : YarnRange{};
  std::vector<float> frequencies(spec.rope_dim / 2);
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    const double exponent = 2.0 * static_cast<double>(j) / static_cast<double>(spec.rope_dim);
    const double exact = std::pow(spec.rope_theta, -exponent);
    const auto frequency = static_cast<float>(exact);  // rounded as in transformers
    if (is_yarn) {
      const double ramp =
          std::clamp((static_cast<double>(j) - range.low) / (range.high - range.low), 0.0, 1.0);
      frequencies[j] = static_cast<float>(ramp * exact / scaling.factor + (1 - ramp) * exact);
    } else if (spec.rope_type == plan::RopeType::llama3) {
      frequencies[j] = static_cast<float>(llama3_frequency(double{frequency}, scaling));
    } else if (spec.rope_type == plan::RopeType::linear) {
      frequencies[j] = static_cast<float>(double{frequency} / scaling.factor);
    } else {
      frequencies[j] = frequency;
    }
  }
  return frequencies;
}

float rope_attention_factor(const plan::ModelSpec& spec) {
  const plan::RopeScaling& scaling = spec.rope_scaling;
  if (spec.rope_type != plan::RopeType::yarn) return 1;
  double factor = scaling.attention_factor;
  if (factor == 0) factor = yarn_scale(scaling.factor, 1);
  if (scaling.attention_factor == 0 && scaling.mscale != 0 && scaling.mscale_all_dim != 0)
    factor = yarn_scale(scaling.factor, scaling.mscale) /
             yarn_scale(scaling.factor, scaling.mscale_all_dim);
  return static_cast<float>(factor);
}

RopeTable make_rope_table(const plan::ModelSpec& spec, std::int64_t num_positions,
                          backend::Backend& backend) {
  const std::int64_t rows = std::max<std::int64_t>(1, num_positions);
  const std::int64_t half = spec.rope_dim / 2;
  const std::vector<float> frequencies = rope_frequencies(spec);
  const float factor = rope_attention_factor(spec);
  RopeTable table{empty_table(rows, half, backend), empty_table(rows, half, backend)};
  std::vector<float> cosine, sine;
  for (std::int64_t first = 0; first < rows; first += rows_at_once) {
    const std::int64_t count = std::min(rows_at_once, rows - first);
    cosine.clear();
    sine.clear();
    for (std::int64_t p = first; p < first + count; ++p)
      for (const float frequency : frequencies) {
        const float angle = static_cast<float>(p) * frequency;  // rounded as in transformers
        cosine.push_back(factor * static_cast<float>(std::cos(static_cast<double>(angle))));
        sine.push_back(factor * static_cast<float>(std::sin(static_cast<double>(angle))));
      }
    backend.compute().upload(cosine.data(), table.cosine.tensor.row_range(first, count));
    backend.compute().upload(sine.data(), table.sine.tensor.row_range(first, count));
  }
  return table;
}

}  // namespace tetrarch::model
