// Checks links, storage and groups of HDF5 files that other programs may have written.
// SPDX-License-Identifier: Apache-2.0
#include "storage/h5/h5_policy.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/h5/h5_raw.hpp"

namespace tetrarch::storage::h5::policy {
namespace {

using base::ExitCode;
using raw::Owned;
using Wide = unsigned __int128;  // products of sizes from a file

constexpr int deepest_group = 16;
constexpr std::size_t most_links = 100'000;        // in one file
constexpr std::size_t longest_name = 1024;         // of a link, in bytes
constexpr std::int64_t largest_chunk = 128 << 20;  // bytes in memory to read one element

const char* name_of(H5L_type_t type) {
  if (type == H5L_TYPE_SOFT) return "a soft link";
  if (type == H5L_TYPE_EXTERNAL) return "an external link";
  return "a user-defined link";
}

[[noreturn]] void refuse_link(ExitCode code, const std::string& object, H5L_type_t type) {
  raw::refuse(code, fmt::format("{}: is {} (only data inside the file itself is read). Write the "
                                "data into the file itself.",
                                object, name_of(type)));
}

[[noreturn]] void refuse_storage(ExitCode code, const std::string& object,
                                 const std::string& what) {
  raw::refuse(
      code,
      fmt::format(
          "{}: {} (only data inside the file itself is read). Write the data into the file itself.",
          object, what));
}

/// Names of filters that h5py and hdf5plugin use. The numbers are registered with The HDF Group.
std::string name_of(H5Z_filter_t filter) {
  switch (filter) {
    case H5Z_FILTER_SZIP:
      return "szip";
    case H5Z_FILTER_NBIT:
      return "n-bit";
    case H5Z_FILTER_SCALEOFFSET:
      return "scale-offset";
    case 307:
      return "bzip2";
    case 32000:
      return "lzf";
    case 32001:
      return "blosc";
    case 32004:
      return "lz4";
    case 32008:
      return "bitshuffle";
    case 32013:
      return "zfp";
    case 32015:
      return "zstd";
    case 32026:
      return "blosc2";
    default:
      return "unknown";
  }
}

void check_filters(Id plist, const std::string& object, ExitCode code) {
  for (int i = 0; i < H5Pget_nfilters(plist); ++i) {
    unsigned flags = 0, configuration = 0;
    std::size_t num_values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(plist, static_cast<unsigned>(i), &flags, &num_values,
                                               nullptr, 0, nullptr, &configuration);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32)
      raw::refuse(
          code,
          fmt::format("{}: uses filter {} ({}), which is not read (gzip, shuffle and fletcher32 "
                      "are). Write it with compression='gzip' (h5py), or without compression.",
                      object, filter, name_of(filter)));
  }
}

void check_chunks(Id plist, Wide element_bytes, const std::string& object, ExitCode code) {
  hsize_t chunk[H5S_MAX_RANK] = {};
  const int rank = H5Pget_chunk(plist, H5S_MAX_RANK, chunk);
  Wide bytes = element_bytes;
  for (int axis = 0; axis < rank && bytes <= largest_chunk; ++axis)
    bytes *= chunk[axis];
  if (rank < 1 || bytes > largest_chunk)
    raw::refuse(code, fmt::format("{}: is stored in chunks of more than {} MiB (a whole chunk has "
                                  "to be in memory). Write it again in smaller chunks.",
                                  object, largest_chunk >> 20));
}

/// Refuses a contiguous dataset if its stored bytes are not as many as its shape needs, or reach
/// beyond the end of the file. A dataset without stored bytes passes.
void check_extent(Id dataset, Wide element_bytes, const std::string& object,
                  std::int64_t file_bytes, ExitCode code) {
  const hsize_t stored = H5Dget_storage_size(dataset);
  if (stored == 0) return;  // never written; the reader checks the size
  const Owned space(H5Dget_space(dataset));
  const base::Shape shape = raw::shape_of(space.get());
  Wide bytes = element_bytes;
  for (const std::int64_t length : shape)
    bytes = std::min<Wide>(bytes * static_cast<Wide>(length), Wide{1} << 64);
  if (bytes != stored)
    raw::refuse(code, fmt::format("{}: has {} bytes of data, but its shape {} needs another "
                                  "number. The file is damaged; copy it or make it again.",
                                  object, stored, base::to_string(shape)));
  const haddr_t begin = H5Dget_offset(dataset);
  if (begin == HADDR_UNDEF || Wide{begin} + stored > static_cast<Wide>(file_bytes))
    raw::refuse(code,
                fmt::format("{}: its {} bytes from byte {} on reach beyond the end of the file, "
                            "which has {} bytes. The file is incomplete; copy it or make it again.",
                            object, stored, begin, file_bytes));
}

// HDF5 1.12 has new versions of the types and functions that describe links and objects. Each
// version is named here explicitly, because macros in HDF5's configuration can change what the
// unversioned names mean.
#if H5_VERSION_GE(1, 12, 0)
using LinkInfo = H5L_info2_t;
constexpr auto link_info_of = H5Lget_info2;
constexpr auto visit_links = H5Literate2;

/// An identifier of an object in its file: the same for every path that leads to the object.
std::optional<std::string> place_of(Id object) {
  H5O_info2_t info{};
  if (H5Oget_info3(object, &info, H5O_INFO_BASIC) < 0) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(&info.token), sizeof info.token);
}
#else
using LinkInfo = H5L_info_t;
constexpr auto link_info_of = H5Lget_info;
constexpr auto visit_links = H5Literate;

