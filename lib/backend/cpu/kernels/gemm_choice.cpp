// Chooses the product kernels of a model. oneDNN's kernels are chosen only after a trial on random
// data.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <new>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <omp.h>

#include "backend/cpu/kernels/bf16_kernels.hpp"
#include "backend/cpu/kernels/gemm.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

constexpr std::int64_t most_rows = 200;
constexpr std::int64_t trial_rows[] = {most_rows, 1, 2, 7, 33, 64};
constexpr std::int64_t most_trial_elements = 1 << 23;

/// Pseudo-random values of both signs, of magnitude up to 1; the same in every process.
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

/// Limits the outputs of a weight, so that its trial does not take seconds. The trial stays as
/// strict as with the whole weight: the fewer outputs a product has, the more likely oneDNN is to
/// split the sum over the inputs between threads, which would change the bits.
WholeWeight bounded(WholeWeight weight) {
  const std::int64_t slice = weight.outputs / weight.output_slices;
  const std::int64_t most =
      std::max<std::int64_t>(1, most_trial_elements / (weight.inputs * weight.output_slices));
  weight.outputs = std::min(slice, most) * weight.output_slices;
  return weight;
}

class Trial {
 public:
  Trial(DType dtype, const WholeWeight& weight)
      : dtype_(dtype),
        weight_(bounded(weight)),
        x_(random_values(most_rows * weight_.inputs, dtype, 1)),
        w_(random_values(weight_.outputs * weight_.inputs, dtype, 2)) {}

  /// Compares products with 1 and with num_threads threads, for each width of column slices and
  /// each number of rows, with the largest product computed by num_threads threads. Returns "" if
  /// all bits are equal, else a text that names the first difference.
  std::string find_difference(int num_threads) {
    for (const int threads : {num_threads, 1}) {
      omp_set_num_threads(threads);
      for (std::int64_t parts = 1; parts <= weight_.output_slices; ++parts) {
        if (weight_.output_slices % parts != 0) continue;
        const std::string difference = find_in_slice(weight_.outputs / parts);
        if (!difference.empty()) return fmt::format("{}, {} threads", difference, threads);
      }
    }
    return "";
  }
  /// The family's name, with the kernel that it used.
  const std::string& name() const { return name_; }

 private:
  std::string find_in_slice(std::int64_t outputs) {
    // a new family for each number of threads: oneDNN's primitives keep the number of threads that
    // they were created with
    const auto family = make_onednn_gemm(true);
    const auto packed = family->pack(w_.data(), dtype_, outputs, weight_.inputs, WeightOrder::nk);
    for (const std::int64_t rows : trial_rows) {
      std::vector<float> y(static_cast<std::size_t>(rows * outputs));
      const Product product{{x_.data(), dtype_, 1, rows, weight_.inputs},
                            packed.get(),
                            {y.data(), DType::f32, 1, rows, outputs}};
      family->multiply({&product, 1});
      if (reference_.empty())
        reference_ = std::move(y);
      else if (!is_alike(y, rows, outputs))
        return fmt::format("{} rows x {} of {} outputs x {} inputs", rows, outputs, weight_.outputs,
                           weight_.inputs);
    }
    name_ = family->name();
    return "";
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
  std::vector<float> reference_;  // [most_rows, outputs]
  std::string name_;
};

struct Verdict {
  std::string name;     // the name of the family, if all bits are equal
  std::string problem;  // else why oneDNN is not used
  bool has_brg = true;  // false: oneDNN has no "brg" kernel on this CPU; not worth a note
};

Verdict try_onednn(DType dtype, std::span<const WholeWeight> weights, int num_threads) {
  Verdict verdict;
  std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t>> seen;
  for (const WholeWeight& weight : weights) {
    if (!seen.insert({weight.outputs, weight.inputs, weight.output_slices}).second) continue;
    Trial trial(dtype, weight);
    const std::string difference = trial.find_difference(num_threads);
    if (!difference.empty())
      return {"", fmt::format("the bits of its rows depend on the shape of the product or on the "
                              "threads: {}",
                              difference)};
    if (verdict.name.empty()) verdict.name = trial.name();
  }
  return verdict;
}

Verdict try_onednn_safely(DType dtype, std::span<const WholeWeight> weights, int num_threads) {
  Verdict verdict;
  try {
    verdict = try_onednn(dtype, weights, num_threads);
  } catch (const std::bad_alloc&) {  // not a reason for other kernels: they have other bits
    throw;
  } catch (const NoSuchKernel&) {
    verdict = {
        "", "it has no kernel on this CPU that gives a row the same bits for every number of rows",
        false};
  } catch (const std::exception& error) {
    verdict = {"", fmt::format("it fails: {}", error.what()), true};
  }
  omp_set_num_threads(num_threads);
  return verdict;
}

/// oneDNN after a successful trial. Its name contains the kernels that the trial used, because the
/// family itself knows them only after its first product.
class ProvenGemm final : public GemmFamily {
 public:
  explicit ProvenGemm(std::string name) : name_(std::move(name)), family_(make_onednn_gemm(true)) {}
  std::string name() const override { return name_; }
  std::unique_ptr<Matrix> pack(const void* host, DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) override {
    return family_->pack(host, dtype, outputs, inputs, order);
  }
  std::int64_t packed_bytes(DType dtype, std::int64_t outputs, std::int64_t inputs) const override {
    return family_->packed_bytes(dtype, outputs, inputs);
  }
  void multiply(std::span<const Product> products) override { family_->multiply(products); }

