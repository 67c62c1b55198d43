// Files, the policy against hostile ones, and their tree of groups.
// SPDX-License-Identifier: Apache-2.0
#include "storage/h5.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include <fmt/format.h>
#include <sys/stat.h>

#include "storage/h5_raw.hpp"

namespace tetrarch::storage::h5 {
namespace {

using base::ExitCode;
using base::UsageError;
using raw::done;
using raw::made;
using raw::Owned;

constexpr int deepest_group = 16;
constexpr std::size_t most_links = 1'000'000;  // in one file

/// For the whole process: nothing is loaded, nothing outside the file is followed.
void set_policy() {
  static std::once_flag once;
  std::call_once(once, [] {
    be_quiet();
    H5PLset_loading_state(0);
    if (H5Lis_registered(H5L_TYPE_EXTERNAL) > 0) H5Lunregister(H5L_TYPE_EXTERNAL);
  });
}

enum class Locking { off, where_possible };

Owned file_access(Locking locking, const std::string& path) {
  Owned access = made(H5Pcreate(H5P_FILE_ACCESS), path, "H5Pcreate");
  done(H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG), path, "H5Pset_fclose_degree");
  // The newest format that 1.10 knows: its metadata have checksums.
  done(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_LATEST), path,
       "H5Pset_libver_bounds");
#if H5_VERSION_GE(1, 10, 7)
  done(H5Pset_file_locking(access.get(), locking != Locking::off, true), path,
       "H5Pset_file_locking");
#else
  static_cast<void>(locking);
#endif
  return access;
}

void check_regular(const std::string& path, ExitCode code) {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0)
    throw UsageError(code, fmt::format("{}: cannot be opened ({}). Check the path.", path,
                                       std::strerror(errno)));
  if (!S_ISREG(found.st_mode))
    throw UsageError(code, fmt::format("{}: is no regular file, expected an HDF5 file. Check the "
                                       "path.",
                                       path));
}

const char* name_of(H5L_type_t type) {
  if (type == H5L_TYPE_SOFT) return "a soft link";
  if (type == H5L_TYPE_EXTERNAL) return "an external link";
  return "a user-defined link";
}

[[noreturn]] void refuse_link(ExitCode code, const std::string& object, H5L_type_t type) {
  throw UsageError(code, fmt::format("{}: is {} (only data inside the file itself is read). Write "
                                     "the data there instead.",
                                     object, name_of(type)));
}

/// Whether `path` leads to an object over hard links only; another link is refused.
bool leads_somewhere(Id file, const std::string& path, const std::string& object, ExitCode code) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    H5L_info_t link{};
    if (H5Lexists(file, part.c_str(), H5P_DEFAULT) <= 0) return false;
    if (H5Lget_info(file, part.c_str(), &link, H5P_DEFAULT) < 0) return false;
    if (link.type != H5L_TYPE_HARD) refuse_link(code, object, link.type);
    if (end == std::string::npos) return true;
  }
}

void check_storage(Id dataset, const std::string& object, ExitCode code) {
  const Owned plist(H5Dget_create_plist(dataset));
  if (!plist.has_value()) raw::fail_reading(code, object, "cannot be described");
  const auto refuse = [&](const std::string& what) {
    throw UsageError(code, fmt::format("{}: {} (only data inside the file itself, in its plain "
                                       "form, is read). Write the data there instead.",
                                       object, what));
  };
  if (H5Pget_layout(plist.get()) == H5D_VIRTUAL) refuse("is a virtual dataset");
  if (H5Pget_external_count(plist.get()) > 0) refuse("has external storage");
  for (int i = 0; i < H5Pget_nfilters(plist.get()); ++i) {
    unsigned flags = 0, configuration = 0;
    std::size_t num_values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(plist.get(), static_cast<unsigned>(i), &flags,
                                               &num_values, nullptr, 0, nullptr, &configuration);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32)
      refuse(fmt::format("uses filter {}", filter));
  }
}

struct Links {
  std::vector<std::pair<std::string, H5L_type_t>> found;
};

herr_t note_link(hid_t, const char* name, const H5L_info_t* info, void* to) {
  auto& found = static_cast<Links*>(to)->found;
  if (found.size() >= most_links) return -1;
  found.emplace_back(name, info->type);
  return 0;
}

Owned link_plist(const std::string& object) {
  Owned plist = made(H5Pcreate(H5P_LINK_CREATE), object, "H5Pcreate");
  done(H5Pset_create_intermediate_group(plist.get(), 1), object,
       "H5Pset_create_intermediate_group");
  return plist;
}

