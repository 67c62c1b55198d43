/// Makes a copy of inputs in the way in which ranks other than 0 get them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::storage {

inline InputSet copy_of(const InputSet& inputs) {
  InputSet copy = InputSet::from_head(inputs.head());
  mpi::NodeMemory memory(static_cast<std::size_t>(copy.column_bytes()));
  inputs.copy_columns(memory.bytes());
  copy.take_columns(std::move(memory));
  return copy;
}

}  // namespace tetrarch::storage
