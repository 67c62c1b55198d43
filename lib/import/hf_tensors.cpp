// Names the tensors of a Hugging Face checkpoint that each tensor of weights.h5 is made of.
// SPDX-License-Identifier: Apache-2.0
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

const char* projection(Role role) {
  return role == Role::gate ? "gate_proj" : role == Role::up ? "up_proj" : "down_proj";
}

/// Names of gate, up or down of one expert, or of a dense layer.
Names ffn_names(const ModelSpec& spec, const TensorSpec& tensor, std::int64_t expert) {
  if (tensor.shape.size() == 2) return {fmt::format("mlp.{}.weight", projection(tensor.role))};
  if (spec.family != "mixtral")
    return {fmt::format("mlp.experts.{}.{}.weight", expert, projection(tensor.role))};
  const char* name = tensor.role == Role::gate ? "w1" : tensor.role == Role::up ? "w3" : "w2";
  const std::string tail = fmt::format("experts.{}.{}.weight", expert, name);
  return {"block_sparse_moe." + tail, "mlp." + tail};
}

/// Sets the names of the tensor that holds all experts. gate and up are one tensor there: for each
/// expert the rows of gate, then the rows of up.
void set_fused(const ModelSpec& spec, const TensorSpec& tensor, TensorSource& source) {
  if (tensor.shape.size() != 3) return;
  const bool is_down = tensor.role == Role::down;
  const char* name = is_down ? "experts.down_proj" : "experts.gate_up_proj";
  for (const char* block : {"mlp", "block_sparse_moe"})
    if (spec.family == "mixtral" || block == std::string_view("mlp"))
      for (const char* end : {"", ".weight"})
        source.fused.push_back(
            fmt::format("model.layers.{}.{}.{}{}", tensor.layer, block, name, end));
  source.fused_parts = is_down ? 1 : 2;
  source.fused_part = tensor.role == Role::up ? 1 : 0;
}

Names router_names(const ModelSpec& spec) {
  if (spec.family != "mixtral") return {"mlp.gate.weight"};
  return {"block_sparse_moe.gate.weight", "mlp.gate.weight"};
}

/// Names of one tensor, without "model.layers.N."; `expert` matters for tensors with experts only.
Names names_in_layer(const ModelSpec& spec, const TensorSpec& tensor, std::int64_t expert) {
  switch (tensor.role) {
    case Role::attn_norm:
      return {"input_layernorm.weight"};
    case Role::moe_norm:
      return {"post_attention_layernorm.weight"};
    case Role::q:
      return {"self_attn.q_proj.weight"};
    case Role::k:
      return {"self_attn.k_proj.weight"};
    case Role::v:
      return {"self_attn.v_proj.weight"};
    case Role::q_norm:
      return {"self_attn.q_norm.weight"};
    case Role::k_norm:
      return {"self_attn.k_norm.weight"};
    case Role::o:
      return {"self_attn.o_proj.weight"};
    case Role::router:
      return router_names(spec);
    default:
      return ffn_names(spec, tensor, expert);
  }
}

Names names_of(const ModelSpec& spec, const TensorSpec& tensor, std::int64_t expert) {
  switch (tensor.role) {
    case Role::embed:
      if (spec.tied_embeddings) return {"model.embed_tokens.weight", "lm_head.weight"};
      return {"model.embed_tokens.weight"};
    case Role::head:
      return {"lm_head.weight"};
    case Role::final_norm:
      return {"model.norm.weight"};
    default:
      break;
  }
  Names names = names_in_layer(spec, tensor, expert);
  for (std::string& name : names)
    name = fmt::format("model.layers.{}.{}", tensor.layer, name);
  return names;
}

}  // namespace

std::vector<TensorSource> tensor_sources(const ModelSpec& spec) {
  std::vector<TensorSource> sources;
  for (const TensorSpec& tensor : tensors_of(spec, 1)) {
    TensorSource source;
    source.path = tensor.path;
    source.is_transposed = tensor.role == Role::o || tensor.role == Role::down;
    for (std::int64_t expert = 0; expert < tensor.num_experts; ++expert)
      source.pieces.push_back(names_of(spec, tensor, expert));
    set_fused(spec, tensor, source);
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace tetrarch::hf