/// Contiguous: allocated at once and never filled. Extendible: chunks of whole rows.
Owned layout_plist(const base::Shape& shape, bool is_extendible, std::int64_t element_bytes,
                   std::int64_t chunk_bytes, const std::string& object) {
  Owned plist = made(H5Pcreate(H5P_DATASET_CREATE), object, "H5Pcreate");
  done(H5Pset_obj_track_times(plist.get(), false), object, "H5Pset_obj_track_times");
  if (!is_extendible) {
    done(H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY), object, "H5Pset_alloc_time");
    done(H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER), object, "H5Pset_fill_time");
    return plist;
  }
  std::vector<hsize_t> chunk(shape.begin(), shape.end());
  std::int64_t row_bytes = element_bytes;
  for (std::size_t axis = 1; axis < shape.size(); ++axis)
    row_bytes *= shape[axis];
  base::expects(row_bytes > 0, "rows of at least one element");
  chunk[0] = static_cast<hsize_t>(std::max<std::int64_t>(1, chunk_bytes / row_bytes));
  done(H5Pset_chunk(plist.get(), static_cast<int>(chunk.size()), chunk.data()), object,
       "H5Pset_chunk");
  return plist;
}

/// A cache that holds two chunks, so that appending single rows writes each chunk once.
Owned access_plist(bool is_extendible, std::int64_t chunk_bytes, const std::string& object) {
  Owned plist = made(H5Pcreate(H5P_DATASET_ACCESS), object, "H5Pcreate");
  if (is_extendible)
    done(H5Pset_chunk_cache(plist.get(), 521, static_cast<std::size_t>(2 * chunk_bytes + 4096), 1),
         object, "H5Pset_chunk_cache");
  return plist;
}

Id create(Id file, const std::string& path, const base::Shape& shape, Id type, bool is_extendible,
          std::int64_t chunk_bytes, const std::string& object) {
  const auto element_bytes = static_cast<std::int64_t>(H5Tget_size(type));
  std::vector<hsize_t> extent(shape.begin(), shape.end()), most = extent;
  if (is_extendible) most.at(0) = H5S_UNLIMITED;
  const Owned space = made(
      shape.empty() ? H5Screate(H5S_SCALAR)
                    : H5Screate_simple(static_cast<int>(extent.size()), extent.data(), most.data()),
      object, "H5Screate");
  const Owned links = link_plist(object);
  const Owned layout = layout_plist(shape, is_extendible, element_bytes, chunk_bytes, object);
  const Owned access = access_plist(is_extendible, chunk_bytes, object);
  return made(H5Dcreate2(file, path.c_str(), type, space.get(), links.get(), layout.get(),
                         access.get()),
              object, "H5Dcreate")
      .release();
}

Owned open_at(Id file, const std::string& at, const std::string& object, ExitCode code) {
  if (at != "/" && !leads_somewhere(file, at, object, code))
    throw UsageError(code, fmt::format("{}: is missing. Make the file again.", object));
  Owned id(H5Oopen(file, at.c_str(), H5P_DEFAULT));
  if (!id.has_value()) raw::fail_reading(code, object, "cannot be opened");
  return id;
}

}  // namespace

void CloseFile::operator()(Id id) const noexcept {
  if (H5Iis_valid(id) > 0) H5Fclose(id);
}

File::File(Id id, std::string path, ExitCode code) : id_(id), path_(std::move(path)), code_(code) {}

File File::open_to_read(const std::string& path, ExitCode code) {
  set_policy();
  check_regular(path, code);
  const Owned access = file_access(Locking::off, path);
  const Id id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  if (id < 0) raw::fail_reading(code, path, "cannot be opened as an HDF5 file");
  return File(id, path, code);
}

File File::create(const std::string& path) {
  set_policy();
  const Owned access = file_access(Locking::where_possible, path);
  const Id id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get());
  if (id < 0) raw::fail_writing(path, "cannot be created");
  return File(id, path, ExitCode::resources);
}

bool File::has(const std::string& path) const {
  if (!leads_somewhere(id_.get(), path, named(path), code_)) return false;
  const Owned object(H5Oopen(id_.get(), path.c_str(), H5P_DEFAULT));
  return object.has_value() && H5Iget_type(object.get()) == H5I_DATASET;
}

std::vector<std::string> File::list(const std::string& group) const {
  std::vector<std::string> datasets;
  std::vector<std::string> open{group};
  std::size_t num_links = 0;
  while (!open.empty()) {
    const std::string at = std::move(open.back());
    open.pop_back();
    if (std::count(at.begin(), at.end(), '/') > deepest_group)
      throw UsageError(code_, fmt::format("{}: groups nested deeper than {}. Make the file again.",
                                          path_, deepest_group));
    const Owned id = open_at(id_.get(), at, named(at), code_);
    if (H5Iget_type(id.get()) == H5I_DATASET) {
      datasets.push_back(at);
      continue;
    }
    if (H5Iget_type(id.get()) != H5I_GROUP)
      throw UsageError(
          code_, fmt::format("{}: is no dataset and no group. Make the file again.", named(at)));
    Links links;
    if (H5Literate(id.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, note_link, &links) < 0)
      raw::fail_reading(code_, named(at), "cannot be listed");
    num_links += links.found.size();
    if (num_links > most_links)
      throw UsageError(
          code_, fmt::format("{}: more than {} links. Make the file again.", path_, most_links));
    for (const auto& [name, type] : links.found) {
      std::string path = at == "/" ? "/" + name : at + "/" + name;
      if (type != H5L_TYPE_HARD) refuse_link(code_, named(path), type);
      open.push_back(std::move(path));
    }
  }
  std::sort(datasets.begin(), datasets.end());
  return datasets;
}