std::optional<std::string> place_of(Id object) {
  H5O_info_t info{};
  if (H5Oget_info(object, &info) < 0) return std::nullopt;
  return std::to_string(info.addr);
}
#endif

struct Links {
  std::vector<std::pair<std::string, H5L_type_t>> found;
};

herr_t note_link(hid_t, const char* name, const LinkInfo* info, void* to) {
  auto& found = static_cast<Links*>(to)->found;
  if (found.size() > most_links) return 1;
  found.emplace_back(name, info->type);
  return 0;
}

/// Lists the datasets below a group. Refuses a group that is reached a second time.
class Walk {
 public:
  Walk(Id file, const std::string& name, ExitCode code) : file_(file), name_(name), code_(code) {}

  std::vector<std::string> datasets_below(const std::string& group) {
    std::vector<std::string> datasets;
    for (open_ = {group}; !open_.empty();) {
      const std::string at = std::move(open_.back());
      open_.pop_back();
      const Owned id(H5Oopen(file_, at.c_str(), H5P_DEFAULT));
      if (!id.has_value()) raw::fail_reading(code_, named(at), "cannot be opened");
      if (H5Iget_type(id.get()) == H5I_DATASET) {
        datasets.push_back(at);
      } else if (H5Iget_type(id.get()) == H5I_GROUP) {
        enter(id.get(), at);
      } else {
        refuse(at, "is no dataset and no group");
      }
    }
    std::sort(datasets.begin(), datasets.end());
    return datasets;
  }

 private:
  std::string named(const std::string& at) const { return raw::shown(name_ + ":" + at); }
  [[noreturn]] void refuse(const std::string& at, const std::string& problem) const {
    raw::refuse(code_, fmt::format("{}: {}. Make the file again.", named(at), problem));
  }

  void enter(Id group, const std::string& at) {
    const std::optional<std::string> place = place_of(group);
    if (!place) raw::fail_reading(code_, named(at), "cannot be examined");
    if (!seen_.insert(*place).second)
      refuse(at, "leads to a group that another path also leads to");
    if (std::count(at.begin(), at.end(), '/') > deepest_group)
      refuse(at, fmt::format("groups are nested deeper than {}", deepest_group));
    Links links;
    if (visit_links(group, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, note_link, &links) < 0)
      raw::fail_reading(code_, named(at), "cannot be listed");
    num_links_ += links.found.size();
    if (num_links_ > most_links)
      refuse(at, fmt::format("there are more than {} links", most_links));
    for (const auto& [name, type] : links.found) {
      std::string path = at == "/" ? "/" + name : at + "/" + name;
      if (type != H5L_TYPE_HARD) refuse_link(code_, named(path), type);
      if (name.size() > longest_name || raw::shown(name) != name)
        refuse(path, fmt::format("has a name of {} bytes, expected at most {} without control "
                                 "characters",
                                 name.size(), longest_name));
      open_.push_back(std::move(path));
    }
  }

  Id file_;
  const std::string& name_;
  ExitCode code_;
  std::vector<std::string> open_;
  std::set<std::string> seen_;
  std::size_t num_links_ = 0;
};

}  // namespace

void set() {
  H5PLset_loading_state(0);
  if (H5Lis_registered(H5L_TYPE_EXTERNAL) > 0) H5Lunregister(H5L_TYPE_EXTERNAL);
}

std::int64_t size_of_file(const std::string& path, ExitCode code) {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0 || access(path.c_str(), R_OK) != 0)
    raw::refuse(code, fmt::format("{}: cannot be opened ({}). Check the path and its permissions.",
                                  path, std::strerror(errno)));
  if (!S_ISREG(found.st_mode))
    raw::refuse(
        code, fmt::format("{}: is no regular file, expected an HDF5 file. Check the path.", path));
  return found.st_size;
}

bool leads_somewhere(Id file, const std::string& path, const std::string& object, ExitCode code) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    LinkInfo link{};
    if (H5Lexists(file, part.c_str(), H5P_DEFAULT) <= 0) return false;
    if (link_info_of(file, part.c_str(), &link, H5P_DEFAULT) < 0) return false;
    if (link.type != H5L_TYPE_HARD) refuse_link(code, object, link.type);
    if (end == std::string::npos) return true;
  }
}

void check_storage(Id dataset, const std::string& object, std::int64_t file_bytes, ExitCode code) {
  const Owned plist(H5Dget_create_plist(dataset));
  const Owned type(H5Dget_type(dataset));
  if (!plist.has_value() || !type.has_value())
    raw::fail_reading(code, object, "cannot be examined");
  const H5D_layout_t layout = H5Pget_layout(plist.get());
  const Wide element_bytes = H5Tget_size(type.get());
  if (layout == H5D_VIRTUAL) refuse_storage(code, object, "is a virtual dataset");
  if (H5Pget_external_count(plist.get()) > 0) refuse_storage(code, object, "has external storage");
  check_filters(plist.get(), object, code);
  if (layout == H5D_CHUNKED) check_chunks(plist.get(), element_bytes, object, code);
  // the stored size of variable-length data does not follow from its shape
  const bool is_variable =
      H5Tdetect_class(type.get(), H5T_VLEN) > 0 || H5Tis_variable_str(type.get()) > 0;
  if (layout == H5D_CONTIGUOUS && !is_variable)
    check_extent(dataset, element_bytes, object, file_bytes, code);
}

std::vector<std::string> list(Id file, const std::string& group, const std::string& name,
                              ExitCode code) {
  return Walk(file, name, code).datasets_below(group);
}

}  // namespace tetrarch::storage::h5::policy
