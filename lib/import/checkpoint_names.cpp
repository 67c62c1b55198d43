// Explains tensor names of a checkpoint that its model does not have.
// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint_names.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/format.h>

#include "base/text.hpp"

namespace tetrarch::hf {
namespace {

constexpr std::string_view embed = "embed_tokens.weight";
constexpr std::string_view layers = "model.layers.";

struct Prefix {
  std::string_view text, advice;
};
constexpr Prefix prefixes[] = {
    {"",
     "It was saved from the model without its head: save the model with its head "
     "(...ForCausalLM)."},
    {"base_model.model.",
     "It was saved with a PEFT adapter around it: merge the adapter (merge_and_unload) and save "
     "again."},
    {"_orig_mod.",
     "It was saved from a model compiled by torch.compile: save the model that was given to "
     "torch.compile."},
    {"module.", "It was saved from a parallel wrapper: save the model inside it (.module)."},
    {"language_model.", "It is a part of a larger model: save the language model alone."},
    {"model.language_model.", "It is a part of a larger model: save the language model alone."}};

struct Word {
  std::string_view in_name, advice;
};
constexpr Word words[] = {
    {"lora_", "A LoRA adapter is not merged: merge it (merge_and_unload) and save again."},
    {"modules_to_save", "A PEFT adapter is not merged: merge it and save again."},
    {"weight_scale", "The weights are quantised: use the checkpoint in bf16 or f32."},
    {"qweight", "The weights are quantised: use the checkpoint in bf16 or f32."},
    {"_blocks", "The weights are quantised: use the checkpoint in bf16 or f32."},
    {"shared_expert", "This version has no shared experts."},
    {".bias", "This version has no biases."}};

/// Largest N of "model.layers.N."; -1 where there is none.
std::int64_t last_layer(const std::vector<std::string>& names) {
  std::int64_t last = -1;
  for (const std::string& name : names) {
    if (!name.starts_with(layers)) continue;
    std::int64_t layer = -1;
    std::from_chars(name.data() + layers.size(), name.data() + name.size(), layer);
    last = std::max(last, layer);
  }
  return last;
}

}  // namespace

std::string problem_of_prefix(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name == "tok_embeddings.weight")
      return "its tensors have the names of Mistral's own format (tok_embeddings.weight). Use its "
             "Hugging Face version.";
    if (!name.ends_with(embed)) continue;
    const std::string_view found = std::string_view(name).substr(0, name.size() - embed.size());
    std::string advice = "Save it from the model itself (save_pretrained).";
    for (const Prefix& prefix : prefixes)
      if (found == prefix.text ||
          (!prefix.text.empty() && found == fmt::format("{}model.", prefix.text)))
        advice = prefix.advice;
    return fmt::format("its tensors have other names: \"{}\" instead of \"model.{}\". {}",
                       base::shown(name), embed, advice);
  }
  return "";
}

std::string advice_on_unexpected(const std::vector<std::string>& names,
                                 const plan::ModelSpec& spec) {
  const std::int64_t last = last_layer(names);
  if (last >= spec.num_layers)
    return fmt::format(
        "The tensors go up to layer {}, but config.json says num_hidden_layers = {}. Correct the "
        "wrong one.",
        last, spec.num_layers);
  for (const Word& word : words)
    for (const std::string& name : names)
      if (name.find(word.in_name) != std::string::npos) return std::string(word.advice);
  return "No model of this version has such tensors.";
}

}  // namespace tetrarch::hf
