/// An HDF5 file made from a description and the fuzzer's edits of it, as bytes.
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
  int type = 0;  // index into types(), or a text where `is_text`
  bool is_text = false, is_variable = false, is_absent = false;
  std::string bytes;  // of all its elements, or the text
  std::int64_t count = 1;
};

struct WantedDataset {
  std::string path;
  int type = 0;  // index into types()
  std::vector<hsize_t> shape;
  std::string bytes;  // of its first elements; the others are 0
  Layout layout = Layout::early;
  Place place = Place::dataset;
  std::vector<hsize_t> chunk;  // where not empty
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

/// A few edits: other types, shapes, layouts, links, attributes and bytes.
void edit(Image& image, Bytes& bytes);
/// The file's bytes. What HDF5 itself does not admit is left out. `is_old`: the format whose
/// metadata have no checksums.
std::string make(const Image& image, bool is_old);

}  // namespace tetrarch::fuzz
