// SPDX-License-Identifier: Apache-2.0
#include "hdf5_image.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace tetrarch::fuzz {
namespace {

constexpr hsize_t most_bytes = 1 << 20;  // of one dataset whose data is written

/// A new id, which the caller has to close.
hid_t make_type(int type) {
  const hid_t plain[] = {H5T_STD_U8LE,   H5T_STD_U16LE,  H5T_STD_U32LE,
                         H5T_STD_U64LE,  H5T_STD_I32LE,  H5T_STD_I64LE,
                         H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_IEEE_F32BE};
  if (type < text8) return H5Tcopy(plain[type]);
  if (type == compound) {
    const hid_t made = H5Tcreate(H5T_COMPOUND, 12);
    H5Tinsert(made, "a", 0, H5T_STD_U32LE);
    H5Tinsert(made, "b", 4, H5T_STD_U64LE);
    return made;
  }
  if (type == enumeration) {
    const hid_t made = H5Tenum_create(H5T_STD_U8LE);
    const std::uint8_t value = 1;
    H5Tenum_insert(made, "one", &value);
    return made;
  }
  const hid_t made = H5Tcopy(type == odd_int ? H5T_STD_U32LE : H5T_C_S1);
  if (type == odd_int) {
    H5Tset_precision(made, 13);
    H5Tset_offset(made, 5);
  } else {
    H5Tset_size(made, type == text8 ? 8 : H5T_VARIABLE);
    H5Tset_strpad(made, H5T_STR_NULLPAD);
  }
  return made;
}

/// Bytes of the dataset; the largest hsize_t if there are more.
hsize_t bytes_of(const WantedDataset& wanted, hid_t type) {
  hsize_t bytes = H5Tget_size(type);
  for (const hsize_t extent : wanted.shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return ~hsize_t{0};
  return bytes;
}

hid_t make_space(const std::vector<hsize_t>& shape, bool is_unlimited) {
  if (shape.empty()) return H5Screate(H5S_SCALAR);
  std::vector<hsize_t> most = shape;
  if (is_unlimited) most[0] = H5S_UNLIMITED;
  return H5Screate_simple(static_cast<int>(shape.size()), shape.data(), most.data());
}

hid_t make_layout(const WantedDataset& wanted, hsize_t bytes) {
  const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  const bool is_chunked = wanted.layout == Layout::chunked || wanted.layout == Layout::unlimited;
  if (wanted.layout == Layout::compact) H5Pset_layout(plist, H5D_COMPACT);
  if (wanted.layout == Layout::early && bytes <= most_bytes)
    H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY);
  if (!is_chunked || wanted.shape.empty()) return plist;
  std::vector<hsize_t> chunk = wanted.shape;
  for (std::size_t i = 0; i < chunk.size(); ++i)
    chunk[i] = std::clamp<hsize_t>(i < wanted.chunk.size() ? wanted.chunk[i] : chunk[i], 1, 64);
  H5Pset_chunk(plist, static_cast<int>(chunk.size()), chunk.data());
  if (wanted.filters & 2) H5Pset_shuffle(plist);
  if (wanted.filters & 1) H5Pset_deflate(plist, 1);
  if (wanted.filters & 4) H5Pset_fletcher32(plist);
  if (wanted.filters & 8) H5Pset_scaleoffset(plist, H5Z_SO_INT, 4);
  return plist;
}

void write_bytes(hid_t dataset, hid_t type, const WantedDataset& wanted) {
  const hsize_t bytes = bytes_of(wanted, type);
  if (bytes == 0 || bytes > most_bytes) return;
  if (H5Tis_variable_str(type) > 0) {
    std::vector<const char*> texts(bytes / sizeof(char*), wanted.bytes.c_str());
    H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.data());
    return;
  }
  std::string all = wanted.bytes;
  all.resize(bytes);
  H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all.data());
}

