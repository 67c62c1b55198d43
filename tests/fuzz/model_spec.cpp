// config_json of weights.h5: if it is accepted, it prints to the same model, and the units of each
// tensor cover it exactly.
// SPDX-License-Identifier: Apache-2.0
#include "plan/model_spec.hpp"

#include "fuzz.hpp"
#include "plan/shard.hpp"

namespace {

using namespace tetrarch;

void check_tensors(const plan::ModelSpec& spec, std::int64_t shards) {
  std::int64_t parameters = 0;
  for (const plan::TensorSpec& tensor : plan::tensors_of(spec, shards)) {
    parameters += base::checked_elements(tensor.shape);
    std::int64_t rows = 0, bytes = 0;
    for (std::int64_t slice = 0; slice < tensor.num_slices; ++slice) {
      fuzz::must(tensor.slice_rows(slice).begin == rows, "slices follow one another", tensor.path);
      rows += tensor.slice_rows(slice).size();
      bytes += tensor.unit_bytes(slice);
    }
    fuzz::must(bytes * (tensor.num_units() / tensor.num_slices) == tensor.bytes(),
               "units have all bytes of their tensor", tensor.path);
  }
  fuzz::must(parameters == spec.num_parameters(), "tensors have all parameters");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::int64_t most_layers = 16;
  const std::string text(reinterpret_cast<const char*>(data), size);
  plan::ModelSpec spec;
  if (!fuzz::is_accepted([&] { spec = plan::parse_model_spec(text, "weights.h5"); })) return 0;
  const std::string printed = plan::to_config_json(spec);
  const plan::ModelSpec again = plan::parse_model_spec(printed, "again");
  fuzz::must(again == spec, "a model is what it prints", printed);
  fuzz::must(plan::to_config_json(again) == printed, "a model prints the same again", printed);
  if (spec.num_layers > most_layers) return 0;
  for (const std::int64_t shards : {1, 2, 3, 4, 8})
    if (fuzz::is_accepted(
            [&] { plan::check_reduction_shards(spec, shards, base::ExitCode::weights); }))
      check_tensors(spec, shards);
  return 0;
}
