// Names the tensors of a Hugging Face checkpoint that each tensor of weights.h5 is made of.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/format.h>

#include "import/hf_config.hpp"
#include "plan/shard.hpp"

namespace tetrarch::hf {
namespace {

using plan::ModelSpec;
using plan::Role;
using plan::tensors_of;
using plan::TensorSpec;

using Names = std::vector<std::string>;

/// The names of the tensors of one role. {N} stands for the layer, {E} for the expert. A tensor may
/// have several names; the first that the checkpoint has is taken.
struct RoleNames {
  Role role;
  Names mixtral, qwen3_moe;
  Names dense;  // in layers without experts
};

const std::string block_sparse_moe = "model.layers.{N}.block_sparse_moe.";
const std::string mlp = "model.layers.{N}.mlp.";
const std::string attention = "model.layers.{N}.self_attn.";

RoleNames of_both(Role role, const std::string& name) {
  return {role, {name}, {name}, {}};
}

RoleNames of_attention(Role role, const char* name) {
  return of_both(role, attention + name + ".weight");
}

/// Mixtral calls the matrices of an expert w1, w2 and w3.
RoleNames of_experts(Role role, const char* mixtral, const char* name) {
  const std::string tail = fmt::format("experts.{{E}}.{}.weight", mixtral);
  return {role,
          {block_sparse_moe + tail, mlp + tail},
          {mlp + fmt::format("experts.{{E}}.{}.weight", name)},
          {mlp + fmt::format("{}.weight", name)}};
}

const RoleNames names_of_roles[] = {
    of_both(Role::embed, "model.embed_tokens.weight"),
    of_both(Role::head, "lm_head.weight"),
    of_both(Role::final_norm, "model.norm.weight"),
    of_both(Role::attn_norm, "model.layers.{N}.input_layernorm.weight"),
    of_both(Role::moe_norm, "model.layers.{N}.post_attention_layernorm.weight"),
    of_attention(Role::q, "q_proj"),
    of_attention(Role::k, "k_proj"),
    of_attention(Role::v, "v_proj"),
    of_attention(Role::q_norm, "q_norm"),
    of_attention(Role::k_norm, "k_norm"),
    of_attention(Role::o, "o_proj"),
    {Role::router,
     {block_sparse_moe + "gate.weight", mlp + "gate.weight"},
     {mlp + "gate.weight"},
     {}},
    of_experts(Role::gate, "w1", "gate_proj"),
    of_experts(Role::up, "w3", "up_proj"),
    of_experts(Role::down, "w2", "down_proj"),
};

bool has_dense_names(const TensorSpec& tensor, const RoleNames& names) {
  return !names.dense.empty() && !tensor.has_experts();
}

/// Names of one tensor, or of one expert of it.
Names names_of(const ModelSpec& spec, const TensorSpec& tensor, std::int64_t expert) {
  const RoleNames& all = *std::ranges::find(names_of_roles, tensor.role, &RoleNames::role);
  Names names = has_dense_names(tensor, all) ? all.dense
                : spec.family == "mixtral"   ? all.mixtral
                                             : all.qwen3_moe;
  for (std::string& name : names)
    name = fmt::format(fmt::runtime(name), fmt::arg("N", tensor.layer), fmt::arg("E", expert));
  if (tensor.role == Role::embed && spec.tied_embeddings) names.push_back("lm_head.weight");
  return names;
}

/// Names of a tensor of all experts: gate and up are one, gate first.
void set_fused(const ModelSpec& spec, const TensorSpec& tensor, TensorSource& source) {
  if (!tensor.has_experts()) return;
  const bool is_down = tensor.role == Role::down;
  const char* name = is_down ? "experts.down_proj" : "experts.gate_up_proj";
  for (const std::string& block : {mlp, block_sparse_moe})
    if (spec.family == "mixtral" || block == mlp)
      for (const char* end : {"", ".weight"})
        source.fused.push_back(
            fmt::format(fmt::runtime(block + name + end), fmt::arg("N", tensor.layer)));
  source.fused_parts = is_down ? 1 : 2;
  source.fused_part = tensor.role == Role::up ? 1 : 0;
}

}  // namespace

std::vector<TensorSource> tensor_sources(const ModelSpec& spec) {
  std::vector<TensorSource> sources;
  for (const TensorSpec& tensor : tensors_of(spec, 1)) {
    TensorSource source;
    source.path = tensor.path;
    source.is_transposed = tensor.kind().cut == plan::Cut::inputs;
    for (std::int64_t expert = 0; expert < tensor.num_experts; ++expert)
      source.pieces.push_back(names_of(spec, tensor, expert));
    set_fused(spec, tensor, source);
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace tetrarch::hf