void make_dataset(hid_t file, hid_t links, const WantedDataset& wanted) {
  const hid_t type = make_type(wanted.type);
  const hid_t space = make_space(wanted.shape, wanted.layout == Layout::unlimited);
  const hid_t layout = make_layout(wanted, bytes_of(wanted, type));
  const hid_t dataset =
      H5Dcreate2(file, wanted.path.c_str(), type, space, links, layout, H5P_DEFAULT);
  if (dataset >= 0) {
    // no data with scale-offset: readers refuse it, and the library's own filter has defects
    if ((wanted.filters & 8) == 0) write_bytes(dataset, type, wanted);
    H5Dclose(dataset);
  }
  H5Pclose(layout);
  H5Sclose(space);
  H5Tclose(type);
}

void make_other(hid_t file, hid_t links, const WantedDataset& wanted, const std::string& other) {
  const char* path = wanted.path.c_str();
  switch (wanted.place) {
    case Place::group:
      H5Gclose(H5Gcreate2(file, path, links, H5P_DEFAULT, H5P_DEFAULT));
      break;
    case Place::soft_link:
      H5Lcreate_soft(other.c_str(), file, path, links, H5P_DEFAULT);
      break;
    case Place::external_link:
      H5Lcreate_external("/dev/null", other.c_str(), file, path, links, H5P_DEFAULT);
      break;
    case Place::alias:
      H5Lcreate_hard(file, other.c_str(), file, path, links, H5P_DEFAULT);
      break;
    case Place::cycle:
      H5Lcreate_hard(file, "/", file, path, links, H5P_DEFAULT);
      break;
    case Place::datatype: {
      const hid_t type = make_type(wanted.type);
      H5Tcommit2(file, path, type, links, H5P_DEFAULT, H5P_DEFAULT);
      H5Tclose(type);
      break;
    }
    default:
      break;
  }
}

void make_attribute(hid_t file, const WantedAttribute& wanted) {
  const hid_t at = H5Oopen(file, wanted.at.c_str(), H5P_DEFAULT);
  if (at < 0) return;
  hid_t type = wanted.is_text ? H5Tcopy(H5T_C_S1) : make_type(wanted.type);
  if (wanted.is_text)
    H5Tset_size(type,
                wanted.is_variable ? H5T_VARIABLE : std::max<std::size_t>(1, wanted.bytes.size()));
  const auto count = static_cast<hsize_t>(wanted.count);
  const hid_t space = wanted.count < 0 ? H5Screate(H5S_NULL) : H5Screate_simple(1, &count, nullptr);
  const hid_t attribute =
      H5Acreate2(at, wanted.name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
  const std::size_t bytes =
      H5Tget_size(type) * static_cast<std::size_t>(std::max<std::int64_t>(0, wanted.count));
  if (attribute >= 0 && bytes > 0) {
    std::string all = wanted.bytes;
    all.resize(std::max(bytes, all.size() + 1));
    const std::vector<const char*> texts(bytes / sizeof(char*) + 1, all.c_str());
    const bool is_variable = H5Tis_variable_str(type) > 0;
    H5Awrite(attribute, type, is_variable ? static_cast<const void*>(texts.data()) : all.data());
  }
  if (attribute >= 0) H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
  H5Oclose(at);
}

void edit_dataset(WantedDataset& wanted, Bytes& bytes) {
  switch (bytes.byte() % 8) {
    case 0:
      wanted.place = static_cast<Place>(bytes.byte() % 8);
      break;
    case 1:
      wanted.type = bytes.byte() % num_types;
      break;
    case 2:
      wanted.shape.resize(std::min<std::size_t>(bytes.byte() % 5, 4), 1);
      break;
    case 3:
      if (!wanted.shape.empty())
        wanted.shape[bytes.byte() % wanted.shape.size()] = bytes.number(1 + bytes.byte() % 8);
      break;
    case 4:
      wanted.layout = static_cast<Layout>(bytes.byte() % 5);
      wanted.filters = bytes.byte() % 16;
      wanted.chunk.assign(wanted.shape.size(), bytes.byte());
      break;
    default: {
      const std::size_t at = bytes.byte() * std::size_t{4}, size = 1 + bytes.byte() % 16;
      wanted.bytes.resize(std::max(wanted.bytes.size(), at + size));
      wanted.bytes.replace(at, size, std::string(bytes.text(size)));
    }
  }
}

void edit_attribute(WantedAttribute& wanted, Bytes& bytes) {
  switch (bytes.byte() % 6) {
    case 0:
      wanted.is_absent = true;
      break;
    case 1:
      wanted.is_text = !wanted.is_text;
      wanted.type = bytes.byte() % num_types;
      break;
    case 2:
      wanted.is_variable = !wanted.is_variable;
      break;
    case 3:
      wanted.count = static_cast<std::int64_t>(bytes.number(2)) - 1;
      break;
    default: {
      const std::size_t size = bytes.byte() % 32;
      const std::size_t at = std::min<std::size_t>(bytes.number(2), wanted.bytes.size());
      wanted.bytes.replace(at, bytes.byte() % 16, std::string(bytes.text(size)));
    }
  }
}

}  // namespace

