// HDF5 files: opens and creates them, creates datasets and attributes.
// SPDX-License-Identifier: Apache-2.0
#include "storage/h5/h5.hpp"

#include <algorithm>
#include <mutex>

#include <fmt/format.h>

#include "storage/h5/h5_policy.hpp"
#include "storage/h5/h5_raw.hpp"

namespace tetrarch::storage::h5 {
namespace {

using base::ExitCode;
using raw::done;
using raw::made;
using raw::Owned;

/// Settings for the whole process, made before its first file is opened.
void set_up_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    be_quiet();
    policy::set();
  });
}

enum class Locking { off, where_possible };

Owned file_access(Locking locking, Chunks chunks, const std::string& path) {
  Owned access = made(H5Pcreate(H5P_FILE_ACCESS), path, "H5Pcreate");
  if (chunks == Chunks::direct)
    done(H5Pset_cache(access.get(), 0, 0, 0, 0.0), path, "H5Pset_cache");
  done(H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG), path, "H5Pset_fclose_degree");
  // The newest format that HDF5 1.10 can read; its metadata has checksums.
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

Owned link_plist(const std::string& object) {
  Owned plist = made(H5Pcreate(H5P_LINK_CREATE), object, "H5Pcreate");
  done(H5Pset_create_intermediate_group(plist.get(), 1), object,
       "H5Pset_create_intermediate_group");
  return plist;
}

/// A dataset that is not extendible is contiguous, allocated when it is created and never filled.
/// An extendible one has chunks of whole rows, of about `chunk_bytes`.
Owned layout_plist(const base::Shape& shape, bool is_extendible, std::int64_t element_bytes,
                   std::int64_t chunk_bytes, Chunks chunks, const std::string& object) {
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
  if (chunks == Chunks::direct)  // filling would bring the whole chunk into memory
    done(H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER), object, "H5Pset_fill_time");
  return plist;
}

/// Chunks::cached: a cache that holds two chunks, so that each chunk is written once when single
/// rows are appended. Chunks::direct: no cache.
Owned access_plist(bool is_extendible, std::int64_t chunk_bytes, Chunks chunks,
                   const std::string& object) {
  Owned plist = made(H5Pcreate(H5P_DATASET_ACCESS), object, "H5Pcreate");
  const bool is_cached = chunks == Chunks::cached;
  const auto bytes = is_cached ? static_cast<std::size_t>(2 * chunk_bytes + 4096) : 0;
  if (is_extendible)
    done(H5Pset_chunk_cache(plist.get(), is_cached ? 521 : 0, bytes, 1), object,
         "H5Pset_chunk_cache");
  return plist;
}

Id create(Id file, const std::string& path, const base::Shape& shape, Id type, bool is_extendible,
          std::int64_t chunk_bytes, Chunks chunks, const std::string& object) {
  const auto element_bytes = static_cast<std::int64_t>(H5Tget_size(type));
  std::vector<hsize_t> extent(shape.begin(), shape.end()), most = extent;
  if (is_extendible) most.at(0) = H5S_UNLIMITED;
  const Owned space = made(
      shape.empty() ? H5Screate(H5S_SCALAR)
                    : H5Screate_simple(static_cast<int>(extent.size()), extent.data(), most.data()),
      object, "H5Screate");
  const Owned links = link_plist(object);
  const Owned layout =
      layout_plist(shape, is_extendible, element_bytes, chunk_bytes, chunks, object);
  const Owned access = access_plist(is_extendible, chunk_bytes, chunks, object);
  return made(H5Dcreate2(file, path.c_str(), type, space.get(), links.get(), layout.get(),
                         access.get()),
              object, "H5Dcreate")
      .release();
}

Owned open_at(Id file, const std::string& at, const std::string& object, ExitCode code) {
  if (at != "/" && !policy::leads_somewhere(file, at, object, code))
    raw::refuse(code, fmt::format("{}: is missing. Make the file again.", object));
  Owned id(H5Oopen(file, at.c_str(), H5P_DEFAULT));
  if (!id.has_value()) raw::fail_reading(code, object, "cannot be opened");
  return id;
}

}  // namespace

