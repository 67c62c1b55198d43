/// Plain types of HDF5 files: hyperslabs, properties of datasets, how data are stored.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.hpp"
#include "base/shape.hpp"

namespace tetrarch::storage::h5 {

using Id = std::int64_t;  // hid_t

/// How text attributes are written. Both forms are read.
///
/// variable  scalars of variable length in UTF-8; h5py reads them as `str`. They are stored in the
///           file's global heap, which has no checksum. If the heap is damaged, the library
///           (1.10.8) may read beyond its buffers. Used for files that users open; a child process
///           opens such a file first (storage/run/probe.hpp)
/// fixed     texts of fixed length; h5py reads them as `bytes`. They are stored in the object's
///           header, which has a checksum. Used for files that only this program reads
enum class Texts { variable, fixed };

/// A rectangle of a dataset: along each axis, `count` elements from index `offset` on.
struct Hyperslab {
  base::Shape offset, count;
};

/// One member of a compound type, as in /timing/phases: name, type, byte offset in the host struct.
struct Field {
  std::string name;
  base::DType dtype = base::DType::f64;  // ignored if text_bytes > 0
  std::int64_t offset = 0;
  std::int64_t text_bytes = 0;  // > 0: a fixed-length text of that many bytes
};

/// Properties of a dataset, found without reading its elements.
struct Info {
  base::Shape shape;
  std::optional<base::DType> dtype;  // absent: a type of another kind (text, compound, big-endian)
  std::int64_t element_bytes = 0;    // as stored; size of a pointer for variable-length texts
  std::string kind;                  // element type in words: "int64", "text of 8 bytes"
  bool is_integer = false;           // up to 64 bits wide, any sign and byte order
  std::int64_t text_bytes = 0;       // > 0: fixed-length text
  bool is_variable_text = false;
  bool is_contiguous = false;
  std::int64_t stored_bytes = 0;  // bytes in the file, as the file declares
  std::int64_t file_offset = -1;  // contiguous: offset of the first byte; -1: no bytes stored

  /// Whether the stored bytes can unpack to `bytes` of data: deflate compresses at most about
  /// 1032 to 1.
  bool can_hold(std::int64_t bytes) const {
    constexpr std::int64_t max_packing = 1100;
    return bytes / max_packing <= stored_bytes && (bytes == 0 || stored_bytes > 0);
  }
};

/// Whether HDF5 keeps chunks of a dataset in memory. With `direct` each read and write goes to the
/// file at once, and elements that were never written have undefined values.
enum class Chunks { cached, direct };

/// How a new dataset is stored. If `extendible`, its first axis can grow, and it has chunks of
/// about `chunk_bytes`; else it is contiguous.
struct Create {
  base::Shape shape;
  base::DType dtype = base::DType::f32;
  bool extendible = false;
  std::int64_t chunk_bytes = 1 << 20;
  Chunks chunks = Chunks::cached;
  std::string description, units;  // attributes, where not empty
};

}  // namespace tetrarch::storage::h5
