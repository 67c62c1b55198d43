// Checks whether all elements of a dataset were written.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "storage/h5/h5.hpp"
#include "storage/h5/h5_raw.hpp"

namespace tetrarch::storage::h5 {
namespace {

using raw::Owned;
using Wide = unsigned __int128;  // products of sizes from a file

constexpr Wide too_many = Wide{1} << 64;

/// Number of chunks of a dataset of this shape, including partial ones at the edges; too_many if it
/// does not fit 64 bits.
Wide num_chunks_of(const base::Shape& shape, Id plist) {
  std::array<hsize_t, H5S_MAX_RANK> chunk{};
  const int rank = H5Pget_chunk(plist, H5S_MAX_RANK, chunk.data());
  base::expects(rank == static_cast<int>(shape.size()), "a chunk has the axes of its dataset");
  Wide count = 1;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    count = std::min(count * ((static_cast<Wide>(shape[axis]) + chunk[axis] - 1) / chunk[axis]),
                     too_many);
  return count;
}

[[noreturn]] void refuse_unwritten(base::ExitCode code, const std::string& name,
                                   const std::string& what) {
  raw::refuse(code, fmt::format("{}: {} never written (the program that made the file did not "
                                "finish). Make the file again.",
                                name, what));
}

}  // namespace

void Dataset::check_written() const {
  const base::Shape shape = info().shape;
  if (std::ranges::find(shape, 0) != shape.end()) return;
  const Owned plist(H5Dget_create_plist(id_.get()));
  const H5D_layout_t layout = H5Pget_layout(plist.get());
  if (layout != H5D_CHUNKED) {
    if (H5Dget_storage_size(id_.get()) == 0) refuse_unwritten(code_, name_, "its data were");
    return;
  }
  const Owned space(H5Dget_space(id_.get()));
  hsize_t num_written = 0;
  if (H5Dget_num_chunks(id_.get(), space.get(), &num_written) < 0)
    raw::fail_reading(code_, name_, "its chunks cannot be counted");
  const Wide expected = num_chunks_of(shape, plist.get());
  if (expected == too_many || num_written < expected)
    refuse_unwritten(
        code_, name_,
        fmt::format("{} of its {} chunks were", static_cast<std::uint64_t>(expected - num_written),
                    static_cast<std::uint64_t>(std::min(expected, too_many - 1))));
}

}  // namespace tetrarch::storage::h5