void edit(Image& image, Bytes& bytes) {
  for (int left = bytes.byte() % 8; left > 0 && !bytes.is_empty(); --left) {
    const std::uint8_t what = bytes.byte(), which = bytes.byte();
    if (what % 4 == 0 && !image.attributes.empty()) {
      edit_attribute(image.attributes[which % image.attributes.size()], bytes);
    } else if (what % 4 == 1) {
      WantedAttribute extra{
          .name = std::string(bytes.text(bytes.byte() % 8)), .at = {}, .bytes = {}};
      extra.at = image.datasets[which % image.datasets.size()].path;
      extra.is_text = true;
      extra.name = which % 2 ? "dtype" : extra.name;
      extra.bytes = which % 2 ? "bf16" : std::string(bytes.text(4));
      image.attributes.push_back(std::move(extra));
    } else if (what == 2) {
      WantedDataset extra = image.datasets[which % image.datasets.size()];
      extra.path += std::string(bytes.text(1 + bytes.byte() % 40)).c_str();
      image.datasets.push_back(std::move(extra));
    } else {
      edit_dataset(image.datasets[which % image.datasets.size()], bytes);
    }
  }
}

std::string make(const Image& image, bool is_old) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS), links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_fapl_core(access, 1 << 16, false);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  H5Pset_libver_bounds(access, is_old ? H5F_LIBVER_EARLIEST : H5F_LIBVER_V110, H5F_LIBVER_LATEST);
  H5Pset_create_intermediate_group(links, 1);
  const hid_t file = H5Fcreate("image", H5F_ACC_TRUNC, H5P_DEFAULT, access);
  must(file >= 0, "a file in memory can be made");
  for (std::size_t i = 0; i < image.datasets.size(); ++i) {
    const WantedDataset& wanted = image.datasets[i];
    if (wanted.place == Place::dataset) {
      make_dataset(file, links, wanted);
    } else if (wanted.place != Place::absent) {
      make_other(file, links, wanted, image.datasets[i == 0 ? 0 : i - 1].path);
    }
  }
  for (const WantedAttribute& wanted : image.attributes)
    if (!wanted.is_absent) make_attribute(file, wanted);
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  const ssize_t size = H5Fget_file_image(file, nullptr, 0);
  std::string bytes(static_cast<std::size_t>(std::max<ssize_t>(size, 0)), '\0');
  if (!bytes.empty()) H5Fget_file_image(file, bytes.data(), bytes.size());
  H5Fclose(file);
  H5Pclose(links);
  H5Pclose(access);
  return bytes;
}

}  // namespace tetrarch::fuzz