void CloseFile::operator()(Id id) const noexcept {
  if (H5Iis_valid(id) > 0) H5Fclose(id);
}

File::File(Id id, std::string path, ExitCode code, std::int64_t bytes, Texts texts)
    : id_(id), path_(std::move(path)), code_(code), bytes_(bytes), texts_(texts) {}

std::string File::named(const std::string& object) const {
  return raw::shown(path_ + ":" + object);
}

File File::open_to_read(const std::string& path, ExitCode code, Chunks chunks) {
  set_up_library();
  const std::int64_t bytes = policy::size_of_file(path, code);
  const Owned access = file_access(Locking::off, chunks, path);
  const Id id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  if (id < 0) raw::fail_reading(code, path, "cannot be opened as an HDF5 file");
  return File(id, path, code, bytes, Texts::variable);
}

File File::create(const std::string& path, Texts texts) {
  set_up_library();
  const Owned access = file_access(Locking::where_possible, Chunks::cached, path);
  const Id id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get());
  if (id < 0) raw::fail_writing(path, "cannot be created");
  return File(id, path, ExitCode::resources, INT64_MAX, texts);
}

int File::descriptor() const {
  void* handle = nullptr;
  if (H5Fget_vfd_handle(id_.get(), H5P_DEFAULT, &handle) < 0 || handle == nullptr)
    raw::fail_reading(code_, path_, "has no file descriptor");
  return *static_cast<int*>(handle);
}

bool File::has(const std::string& path) const {
  if (!policy::leads_somewhere(id_.get(), path, named(path), code_)) return false;
  const Owned object(H5Oopen(id_.get(), path.c_str(), H5P_DEFAULT));
  return object.has_value() && H5Iget_type(object.get()) == H5I_DATASET;
}

std::vector<std::string> File::list(const std::string& group) const {
  return policy::list(id_.get(), group, path_, code_);
}

Dataset File::dataset(const std::string& path) const {
  Owned id = open_at(id_.get(), path, named(path), code_);
  if (H5Iget_type(id.get()) != H5I_DATASET)
    raw::refuse(code_,
                fmt::format("{}: is no dataset, expected one. Make the file again.", named(path)));
  policy::check_storage(id.get(), named(path), bytes_, code_);
  return Dataset(id.release(), named(path), code_, texts_);
}

Dataset File::create_dataset(const std::string& path, const Create& create) {
  const std::string object = named(path);
  Dataset dataset(h5::create(id_.get(), path, create.shape, raw::file_type(create.dtype),
                             create.extendible, create.chunk_bytes, create.chunks, object),
                  object, code_, texts_);
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
                             1 << 16, Chunks::cached, object),
                  object, code_, texts_);
  if (!description.empty()) dataset.set_attribute("description", description);
  return dataset;
}

Dataset File::create_records(const std::string& path, const std::vector<Field>& fields,
                             std::int64_t record_bytes, const std::string& description) {
  const std::string object = named(path);
  const Owned type = raw::record_type(fields, record_bytes, object);
  done(H5Tpack(type.get()), object, "H5Tpack");
  Dataset dataset(
      h5::create(id_.get(), path, {0}, type.get(), true, 1 << 16, Chunks::cached, object), object,
      code_, texts_);
  if (!description.empty()) dataset.set_attribute("description", description);
  return dataset;
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
  raw::set_text_attribute(id.get(), key, value, texts_, named(at));
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

std::int64_t num_open_objects() {
  return H5Fget_obj_count(static_cast<hid_t>(H5F_OBJ_ALL), H5F_OBJ_ALL);
}

std::string library_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

void be_quiet() {
  // At exit HDF5 closes all files. It crashed there if the last write to a file had failed.
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

}  // namespace tetrarch::storage::h5