Dataset File::dataset(const std::string& path) const {
  Owned id = open_at(id_.get(), path, named(path), code_);
  if (H5Iget_type(id.get()) != H5I_DATASET)
    throw UsageError(
        code_, fmt::format("{}: is no dataset, expected one. Make the file again.", named(path)));
  check_storage(id.get(), named(path), code_);
  return Dataset(id.release(), named(path), code_);
}

Dataset File::create_dataset(const std::string& path, const Create& create) {
  const std::string object = named(path);
  Dataset dataset(h5::create(id_.get(), path, create.shape, raw::file_type(create.dtype),
                             create.extendible, create.chunk_bytes, object),
                  object, code_);
  if (create.dtype == base::DType::bf16) dataset.set_attribute("dtype", std::string("bf16"));
  if (!create.description.empty()) dataset.set_attribute("description", create.description);
  if (!create.units.empty()) dataset.set_attribute("units", create.units);
  return dataset;
}

Dataset File::create_texts(const std::string& path, std::int64_t count, std::int64_t text_bytes,
                           const std::string& description, bool extendible) {
  const std::string object = named(path);
  const Owned type = raw::text_type(static_cast<std::size_t>(text_bytes), object);
  Dataset dataset(h5::create(id_.get(), path, {extendible ? 0 : count}, type.get(), extendible,
                             1 << 16, object),
                  object, code_);
  if (!description.empty()) dataset.set_attribute("description", description);
  return dataset;
}

Dataset File::create_records(const std::string& path, const std::vector<Field>& fields,
                             std::int64_t record_bytes, const std::string& description) {
  const std::string object = named(path);
  const Owned type = raw::record_type(fields, record_bytes, object);
  done(H5Tpack(type.get()), object, "H5Tpack");
  Dataset dataset(h5::create(id_.get(), path, {0}, type.get(), true, 1 << 16, object), object,
                  code_);
  if (!description.empty()) dataset.set_attribute("description", description);
  return dataset;
}

void File::create_group(const std::string& path) {
  const Owned links = link_plist(named(path));
  made(H5Gcreate2(id_.get(), path.c_str(), links.get(), H5P_DEFAULT, H5P_DEFAULT), named(path),
       "H5Gcreate");
}

std::optional<std::string> File::text_attribute(const std::string& key,
                                                const std::string& at) const {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  return raw::text_attribute(id.get(), key, named(at), code_);
}

std::optional<std::vector<std::int64_t>> File::integer_attribute(const std::string& key,
                                                                 const std::string& at) const {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  return raw::integer_attribute(id.get(), key, named(at), code_);
}

std::optional<double> File::number_attribute(const std::string& key, const std::string& at) const {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  return raw::number_attribute(id.get(), key, named(at), code_);
}

void File::set_attribute(const std::string& key, const std::string& value, const std::string& at) {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  raw::set_text_attribute(id.get(), key, value, named(at));
}

void File::set_attribute(const std::string& key, const std::vector<std::uint32_t>& value,
                         const std::string& at) {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  raw::set_attribute(id.get(), key, H5T_STD_U32LE, H5T_NATIVE_UINT32, value.data(),
                     static_cast<std::int64_t>(value.size()), named(at));
}

void File::set_attribute(const std::string& key, std::uint64_t value, const std::string& at) {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  raw::set_attribute(id.get(), key, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value, -1, named(at));
}

void File::set_attribute(const std::string& key, std::uint8_t value, const std::string& at) {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  raw::set_attribute(id.get(), key, H5T_STD_U8LE, H5T_NATIVE_UINT8, &value, -1, named(at));
}

void File::set_attribute(const std::string& key, double value, const std::string& at) {
  const Owned id = open_at(id_.get(), at, named(at), code_);
  raw::set_attribute(id.get(), key, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, -1, named(at));
}

void File::close() {
  if (!id_.has_value()) return;
  const bool is_flushed = H5Fflush(id_.get(), H5F_SCOPE_LOCAL) >= 0;
  const std::string flush_reason = is_flushed ? "" : raw::reason();
  const bool is_closed = H5Fclose(id_.release()) >= 0;
  if (!is_flushed)
    throw base::SystemError(ExitCode::resources,
                            fmt::format("{}: cannot be flushed (HDF5: {}). Check the free space, "
                                        "the quota and the permissions of its folder.",
                                        path_, flush_reason));
  if (!is_closed) raw::fail_writing(path_, "cannot be closed");
}

std::string library_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

void be_quiet() {
  H5dont_atexit();  // a file whose last write failed cannot be closed: HDF5 crashed trying at exit
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

}  // namespace tetrarch::storage::h5
