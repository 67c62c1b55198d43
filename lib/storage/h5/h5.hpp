/// Access to HDF5: files, datasets, attributes, hyperslabs, and checks against hostile files.
///
/// Every failure throws an exception that names the file and the object and quotes HDF5's own error
/// text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.hpp"
#include "base/error.hpp"
#include "base/handle.hpp"
#include "storage/h5/h5_types.hpp"

namespace tetrarch::storage::h5 {

struct CloseFile {
  static Id empty() { return -1; }
  void operator()(Id id) const noexcept;
};
struct CloseDataset {
  static Id empty() { return -1; }
  void operator()(Id id) const noexcept;
};

/// An open dataset; the destructor closes it.
class Dataset {
 public:
  /// name   "file.h5:/path", for messages
  /// code   exit code of the Refusal that a failing read throws
  /// texts  how text attributes are written
  Dataset(Id id, std::string name, base::ExitCode code, Texts texts = Texts::variable);
  const std::string& name() const { return name_; }
  Info info() const;

  /// Reads or writes the elements of `slab`, row-major. `dtype` must be the stored type, since
  /// nothing is converted; bf16 is stored as u16. One library call moves at most 1 GiB. read()
  /// throws Refusal(code of open_to_read), write() SystemError(resources).
  void read(const Hyperslab& slab, base::DType dtype, void* to) const;
  void write(const Hyperslab& slab, base::DType dtype, const void* from);
  /// Reads integers of any width, sign and byte order as u32 or u64 (`dtype`). The dataset has one
  /// axis. Converts in windows of 2 MiB. Throws Refusal(code of open_to_read) if the elements
  /// are no integers, or with the index and value of the first that does not fit.
  void read_integers(const Hyperslab& slab, base::DType dtype, void* to) const;
  /// The same for the whole dataset.
  void read_all_integers(base::DType dtype, void* to) const;
  /// Throws Refusal(code of open_to_read) if elements of the shape were never written. Elements
  /// whose space was allocated in advance cannot be told from written ones.
  void check_written() const;
  /// Like read() and write(), for the whole dataset.
  void read_all(base::DType dtype, void* to) const;
  void write_all(base::DType dtype, const void* from);
  /// Adds `rows` rows to the first axis of a chunked dataset; their elements are written later.
  void extend(std::int64_t rows);
  /// Texts [begin, begin + count) of a one-dimensional dataset of fixed or variable length. Throws
  /// Refusal(code of open_to_read) if it is no list of texts.
  std::vector<std::string> read_texts(std::int64_t begin, std::int64_t count) const;
  /// Calls visit(index, text) for all texts in order. At most 16,384 texts are in memory at once.
  void visit_texts(const std::function<void(std::int64_t, std::string&)>& visit) const;
  /// Writes fixed-length texts of `text_bytes` bytes each, padded with zeros: appended if the
  /// dataset is extendible, else from element 0 on. Throws SystemError(resources).
  void write_texts(const std::vector<std::string>& texts, std::int64_t text_bytes);
  /// The same for `count` texts that text_of(index) makes one by one.
  using TextOf = std::function<std::string(std::int64_t)>;
  void write_texts(std::int64_t count, std::int64_t text_bytes, const TextOf& text_of);
  /// Appends `count` host structs of `record_bytes` bytes each, with members as `fields` say.
  /// Throws SystemError(resources).
  void append_records(std::int64_t count, const std::vector<Field>& fields,
                      std::int64_t record_bytes, const void* records);
  /// Reads records [begin, begin + count) into host structs. Throws Refusal(code of
  /// open_to_read).
  void read_records(std::int64_t begin, std::int64_t count, const std::vector<Field>& fields,
                    std::int64_t record_bytes, void* records) const;

  void set_attribute(const std::string& key, const std::string& value);
  void set_attribute(const std::string& key, std::uint64_t value);
  std::optional<std::string> text_attribute(const std::string& key) const;

