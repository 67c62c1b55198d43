/// Which sequences pass the layers together, and which EP rank has which.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/layout.hpp"

namespace tetrarch::plan {

/// A sequence of the input files, by its place in input order, and the tokens of it that pass the
/// layers (> 0): all but for a last one beyond max_position, which is only scored.
struct SequenceLength {
  std::int64_t sequence = 0;
  std::int64_t length = 0;
};

/// A run of tokens of one sequence: positions [first, first + count) of `length`. Where the last
/// token is only scored, no run is the last.
struct SequenceSpan {
  std::int64_t sequence = 0;  // in input order
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t length = 0;
  bool is_last() const { return first + count == length; }
};

/// The sequences that pass the layers together: a run of a list that outlives it.
struct Microbatch {
  std::span<const SequenceLength> sequences;
  std::int64_t num_tokens = 0;
};

/// Greedy in input order: a microbatch closes when the next sequence would make it exceed
/// `tokens_per_microbatch`; a longer sequence is a microbatch of its own. A pure function of the
/// lengths and that number: the same for every grid. They refer to `sequences`.
std::vector<Microbatch> make_microbatches(std::span<const SequenceLength> sequences,
                                          std::int64_t tokens_per_microbatch);

/// For each EP rank its sequences of the microbatch, in input order. Longest first by attention
/// cost, each to the rank with the least cost so far (ties: lower rank).
/// cost of a sequence of T tokens = T * linear + T * (T + 1) / 2 * quadratic, in FLOPs of one
/// layer.
std::vector<std::vector<SequenceLength>> assign_to_ep(const Microbatch& microbatch, int ep,
                                                      double linear_cost, double quadratic_cost);

/// A microbatch passes the layers in as many passes as its longest sequence has chunks: pass i
/// takes tokens [i * chunk_tokens, (i + 1) * chunk_tokens) of each sequence that has them.
std::int64_t num_passes(std::span<const SequenceLength> sequences, std::int64_t chunk_tokens);
std::vector<SequenceSpan> spans_of_pass(std::span<const SequenceLength> sequences,
                                        std::int64_t chunk_tokens, std::int64_t pass);

/// The largest parts over all passes of all microbatches; what the workspace must hold.
struct Extents {
  std::int64_t max_microbatch_tokens = 0;  // of one pass, over all EP ranks together
  std::int64_t max_part_tokens = 0;        // of one pass, of one EP rank
  std::int64_t max_home_tokens = 0;        // of one pass, of one (ep, tp) rank
  std::int64_t max_cache_tokens = 0;       // sequences in chunks, of one EP rank: whole lengths
  std::int64_t max_part_sequences = 0;     // of one EP rank
  std::int64_t max_sequence_length = 0;
  std::int64_t num_chunked = 0;  // sequences that pass in chunks, over all microbatches
  std::int64_t list_bytes = 0;   // of the list of microbatches itself
};
Extents extents_of(std::span<const Microbatch> microbatches, const ModelSpec& spec,
                   const Grid& grid, std::int64_t chunk_tokens);
/// The largest of the tp homes [floor(r*T/tp), floor((r+1)*T/tp)) of T tokens of a part.
std::int64_t home_tokens(std::int64_t part_tokens, const Grid& grid);
/// The costs that assign_to_ep takes, for this model.
double linear_cost(const ModelSpec& spec);
double quadratic_cost(const ModelSpec& spec);

}  // namespace tetrarch::plan
