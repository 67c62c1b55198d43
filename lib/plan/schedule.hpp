/// Groups sequences into microbatches, and assigns those of a microbatch to EP ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/layout.hpp"

namespace tetrarch::plan {

/// One sequence of the inputs.
struct SequenceLength {
  std::int64_t sequence = 0;  // index in input order
  std::int64_t length = 0;    // tokens that pass the layers, > 0; without a last token of which
                              // only the log-prob is wanted
};

/// Consecutive tokens of one sequence: positions [first, first + count).
struct SequenceSpan {
  std::int64_t sequence = 0;  // index in input order
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t length = 0;  // tokens of the whole sequence
  /// True when the span has the last token of the sequence. False for all spans when that token
  /// does not pass the layers.
  bool is_last() const { return first + count == length; }
};

/// Sequences that pass the layers together: consecutive entries of a list that must outlive it.
struct Microbatch {
  std::span<const SequenceLength> sequences;
  std::int64_t num_tokens = 0;
};

/// Groups `sequences` into microbatches, in input order: a microbatch ends when the next sequence
/// would make it exceed `tokens_per_microbatch`. A sequence longer than that is a microbatch of its
/// own. The result depends on the arguments alone, so it is the same for every grid. It refers to
/// `sequences`.
std::vector<Microbatch> make_microbatches(std::span<const SequenceLength> sequences,
                                          std::int64_t tokens_per_microbatch);

/// The sequences of each EP rank, in input order. They are assigned one by one, the longest first,
/// each to the rank with the least cost so far (ties: the lower rank).
/// The cost of a sequence of T tokens is T * linear_cost + T * (T + 1) / 2 * quadratic_cost, in
/// FLOPs of one layer.
std::vector<std::vector<SequenceLength>> assign_to_ep(const Microbatch& microbatch, int ep,
                                                      double linear_cost, double quadratic_cost);

/// The number of passes of these sequences: the number of chunks of the longest one. Pass i takes
/// tokens [i * chunk_tokens, (i + 1) * chunk_tokens) of each sequence that is long enough.
std::int64_t num_passes(std::span<const SequenceLength> sequences, std::int64_t chunk_tokens);
/// The tokens of each sequence in pass number `pass`, from 0. `length` of the spans is that in
/// `sequences`.
std::vector<SequenceSpan> spans_of_pass(std::span<const SequenceLength> sequences,
                                        std::int64_t chunk_tokens, std::int64_t pass);

/// The largest sizes over all passes of all microbatches: what the workspace must hold.
struct Extents {
  std::int64_t max_microbatch_tokens = 0;  // in one pass, of all EP ranks together
  std::int64_t max_pass_tokens = 0;        // in one pass, of one EP rank
  std::int64_t max_home_tokens = 0;        // in one pass, of one (ep, tp) rank
  std::int64_t max_cache_tokens = 0;       // whole lengths of an EP rank's sequences in chunks
  std::int64_t max_part_sequences = 0;     // of one EP rank in one microbatch
  std::int64_t max_sequence_length = 0;
  std::int64_t num_chunked = 0;  // sequences that pass in chunks, of all microbatches
  std::int64_t list_bytes = 0;   // bytes of the list of microbatches itself
};
/// The sizes on a grid; of the grid only ep and tp matter.
Extents extents_of(std::span<const Microbatch> microbatches, const ModelSpec& spec,
                   const Grid& grid, std::int64_t chunk_tokens);
/// The most tokens that one tp rank holds of `part_tokens` tokens of an EP rank, which are cut into
/// tp shares by even_range().
std::int64_t home_tokens(std::int64_t part_tokens, const Grid& grid);
/// The costs for assign_to_ep(), in FLOPs of one layer: per token, and per (query, key) pair.
double linear_cost(const ModelSpec& spec);
double quadratic_cost(const ModelSpec& spec);

}  // namespace tetrarch::plan