 private:
  std::string name_;
  std::unique_ptr<GemmFamily> family_;
};

std::unique_ptr<GemmFamily> make_family(Bf16Kernels kernels) {
  switch (kernels) {
    case Bf16Kernels::avx512_bf16:
      return make_bf16_gemm();
    case Bf16Kernels::amx:
      return make_amx_gemm(TileKind::amx);
    case Bf16Kernels::amx_software:
      return make_amx_gemm(TileKind::software);
    case Bf16Kernels::widened:
      break;
  }
  return make_portable_gemm();
}

}  // namespace

ChosenGemm choose_gemm(GemmChoice choice, DType dtype, std::span<const WholeWeight> weights,
                       int num_threads) {
  if (choice == GemmChoice::onednn) return {make_onednn_gemm(false), {}};
  if (choice == GemmChoice::portable) return {make_portable_gemm(), {}};
  const Bf16Choice own = dtype == DType::bf16 ? active_bf16_choice() : Bf16Choice{};
  if (own.kernels != Bf16Kernels::widened) {
    ChosenGemm chosen{make_family(own.kernels), {}};
    if (!own.reason.empty())
      chosen.notes.push_back(fmt::format("bf16 values are multiplied by the kernels {} ({}).",
                                         chosen.family->name(), own.reason));
    return chosen;
  }
  Verdict verdict;
  if (own.may_be_onednn && !weights.empty()) {
    verdict = try_onednn_safely(dtype, weights, num_threads);
    if (verdict.problem.empty()) return {std::make_unique<ProvenGemm>(verdict.name), {}};
  }
  ChosenGemm chosen{make_portable_gemm(), {}};
  const std::string onednn =
      verdict.problem.empty()
          ? ""
          : fmt::format("oneDNN {} is not used, because {}", onednn_version(), verdict.problem);
  if (dtype == DType::bf16)
    chosen.notes.push_back(
        fmt::format("bf16 values are multiplied as f32 ({}{}{}). Results are correct{}.",
                    own.reason, onednn.empty() ? "" : "; ", onednn,
                    own.may_be_onednn ? "; the speed is about half that of bf16 kernels" : ""));
  else if (verdict.has_brg && !onednn.empty())
    chosen.notes.push_back(
        fmt::format("{}. Own kernels are used; they give the same bits on every grid.", onednn));
  return chosen;
}

}  // namespace tetrarch::backend::cpu
