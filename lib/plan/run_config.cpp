// Reads the options of `run` that choose the outputs.
// SPDX-License-Identifier: Apache-2.0
#include "plan/run_config.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/ranges.h>

#include "base/text.hpp"
#include "plan/problems.hpp"

namespace tetrarch::plan {
namespace {

std::vector<std::string> items_of(std::string_view list) {
  std::vector<std::string> items;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    items.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

void unknown(Problems& problems, const char* option, const std::string& word,
             const std::vector<std::string>& valid) {
  const std::string near = word.empty() ? "" : base::nearest(word, valid);
  const std::string hint = near.empty() ? "" : fmt::format("Did you mean {}? ", near);
  problems.add("--{}: \"{}\" is not a valid value. {}Use {}.", option, base::shown(word), hint,
               fmt::join(valid, ", "));
}

void read_outputs(const std::string& list, Outputs& outputs, Problems& problems) {
  const std::vector<std::string> names = {"logprobs", "topk",    "last_logits", "hidden",
                                          "kv",       "routing", "experts"};
  bool* const flags[] = {&outputs.logprobs, &outputs.topk,    &outputs.last_logits, &outputs.hidden,
                         &outputs.kv,       &outputs.routing, &outputs.experts};
  for (bool* flag : flags)
    *flag = false;
  for (const std::string& item : items_of(list)) {
    const auto found = std::find(names.begin(), names.end(), item);
    if (found == names.end()) {
      unknown(problems, "outputs", item, names);
      continue;
    }
    bool& flag = *flags[found - names.begin()];
    if (flag) problems.add("--outputs: \"{}\" occurs twice. Name it once.", item);
    flag = true;
  }
}

std::vector<std::int64_t> read_hidden_layers(const std::string& list, std::int64_t num_layers,
                                             Problems& problems) {
  std::vector<std::int64_t> layers;
  for (const std::string& item : items_of(list)) {
    std::int64_t layer = 0;
    const char* const end = item.data() + item.size();
    const auto [stop, error] = std::from_chars(item.data(), end, layer);
    if (item == "final") {
      layers.push_back(num_layers);
    } else if (item == "embed") {
      layers.push_back(-1);
    } else if (item == "all") {
      for (std::int64_t each = -1; each <= num_layers; ++each)
        layers.push_back(each);
    } else if (error == std::errc::invalid_argument || stop != end || item.front() == '-') {
      unknown(problems, "hidden-layers", item,
              {"final", "embed", "all", "layer numbers such as 0,7"});
    } else if (error != std::errc() || layer >= num_layers) {
      problems.add("--hidden-layers: {} is not a layer of this model. Use 0 to {}.",
                   base::shown(item), num_layers - 1);
    } else {
      layers.push_back(layer);
    }
  }
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

Pooling read_pooling(const std::string& word, Problems& problems) {
  if (word == "last") return Pooling::last;
  if (word == "mean") return Pooling::mean;
  if (word != "none") unknown(problems, "hidden-pooling", word, {"none", "last", "mean"});
  return Pooling::none;
}

void check_top_k_logprobs(std::int64_t asked, std::int64_t vocab_size, Problems& problems) {
  if (asked < 1 || asked > vocab_size)
    problems.add(
        "--top-k-logprobs: {} is out of range (the model's vocabulary has {} tokens). Use 1 to {}.",
        asked, vocab_size, vocab_size);
}

}  // namespace

Outputs resolve_outputs(const RunConfig& config, const ModelSpec& spec) {
  Problems problems;
  Outputs outputs;
  read_outputs(config.outputs, outputs, problems);
  const std::vector<std::int64_t> hidden_layers =
      read_hidden_layers(config.hidden_layers, spec.num_layers, problems);
  const Pooling pooling = read_pooling(config.hidden_pooling, problems);
  if (outputs.topk) check_top_k_logprobs(config.top_k_logprobs, spec.vocab_size, problems);
  problems.refuse(base::ExitCode::usage, "the options of the outputs");
  if (outputs.hidden) {
    outputs.hidden_layers = hidden_layers;
    outputs.pooling = pooling;
  }
  if (outputs.topk) outputs.top_k_logprobs = config.top_k_logprobs;
  return outputs;
}

}  // namespace tetrarch::plan
