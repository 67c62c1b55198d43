// SPDX-License-Identifier: Apache-2.0
#include "model/workspace.hpp"

namespace tetrarch::model {

using plan::BufferName;

Workspace::Workspace(const plan::MemoryPlan& plan, backend::Backend& backend)
    : memory_(backend.allocate(plan.workspace_bytes())),
      round_rows_(plan.round_rows),
      head_chunk_(plan.head_chunk) {
  std::int64_t offset = 0;
  for (const plan::BufferPlan& buffer : plan.workspace) {
    const auto at = static_cast<std::size_t>(buffer.name);
    offset_[at] = offset;
    bytes_[at] = buffer.bytes;
    offset += buffer.bytes;
  }
}

backend::Tensor Workspace::tensor(BufferName name, base::DType dtype, std::int64_t slices,
                                  std::int64_t rows, std::int64_t columns) const {
  const auto at = static_cast<std::size_t>(name);
  const backend::Tensor view{static_cast<std::byte*>(memory_->data()) + offset_[at], dtype, slices,
                             rows, columns};
  base::expects(view.bytes() <= bytes_[at], "a buffer within its planned size");
  return view;
}

void Workspace::begin(PassRows pass_rows, std::int64_t hidden_size, base::DType dtype, int tp_rank,
                      std::int64_t cache_tokens) {
  hidden_size_ = hidden_size;
  dtype_ = dtype;
  tp_rank_ = tp_rank;
  cache_tokens_ = cache_tokens;
  narrow(std::move(pass_rows));
}

void Workspace::narrow(PassRows pass_rows) {
  pass_rows_ = std::move(pass_rows);
  home_ = pass_rows_.home(tp_rank_);
  home_count_.clear();
  for (std::size_t rank = 0; rank + 1 < pass_rows_.home_begin.size(); ++rank)
    home_count_.push_back(pass_rows_.home(static_cast<int>(rank)).size());
}

backend::Tensor Workspace::residual() const {
  return tensor(is_odd_ ? BufferName::residual_next : BufferName::residual, dtype_, 1, home_.size(),
                hidden_size_);
}

backend::Tensor Workspace::residual_next() const {
  return tensor(is_odd_ ? BufferName::residual : BufferName::residual_next, dtype_, 1, home_.size(),
                hidden_size_);
}

}  // namespace tetrarch::model
