// The table of tensors.
// SPDX-License-Identifier: Apache-2.0
#include "plan/tensor_table.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace tetrarch::plan {
namespace {

using base::Shape;
using Spec = ModelSpec;

bool has_experts(const Spec& spec, int layer) {
  return spec.is_moe[static_cast<std::size_t>(layer)];
}
Shape vocabulary(const Spec& spec, int) {
  return {spec.vocab_size, spec.hidden_size};
}
Shape untied_vocabulary(const Spec& spec, int layer) {
  return spec.tied_embeddings ? Shape{} : vocabulary(spec, layer);
}
Shape hidden(const Spec& spec, int) {
  return {spec.hidden_size};
}
Shape heads(const Spec& spec, int) {
  return {spec.num_heads * spec.head_size, spec.hidden_size};
}
Shape kv_heads(const Spec& spec, int) {
  return {spec.num_kv_heads * spec.head_size, spec.hidden_size};
}
Shape head_norm(const Spec& spec, int) {
  return spec.qk_norm == QkNorm::per_head ? Shape{spec.head_size} : Shape{};
}
Shape router(const Spec& spec, int layer) {
  return has_experts(spec, layer) ? Shape{spec.num_experts, spec.hidden_size} : Shape{};
}
Shape ffn(const Spec& spec, int layer) {
  return has_experts(spec, layer) ? Shape{spec.num_experts, spec.expert_ffn, spec.hidden_size}
                                  : Shape{spec.dense_ffn, spec.hidden_size};
}
Shape ffn_gate(const Spec& spec, int layer) {
  return spec.expert_kind == ExpertKind::glu ? ffn(spec, layer) : Shape{};
}

constexpr Deviation of_embedding{1, false}, of_norm{0.1, false}, of_product{1, true};
constexpr Deviation of_router{2.5, true};  // so that the choice of experts is clear

// clang-format off
constexpr TensorKind table[] = {
    {Role::embed, "embed", Site::embedding, Cut::vocabulary, vocabulary, of_embedding,
     "token embeddings [vocabulary, hidden]"},
    {Role::attn_norm, "attn_norm", Site::layer, Cut::whole, hidden, of_norm,
     "scale of the norm before attention [hidden]"},
    {Role::q, "q", Site::layer, Cut::outputs, heads, of_product,
     "query projection [heads * head_dim, hidden]"},
    {Role::k, "k", Site::layer, Cut::kv_heads, kv_heads, of_product,
     "key projection [kv heads * head_dim, hidden]"},
    {Role::v, "v", Site::layer, Cut::kv_heads, kv_heads, of_product,
     "value projection [kv heads * head_dim, hidden]"},
    {Role::q_norm, "q_norm", Site::layer, Cut::whole, head_norm, of_norm,
     "scale of the norm of each query head [head_dim]"},
    {Role::k_norm, "k_norm", Site::layer, Cut::whole, head_norm, of_norm,
     "scale of the norm of each key head [head_dim]"},
    {Role::o, "o", Site::layer, Cut::inputs, heads, of_product,
     "attention's output projection, input-major [heads * head_dim, hidden]"},
    {Role::moe_norm, "moe_norm", Site::layer, Cut::whole, hidden, of_norm,
     "scale of the norm before the experts [hidden]"},
    {Role::router, "router", Site::layer, Cut::whole, router, of_router,
     "router [experts, hidden]"},
    {Role::gate, "gate", Site::layer, Cut::outputs, ffn_gate, of_product,
     "gate projection [ffn, hidden]", "gate projections [experts, ffn, hidden]"},
    {Role::up, "up", Site::layer, Cut::outputs, ffn, of_product,
     "up projection [ffn, hidden]", "up projections [experts, ffn, hidden]"},
    {Role::down, "down", Site::layer, Cut::inputs, ffn, of_product,
     "down projection, ffn-major [ffn, hidden]", "down projections, ffn-major [experts, ffn, hidden]"},
    {Role::final_norm, "final_norm", Site::final_norm, Cut::whole, hidden, of_norm,
     "scale of the norm before the output projection [hidden]"},
    {Role::head, "head", Site::head, Cut::vocabulary, untied_vocabulary, of_product,
     "output projection [vocabulary, hidden]"},
};
// clang-format on

}  // namespace

std::span<const TensorKind> tensor_table() {
  return table;
}

const TensorKind& kind_of(Role role) {
  const auto* const found = std::ranges::find(table, role, &TensorKind::role);
  base::expects(found != std::end(table), "a role of the table");
  return *found;
}

std::int64_t num_slices(const TensorKind& kind, const ModelSpec& spec,
                        std::int64_t reduction_shards) {
  switch (kind.cut) {
    case Cut::whole:
      return 1;
    case Cut::kv_heads:
      return std::min(reduction_shards, spec.num_kv_heads);
    case Cut::vocabulary:
    case Cut::outputs:
    case Cut::inputs:
      break;
  }
  return reduction_shards;
}

}  // namespace tetrarch::plan
