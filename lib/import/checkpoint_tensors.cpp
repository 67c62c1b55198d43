// Finds the stored tensor, or part of one, from which each tensor of weights.h5 is made.
// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint_tensors.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "import/checkpoint_names.hpp"

namespace tetrarch::hf {
namespace {

using base::ExitCode;
using plan::TensorSpec;

constexpr std::size_t longest_shown = 200;  // bytes of a name in messages

/// Shape in the checkpoint of one expert's matrix, or of a whole tensor that has no experts.
base::Shape stored_shape(const TensorSource& source, const TensorSpec& tensor) {
  base::Shape shape = tensor.shape;
  if (shape.size() == 3) shape.erase(shape.begin());
  if (source.is_transposed) std::swap(shape[0], shape[1]);
  return shape;
}

void refuse_shape(plan::Problems& problems, const StoredTensor& found, const base::Shape& expected,
                  const char* advice) {
  problems.add("tensor \"{}\" has shape {}, expected {} from config.json. {}",
               base::shown(found.name, longest_shown), base::to_string(found.shape),
               base::to_string(expected), advice);
}

constexpr const char* of_one_version =
    "Correct config.json, or download the checkpoint again, all files of one version.";

void check_shape(plan::Problems& problems, const StoredTensor& found, const TensorSpec& tensor,
                 const base::Shape& expected) {
  if (found.shape == expected) return;
  const bool is_vocabulary = tensor.kind().cut == plan::Cut::vocabulary;
  if (is_vocabulary && found.shape.size() == 2 && found.shape[1] == expected[1])
    problems.add(
        "tensor \"{}\" has {} rows, but config.json says vocab_size = {} (a vocabulary that was "
        "resized, or files of two versions). Set vocab_size to {} if the tensor is right.",
        base::shown(found.name, longest_shown), found.shape[0], expected[0], found.shape[0]);
  else
    refuse_shape(problems, found, expected, of_one_version);
}

/// True for tensors that no computation needs: RoPE frequencies, and the head of a model with tied
/// embeddings.
bool is_needless(const std::string& name, const plan::ModelSpec& spec) {
  return name.ends_with("rotary_emb.inv_freq") ||
         (spec.tied_embeddings && name == "lm_head.weight");
}

}  // namespace

/// What the search for the tensors has found so far.
struct CheckpointTensors::Search {
  plan::Problems problems;
  std::vector<std::string> missing;
  std::set<int> fused_layers;  // layers that have one tensor for all experts
  std::set<int> mixed_layers;  // layers that have such a tensor and also single experts
  std::string square;          // a fused tensor whose shape alone does not tell its layout
};

CheckpointTensors::CheckpointTensors(const Checkpoint& checkpoint, const plan::ModelSpec& spec,
                                     const std::vector<TensorSpec>& tensors)
    : checkpoint_(checkpoint) {
  const std::vector<std::string> names = checkpoint.names();
  if (!checkpoint.find("model.embed_tokens.weight"))
    if (const std::string problem = problem_of_prefix(names); !problem.empty())
      throw base::Refusal(ExitCode::weights, fmt::format("{}: {}", checkpoint.folder(), problem));
  const std::vector<TensorSource> sources = tensor_sources(spec);
  base::expects(sources.size() == tensors.size(), "a source for each tensor");
  Search search;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (find(sources[i].fused)) search.fused_layers.insert(tensors[i].layer);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    base::expects(sources[i].path == tensors[i].path, "sources in the order of tensors");
    is_transposed_.push_back(sources[i].is_transposed);
    pieces_.emplace_back();
    const bool is_fused = !sources[i].fused.empty() && search.fused_layers.count(tensors[i].layer);
    is_fused ? add_fused(sources[i], tensors[i], search) : add(sources[i], tensors[i], search);
  }
  judge_the_rest(spec, search);
  search.problems.refuse(ExitCode::weights, checkpoint.folder());
  if (!search.square.empty())
    remarks_.push_back(fmt::format(
        "the last two axes of {} are equal, so its shape does not tell their order (the same in "
        "other layers). It is read as transformers writes it (gate_up_proj [E, 2F, D], down_proj "
        "[E, D, F]), because the layer's other tensor of experts has that order.",
        search.square));
}

const StoredTensor* CheckpointTensors::find(const std::vector<std::string>& names) const {
  for (const std::string& name : names)
    if (const StoredTensor* tensor = checkpoint_.find(name)) return tensor;
  return nullptr;
}

void CheckpointTensors::add(const TensorSource& source, const TensorSpec& tensor, Search& search) {
  const base::Shape expected = stored_shape(source, tensor);
  for (const std::vector<std::string>& names : source.pieces) {
    const StoredTensor* found = find(names);
    pieces_.back().push_back({found, 0});
    if (!found) {
      search.missing.push_back(names.front());
      continue;
    }
    used_.insert(found);
    check_shape(search.problems, *found, tensor, expected);
  }
}

void CheckpointTensors::add_fused(const TensorSource& source, const TensorSpec& tensor,
                                  Search& search) {
  for (const std::vector<std::string>& names : source.pieces)
    if (find(names)) search.mixed_layers.insert(tensor.layer);
  const StoredTensor* found = find(source.fused);
  const base::Shape one = stored_shape(source, tensor);
  const std::int64_t rows = source.fused_parts * one[0];
  for (std::int64_t expert = 0; expert < tensor.num_experts; ++expert)
    pieces_.back().push_back({found, (expert * rows + source.fused_part * one[0]) * one[1]});
  if (!found) {
    if (source.fused_part == 0) search.missing.push_back(source.fused.front());
    return;
  }
  if (!used_.insert(found).second) return;  // already checked for gate: up is in the same tensor
  const base::Shape expected = {tensor.num_experts, rows, one[1]};
  const base::Shape turned = {tensor.num_experts, one[1], rows};
  if (rows == one[1] && search.square.empty()) search.square = base::shown(found->name);
  if (found->shape == expected) return;
  refuse_shape(
      search.problems, *found, expected,
      found->shape == turned
          ? "Its experts are transposed, and the file does not say whether gate and up lie one "
            "after the other or alternate: save the checkpoint with transformers 5."
          : of_one_version);
}

void CheckpointTensors::judge_the_rest(const plan::ModelSpec& spec, Search& search) {
  std::vector<std::string> needless, unexpected;
  for (const std::string& name : checkpoint_.names()) {
    if (used_.count(checkpoint_.find(name))) continue;
    (is_needless(name, spec) ? needless : unexpected).push_back(name);
  }
  for (const int layer : search.mixed_layers)
    search.problems.add(
        "layer {} has tensors of single experts and also one tensor of all experts. Remove the "
        "wrong ones.",
        layer);
  if (!search.missing.empty())
    search.problems.add(
        "{} tensors that config.json asks for are missing: {}. Download the checkpoint again, all "
        "files of one version.",
        search.missing.size(), listed(search.missing));
  if (!unexpected.empty() && search.mixed_layers.empty())
    search.problems.add("{} tensors do not belong to the model of config.json: {}. {}",
                        unexpected.size(), listed(unexpected),
                        advice_on_unexpected(unexpected, spec));
  if (!needless.empty())
    remarks_.push_back(
        fmt::format("{} tensors are left out, because no computation needs them: {}.",
                    needless.size(), listed(needless)));
}

}  // namespace tetrarch::hf
