/// Copies one dataset of all parts into results, row by row in input order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/h5.hpp"
#include "storage/inputs_file.hpp"
#include "storage/results_layout.hpp"
#include "storage/run_folder.hpp"

namespace tetrarch::storage {

/// Where the rows of each sequence come from; null: a sequence that gets fill values.
using Sources = std::vector<const CommittedSequence*>;

/// Memory: two buffers of window_bytes (or one row, where that is more).
class DatasetCopier {
 public:
  static constexpr std::int64_t window_bytes = 4 << 20;

  DatasetCopier(const Committed& committed, const InputSet& inputs, const Sources& sources)
      : committed_(&committed), inputs_(&inputs), sources_(&sources) {}

  /// Makes the dataset in `results`, with its attributes and the XXH3 of its bytes.
  void copy(const DatasetPlan& plan, h5::File& results);

 private:
  struct Segment {
    int part = 0;
    std::int64_t part_row = 0, window_row = 0, rows = 0;
  };
  /// Element-wise sums over the parts of which every sequence counts.
  void add_up(const DatasetPlan& plan);
  void gather(const DatasetPlan& plan, std::int64_t begin, std::int64_t end);
  void fetch(const DatasetPlan& plan);
  const h5::Dataset& part_dataset(int part, const std::string& path);

  const Committed* committed_;
  const InputSet* inputs_;
  const Sources* sources_;
  std::int64_t sequence_ = 0;  // first one that may have rows in the window at hand
  std::vector<Segment> segments_;
  std::vector<std::byte> window_, scratch_;
  std::unordered_map<int, h5::Dataset> open_datasets_;
  std::unordered_map<int, h5::File> open_files_;
};

}  // namespace tetrarch::storage
