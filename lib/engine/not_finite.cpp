// SPDX-License-Identifier: Apache-2.0
#include "engine/not_finite.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include <fmt/format.h>

#include "base/text.hpp"

namespace tetrarch::engine {

using model::Origin;

namespace {

/// The place as text, for example "layer 3, expert 7".
std::string where(std::int64_t layer, Origin origin, std::int32_t number) {
  switch (origin) {
    case Origin::embedding:
      return fmt::format("the embedding of token id {}", number);
    case Origin::attention:
      return fmt::format("layer {}, attention", layer);
    case Origin::ffn_norm:
      return fmt::format("layer {}, the norm after attention", layer);
    case Origin::router:
      return fmt::format("layer {}, router", layer);
    case Origin::expert:
      return fmt::format("layer {}, expert {}", layer, number);
    case Origin::experts:
      return fmt::format("layer {}, the sum of its experts", layer);
    case Origin::dense:
      return fmt::format("layer {}, dense FFN", layer);
    case Origin::final_norm:
      return "the final norm";
    case Origin::head:
      return "the head";
    case Origin::pooling:
      return "the mean of the hidden states";
  }
  return "?";
}

/// The datasets of weights.h5 that such a row is computed from.
std::string weights_of(std::int64_t layer, Origin origin, std::int32_t number,
                       const plan::ModelSpec& spec) {
  const std::string at = fmt::format("/layers/{:02}/", layer);
  const std::string ffn = spec.expert_kind == plan::ExpertKind::glu ? "gate, up, down" : "up, down";
  switch (origin) {
    case Origin::embedding:
      return fmt::format("/embed[{}]", number);
    case Origin::attention:
      return at + (spec.qk_norm == plan::QkNorm::per_head ? "attn_norm, q, k, v, q_norm, k_norm, o"
                                                          : "attn_norm, q, k, v, o");
    case Origin::ffn_norm:
      return at + "moe_norm";
    case Origin::router:
      return at + "router";
    case Origin::expert:
      return fmt::format("{}{} [{}]", at, ffn, number);
    case Origin::experts:
    case Origin::dense:
      return at + ffn;
    case Origin::final_norm:
      return "/final_norm";
    case Origin::head:
      return spec.tied_embeddings ? "/embed" : "/head";
    case Origin::pooling:
      return "";
  }
  return "";
}

/// The reason, and what the user can do.
std::string advice(std::int64_t layer, Origin origin, std::int32_t number,
                   const plan::ModelSpec& spec) {
  if (origin == Origin::pooling)
    return "(their sum overflows f32). Use --hidden-pooling none in a new run folder.";
  return fmt::format("(a broken weight, or values too large for {}). Check {} in the weights file.",
                     base::name_of(spec.dtype), weights_of(layer, origin, number, spec));
}

template <class Bits>
std::int64_t first_with_full_exponent(const backend::Tensor& rows, Bits exponent) {
  const std::byte* at = static_cast<const std::byte*>(rows.data);
  std::vector<Bits> row(static_cast<std::size_t>(rows.columns));
  for (std::int64_t number = 0; number < rows.rows; ++number, at += rows.row_bytes()) {
    if (rows.columns > 0) std::memcpy(row.data(), at, static_cast<std::size_t>(rows.row_bytes()));
    Bits most = 0;
    for (const Bits bits : row)
      most = std::max<Bits>(most, static_cast<Bits>(bits & exponent));
    if (most == exponent) return number;
  }
  return -1;
}

}  // namespace

std::string error_text(const model::NotFinite& found, const plan::ModelSpec& spec) {
  return fmt::format("non-finite values first at {}, position {} {}",
                     where(found.layer, found.origin, found.number), found.position,
                     advice(found.layer, found.origin, found.number, spec));
}

std::string log_text(const NotFinitePlace& place, const plan::ModelSpec& spec) {
  return fmt::format("{} sequence{} with non-finite values first at {} {}",
                     base::count_text(place.num_sequences), place.num_sequences == 1 ? "" : "s",
                     where(place.layer, place.origin, place.number),
                     advice(place.layer, place.origin, place.number, spec));
}

std::vector<NotFinitePlace> NotFiniteTally::gather(const mpi::Communicator& world) const {
  std::vector<NotFinitePlace> mine;
  for (const auto& [key, count] : count_)
    mine.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), count});
  const std::vector<std::byte> bytes = world.gather_v(std::as_bytes(std::span(mine)), 0);
  std::vector<NotFinitePlace> all(bytes.size() / sizeof(NotFinitePlace));
  if (!all.empty()) std::memcpy(all.data(), bytes.data(), bytes.size());

  NotFiniteTally total;
  for (const NotFinitePlace& place : all)
    total.count_[{place.layer, place.origin, place.number}] += place.num_sequences;
  all.clear();
  for (const auto& [key, count] : total.count_)
    all.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), count});
  return all;
}

std::int64_t first_not_finite(const backend::Tensor& rows) {
  if (rows.dtype == base::DType::f32)
    return first_with_full_exponent<std::uint32_t>(rows, 0x7f800000u);
  return first_with_full_exponent<std::uint16_t>(rows, 0x7f80u);
}

}  // namespace tetrarch::engine