 private:
  /// Reads elements, which the library converts to `memory_type`.
  void read_raw(const Hyperslab& slab, Id memory_type, void* to) const;
  base::Handle<Id, CloseDataset> id_;
  std::string name_;
  base::ExitCode code_;
  Texts texts_;
};

/// An open HDF5 file.
class File {
 public:
  /// Opens a file that any program may have written. When its objects are opened or listed, these
  /// are refused: links other than hard links, external storage, virtual datasets, data beyond the
  /// end of the file, chunks of more than 128 MiB, and filters other than deflate, shuffle and
  /// fletcher32. Takes no lock, so that files on read-only mounts can be opened. Throws
  /// Refusal(code) if the file cannot be opened or is no HDF5 file. With the code `resources`,
  /// meant for a file that this process has just written, every failure to read is a SystemError.
  static File open_to_read(const std::string& path, base::ExitCode code,
                           Chunks chunks = Chunks::cached);
  /// Creates a file, or truncates an existing one. Throws SystemError(resources).
  static File create(const std::string& path, Texts texts = Texts::variable);

  const std::string& path() const { return path_; }
  /// The open file's descriptor, for reading the bytes of contiguous datasets. It is closed with
  /// the file.
  int descriptor() const;
  /// Whether the file has a dataset of that path.
  bool has(const std::string& dataset) const;
  /// Paths of all datasets below `group`, sorted. Throws Refusal(code of open_to_read) for links
  /// that are not hard links and for groups that are reached by two paths.
  std::vector<std::string> list(const std::string& group = "/") const;
  /// Opens a dataset. Throws Refusal(code of open_to_read) if it is missing or refused.
  Dataset dataset(const std::string& path) const;
  /// Creates a dataset, and the groups of its path that are missing. A bf16 dataset gets the
  /// attribute dtype = "bf16". Throws SystemError(resources), like all functions that write.
  Dataset create_dataset(const std::string& path, const Create& create);
  /// Creates a one-dimensional dataset of `count` texts of `text_bytes` bytes each. An extendible
  /// one is empty at first.
  Dataset create_texts(const std::string& path, std::int64_t count, std::int64_t text_bytes,
                       const std::string& description, bool extendible = false);
  /// Creates an empty extendible dataset of records.
  Dataset create_records(const std::string& path, const std::vector<Field>& fields,
                         std::int64_t record_bytes, const std::string& description);

  /// Attributes of the root group, or of the group or dataset at path `at`. Absent if the object
  /// has no such attribute. Reading throws Refusal(code of open_to_read) if the attribute is of
  /// another type; writing replaces an older value.
  std::optional<std::string> text_attribute(const std::string& key,
                                            const std::string& at = "/") const;
  std::optional<std::vector<std::int64_t>> integer_attribute(const std::string& key,
                                                             const std::string& at = "/") const;
  std::optional<double> number_attribute(const std::string& key, const std::string& at = "/") const;
  void set_attribute(const std::string& key, const std::string& value, const std::string& at = "/");
  void set_attribute(const std::string& key, const std::vector<std::uint32_t>& value,
                     const std::string& at = "/");
  void set_attribute(const std::string& key, std::uint64_t value, const std::string& at = "/");
  void set_attribute(const std::string& key, std::uint8_t value, const std::string& at = "/");
  void set_attribute(const std::string& key, double value, const std::string& at = "/");

  /// Writes out and closes the file, and checks every return value. Throws SystemError(resources).
  /// The destructor also closes the file, but cannot report a failure.
  void close();

 private:
  File(Id id, std::string path, base::ExitCode code, std::int64_t bytes, Texts texts);
  std::string named(const std::string& object) const;
  base::Handle<Id, CloseFile> id_;
  std::string path_;
  base::ExitCode code_;
  std::int64_t bytes_;  // size of the file when it was opened for reading
  Texts texts_;         // how text attributes are written
};

/// Number of files, datasets, groups, types and attributes that this process has open.
std::int64_t num_open_objects();
/// Version of the HDF5 library, such as "1.10.8".
std::string library_version();
/// Turns off HDF5's own error printing and its closing of files at exit. Called at the start of
/// main, and before the first file is opened.
void be_quiet();

}  // namespace tetrarch::storage::h5
