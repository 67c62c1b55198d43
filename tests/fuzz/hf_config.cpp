// Hugging Face's config.json: if it is accepted, Tetrarch's config_json can describe the same
// model.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_config.hpp"

#include "base/json.hpp"
#include "fuzz.hpp"
#include "plan/shard.hpp"

namespace {

using namespace tetrarch;

void check_json(const base::Json& json) {
  const std::string text = json.dump();
  const base::Json again = base::parse_json(text, "again", base::ExitCode::weights);
  fuzz::must(again == json && again.dump() == text, "JSON that is printed reads the same", text);
}

void check_sources(const plan::ModelSpec& spec) {
  const auto tensors = plan::tensors_of(spec, plan::default_reduction_shards(spec));
  const auto sources = hf::tensor_sources(spec);
  fuzz::must(sources.size() == tensors.size(), "each tensor has a source");
  for (std::size_t i = 0; i < tensors.size(); ++i)
    fuzz::must(sources[i].path == tensors[i].path && !sources[i].pieces.empty(),
               "sources come in the order of tensors", tensors[i].path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::int64_t most_pieces = 1000;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  base::Json json;
  if (!fuzz::is_accepted(
          [&] { json = base::parse_json(text, "config.json", base::ExitCode::weights); }))
    return 0;
  check_json(json);
  plan::ModelSpec spec;
  if (!fuzz::is_accepted([&] { spec = hf::from_hugging_face(json, "config.json"); })) return 0;
  const std::string printed = plan::to_config_json(spec);
  fuzz::must(plan::parse_model_spec(printed, "again") == spec, "a model is what it prints",
             printed);
  if (spec.num_layers * spec.num_experts <= most_pieces) check_sources(spec);
  return 0;
}
