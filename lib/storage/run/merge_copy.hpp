/// Copies one dataset from all parts into results.h5, with its rows in input order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/h5/h5.hpp"
#include "storage/inputs/inputs_file.hpp"
#include "storage/run/results_layout.hpp"
#include "storage/run/run_folder.hpp"

namespace tetrarch::storage {

/// For each sequence, where its rows come from; null: its rows become fill values.
using Sources = std::vector<const CommittedSequence*>;

/// Copies datasets one after another. Needs memory for two buffers of window_bytes, or of one row
/// if a row is larger. Keeps references to the constructor's arguments.
class DatasetCopier {
 public:
  static constexpr std::int64_t window_bytes = 4 << 20;

  DatasetCopier(const Committed& committed, const InputSet& inputs, const Sources& sources)
      : committed_(&committed), inputs_(&inputs), sources_(&sources) {}

  /// Creates the dataset in `results` with its attributes, among them the XXH3 of its bytes.
  void copy(const DatasetPlan& plan, h5::File& results);

 private:
  struct Segment {
    int part = 0;
    std::int64_t part_row = 0, window_row = 0, rows = 0;
  };
  /// Element-wise sums over the parts all of whose sequences count (Committed::is_whole).
  void add_up(const DatasetPlan& plan);
  void gather(const DatasetPlan& plan, std::int64_t begin, std::int64_t end);
  void fetch(const DatasetPlan& plan);
  const h5::Dataset& part_dataset(int part, const std::string& path);

  const Committed* committed_;
  const InputSet* inputs_;
  const Sources* sources_;
  std::int64_t sequence_ = 0;  // first one that may have rows in the current window
  std::vector<Segment> segments_;
  std::vector<std::byte> window_, scratch_;
  std::unordered_map<int, h5::Dataset> open_datasets_;
  std::unordered_map<int, h5::File> open_files_;
};

}  // namespace tetrarch::storage
