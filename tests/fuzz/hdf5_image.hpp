/// Makes the bytes of an HDF5 file from a description that the fuzzer edits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <hdf5.h>

#include "fuzz.hpp"

namespace tetrarch::fuzz {

enum class Layout { contiguous, early, chunked, compact, unlimited };
enum class Place { dataset, absent, group, soft_link, external_link, alias, cycle, datatype };

struct WantedAttribute {
  std::string name, at = "/";
  int type = 0;  // one of the types below; ignored if `is_text`
  bool is_text = false, is_variable = false, is_absent = false;
  std::string bytes;  // all elements, or the text
  std::int64_t count = 1;
};

struct WantedDataset {
  std::string path;
  int type = 0;  // one of the types below
  std::vector<hsize_t> shape;
  std::string bytes;  // the first elements; the others are 0
  Layout layout = Layout::early;
  Place place = Place::dataset;
  std::vector<hsize_t> chunk;  // of chunks; empty: from `shape`
  unsigned filters = 0;        // bits: deflate, shuffle, fletcher32, scale-offset
};

struct Image {
  std::vector<WantedAttribute> attributes;
  std::vector<WantedDataset> datasets;
};

constexpr int num_types = 14;
enum {
  u8,
  u16,
  u32,
  u64,
  i32,
  i64,
  f32,
  f64,
  f32_be,
  text8,
  variable_text,
  odd_int,
  compound,
  enumeration
};

/// Makes a few edits: other types, shapes, layouts, links, attributes and bytes.
void edit(Image& image, Bytes& bytes);
/// The bytes of the file. Whatever the HDF5 library refuses to create is left out. `is_old`: use
/// the old file format, whose metadata has no checksums.
std::string make(const Image& image, bool is_old);

}  // namespace tetrarch::fuzz
