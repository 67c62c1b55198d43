// Small safetensors files and checkpoint folders for tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/shape.hpp"
#include "storage/scratch.hpp"

namespace tetrarch::test {

/// A tensor of F32 with the elements first, first + 1, first + 2 ...
struct Counted {
  base::Shape shape;
  float first = 0;
};
using Tensors = std::map<std::string, Counted>;

inline void write_safetensors(const std::string& path, const Tensors& tensors) {
  std::vector<std::string> entries;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t begin = data.size();
    for (std::int64_t i = 0; i < base::checked_elements(tensor.shape); ++i) {
      const float value = tensor.first + static_cast<float>(i);
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    entries.push_back(fmt::format(R"("{}":{{"dtype":"F32","shape":[{}],"data_offsets":[{},{}]}})",
                                  name, fmt::join(tensor.shape, ","), begin, data.size()));
  }
  const std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
  const std::uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  write_file(path, bytes + header + data);
}

/// Writes the index of a checkpoint; `map`: tensor -> file.
inline void write_index(const std::string& folder, const std::map<std::string, std::string>& map) {
  std::vector<std::string> entries;
  for (const auto& [tensor, file] : map)
    entries.push_back(fmt::format(R"("{}":"{}")", tensor, file));
  write_file(folder + "/model.safetensors.index.json",
             fmt::format(R"({{"weight_map":{{{}}}}})", fmt::join(entries, ",")));
}

}  // namespace tetrarch::test
