// Tries oneDNN's kernels on random data before a model relies on them.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <omp.h>

#include "backend/cpu/kernels/gemm.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

constexpr std::int64_t trial_rows[] = {1, 2, 7, 33, 64, 200};
constexpr std::int64_t most_rows = 200;

/// Values of both signs between 2^-7 and 1, the same in each process.
std::vector<std::byte> random_values(std::int64_t count, DType dtype, std::uint64_t seed) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(count * base::size_of(dtype)));
  std::uint64_t state = seed;
  for (std::int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const float value = static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-31f;
    const base::bf16 half = base::to_bf16(value);
    const std::int64_t size = base::size_of(dtype);
    std::memcpy(bytes.data() + i * size,
                dtype == DType::f32 ? static_cast<const void*>(&value) : &half,
                static_cast<std::size_t>(size));
  }
  return bytes;
}

class Trial {
 public:
  Trial(DType dtype, const WholeWeight& weight)
      : dtype_(dtype),
        weight_(weight),
        x_(random_values(most_rows * weight.inputs, dtype, 1)),
        w_(random_values(weight.outputs * weight.inputs, dtype, 2)) {}

  /// Rows of the largest product, computed with the threads of now.
  void take_reference() { reference_ = multiply(most_rows, weight_.outputs, name_); }

  /// "" or what differs, for each number of rows and width of slices, with the threads of now.
  std::string find_difference() {
    for (std::int64_t j = 1; j <= weight_.output_slices; ++j) {
      if (weight_.output_slices % j != 0) continue;
      const std::int64_t outputs = weight_.outputs * j / weight_.output_slices;
      for (const std::int64_t rows : trial_rows)
        if (!is_alike(multiply(rows, outputs, name_), rows, outputs))
          return fmt::format("{} rows x {} of {} outputs", rows, outputs, weight_.outputs);
    }
    return "";
  }
  /// The family's name, with the kernel that it used.
  const std::string& name() const { return name_; }

 private:
  std::vector<float> multiply(std::int64_t rows, std::int64_t outputs, std::string& name) {
    const auto family = make_onednn_gemm(true);
    const auto packed = family->pack(w_.data(), dtype_, outputs, weight_.inputs, WeightOrder::nk);
    std::vector<float> y(static_cast<std::size_t>(rows * outputs));
    const Product product{{x_.data(), dtype_, 1, rows, weight_.inputs},
                          packed.get(),
                          {y.data(), DType::f32, 1, rows, outputs}};
    family->multiply({&product, 1});
    name = family->name();
    return y;
  }

  bool is_alike(const std::vector<float>& y, std::int64_t rows, std::int64_t outputs) const {
    for (std::int64_t row = 0; row < rows; ++row)
      if (std::memcmp(y.data() + row * outputs, reference_.data() + row * weight_.outputs,
                      static_cast<std::size_t>(outputs) * sizeof(float)) != 0)
        return false;
    return true;
  }

  DType dtype_;
  WholeWeight weight_;
  std::vector<std::byte> x_, w_;
  std::vector<float> reference_;
  std::string name_;
};

struct Verdict {
  std::string name;     // of the family, when all is alike
  std::string problem;  // else why not
  bool has_brg = true;  // false: this CPU has no such kernel, which is no fault
};

Verdict try_onednn(DType dtype, std::span<const WholeWeight> weights, int num_threads) {
  Verdict verdict;
  std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t>> seen;
  for (const WholeWeight& weight : weights) {
    if (!seen.insert({weight.outputs, weight.inputs, weight.output_slices}).second) continue;
    Trial trial(dtype, weight);
    for (const int threads : {num_threads, 1}) {
      omp_set_num_threads(threads);
      if (threads == num_threads) trial.take_reference();
      const std::string difference = trial.find_difference();
      if (!difference.empty())
        return {"", fmt::format("{}, {} inputs, {} threads", difference, weight.inputs, threads)};
    }
    if (verdict.name.empty()) verdict.name = trial.name();
  }
  return verdict;
}

Verdict try_onednn_safely(DType dtype, std::span<const WholeWeight> weights, int num_threads) {
  Verdict verdict;
  try {
    verdict = try_onednn(dtype, weights, num_threads);
  } catch (const NoSuchKernel&) {
    verdict = {"", "no brg kernel", false};
  } catch (const std::exception& error) {
    verdict = {"", error.what(), true};
  }
  omp_set_num_threads(num_threads);
  return verdict;
}

/// The trial's name with its kernels, before the family has multiplied anything itself.
class ProvenGemm final : public GemmFamily {
 public:
  explicit ProvenGemm(std::string name) : name_(std::move(name)), family_(make_onednn_gemm(true)) {}
  std::string name() const override { return name_; }
  std::unique_ptr<Matrix> pack(const void* host, DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) override {
    return family_->pack(host, dtype, outputs, inputs, order);
  }
  void multiply(std::span<const Product> products) override { family_->multiply(products); }

 private:
  std::string name_;
  std::unique_ptr<GemmFamily> family_;
};

}  // namespace

ChosenGemm choose_gemm(GemmChoice choice, DType dtype, std::span<const WholeWeight> weights,
                       int num_threads) {
  if (choice == GemmChoice::onednn) return {make_onednn_gemm(false), {}};
  ChosenGemm chosen;
  if (choice == GemmChoice::automatic && !weights.empty()) {
    const Verdict verdict = try_onednn_safely(dtype, weights, num_threads);
    if (verdict.problem.empty()) return {std::make_unique<ProvenGemm>(verdict.name), {}};
    if (verdict.has_brg)
      chosen.notes.push_back(
          fmt::format("oneDNN {} is not used (its rows differ or it fails: {}); own kernels "
                      "multiply, with the same bits on every grid.",
                      onednn_version(), verdict.problem));
  }
  chosen.family = make_portable_gemm();
  if (dtype == DType::bf16)
    chosen.notes.push_back(
        "bf16 values are multiplied as f32 (no bf16 kernels are used on this "
        "CPU): results are right, and about half as fast.");
  return chosen;
}

}  // namespace tetrarch::backend::cpu
