/// HDF5 behind one wall: files, datasets, attributes, hyperslabs, and a policy against hostile
/// files. Every failure is an exception with file, object and the library's own words; none is
/// silent.
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
#include "base/shape.hpp"

namespace tetrarch::storage::h5 {

using Id = std::int64_t;  // hid_t
struct CloseFile {
  static Id empty() { return -1; }
  void operator()(Id id) const noexcept;
};
struct CloseDataset {
  static Id empty() { return -1; }
  void operator()(Id id) const noexcept;
};

/// How text attributes are written; they are read with any length.
///
/// variable  scalars of variable length in UTF-8: `str` in h5py. They lie in the global heap, which
///           has no checksum, and whose damage the library follows beyond its buffers (1.10.8): for
///           files that users open, and that a child process opens first
/// fixed     bytes in h5py. They lie in the object's header, which has a checksum: for files that
///           this program alone reads
enum class Texts { variable, fixed };

/// A rectangle of a dataset: `count` elements from `offset`, per axis.
struct Hyperslab {
  base::Shape offset, count;
};

/// A compound member of /timing/phases and the like: name, type and byte offset in the host struct.
struct Field {
  std::string name;
  base::DType dtype = base::DType::f64;  // i32, u32, u64, f64, ... ignored for texts
  std::int64_t offset = 0;
  std::int64_t text_bytes = 0;  // > 0: a fixed-length text of so many bytes
};

/// What a dataset is, before anything of it is read.
struct Info {
  base::Shape shape;
  std::optional<base::DType> dtype;  // absent: a type of another kind (text, compound, big-endian)
  std::int64_t element_bytes = 0;    // as stored; of texts of variable length, a pointer's
  std::string kind;                  // of the elements, in words: "int64", "text of 8 bytes"
  bool is_integer = false;           // of any width up to 64 bits, sign and byte order
  std::int64_t text_bytes = 0;       // > 0: fixed-length text
  bool is_variable_text = false;
  bool is_contiguous = false;
  std::int64_t stored_bytes = 0;  // what the file says it holds
  std::int64_t file_offset = -1;  // contiguous: of the first byte; -1: no bytes stored

  /// Whether what is stored can be `bytes` of data: deflate packs at most about 1032 to 1.
  bool can_hold(std::int64_t bytes) const {
    constexpr std::int64_t max_packing = 1100;
    return bytes / max_packing <= stored_bytes && (bytes == 0 || stored_bytes > 0);
  }
};

class Dataset {
 public:
  /// name: "file.h5:/path", for messages; code: what a failing read throws as UsageError.
  Dataset(Id id, std::string name, base::ExitCode code, Texts texts = Texts::variable);
  const std::string& name() const { return name_; }
  Info info() const;

  /// Elements of the slab, row-major, in `dtype` (bf16 as the u16 it is stored in), which must be
  /// the stored one: nothing is converted. Moves at most 1 GiB at once. Reading throws
  /// UsageError(code of open_to_read), writing SystemError(resources).
  void read(const Hyperslab& slab, base::DType dtype, void* to) const;
  void write(const Hyperslab& slab, base::DType dtype, const void* from);
  /// Integers of any width, sign and byte order as u32 or u64, of a dataset of one axis. Converts
  /// in windows of 2 MiB. Throws UsageError(code of open_to_read) with index and value of the first
  /// that does not fit.
  void read_integers(const Hyperslab& slab, base::DType dtype, void* to) const;
  void read_all_integers(base::DType dtype, void* to) const;
  /// Refuses data that the shape declares and nobody wrote. What was allocated beforehand and left
  /// unwritten cannot be told from data.
  void check_written() const;
  void read_all(base::DType dtype, void* to) const;
  void write_all(base::DType dtype, const void* from);
  /// Grows the first axis by `rows` that are written later (chunked datasets).
  void extend(std::int64_t rows);
  /// Texts of a one-dimensional dataset, fixed or variable length, elements [begin, begin + count).
  std::vector<std::string> read_texts(std::int64_t begin, std::int64_t count) const;
  /// Hands out all texts in order, of which few are in memory at once.
  void visit_texts(const std::function<void(std::int64_t, std::string&)>& visit) const;
  /// Fixed-length texts, `text_bytes` each, zero padded: all of them, or, where the dataset is
  /// extendible, appended.
  void write_texts(const std::vector<std::string>& texts, std::int64_t text_bytes);
  /// The same of `count` texts that are made one by one.
  using TextOf = std::function<std::string(std::int64_t)>;
  void write_texts(std::int64_t count, std::int64_t text_bytes, const TextOf& text_of);
  void append_records(std::int64_t count, const std::vector<Field>& fields,
                      std::int64_t record_bytes, const void* records);
  void read_records(std::int64_t begin, std::int64_t count, const std::vector<Field>& fields,
                    std::int64_t record_bytes, void* records) const;

  void set_attribute(const std::string& key, const std::string& value);
  void set_attribute(const std::string& key, std::uint64_t value);
  std::optional<std::string> text_attribute(const std::string& key) const;

 private:
  /// Elements as the library converts them to the memory type.
  void read_raw(const Hyperslab& slab, Id memory_type, void* to) const;
  base::Handle<Id, CloseDataset> id_;
  std::string name_;
  base::ExitCode code_;
  Texts texts_;
};

/// Whether HDF5 keeps chunks of a dataset in memory. Without: each read and write goes to the file
/// at once, and what is not written holds any bytes.
enum class Chunks { cached, direct };

/// How a new dataset is laid out. extendible: first axis grows, chunks of about `chunk_bytes`.
struct Create {
  base::Shape shape;
  base::DType dtype = base::DType::f32;
  bool extendible = false;
  std::int64_t chunk_bytes = 1 << 20;
  Chunks chunks = Chunks::cached;
  std::string description, units;  // attributes, where not empty
};

class File {
 public:
  /// Foreign until proved otherwise: links other than hard ones, external storage, virtual
  /// datasets, data beyond the end of the file, chunks of more than 128 MiB and all filters but
  /// deflate, shuffle and fletcher32 are refused. Takes no lock, so that files on read-only mounts
  /// open. Throws UsageError(code) when it cannot be opened or is no HDF5; with code resources, of
  /// a file that this process has just written, all that is wrong with it is a SystemError.
  static File open_to_read(const std::string& path, base::ExitCode code,
                           Chunks chunks = Chunks::cached);
  /// Creates or truncates. Throws SystemError(resources).
  static File create(const std::string& path, Texts texts = Texts::variable);

  const std::string& path() const { return path_; }
  /// Of the open file, for reading the bytes of contiguous datasets; closed with it.
  int descriptor() const;
  bool has(const std::string& dataset) const;
  /// All datasets' paths below `group`, sorted. Refuses links that are not hard links, and groups
  /// that are reached twice.
  std::vector<std::string> list(const std::string& group = "/") const;
  /// Throws UsageError(code of open_to_read) naming what is missing.
  Dataset dataset(const std::string& path) const;
  /// Makes missing groups on the way. bf16 gets attribute dtype = "bf16".
  Dataset create_dataset(const std::string& path, const Create& create);
  /// `count` texts; extendible ones begin empty.
  Dataset create_texts(const std::string& path, std::int64_t count, std::int64_t text_bytes,
                       const std::string& description, bool extendible = false);
  Dataset create_records(const std::string& path, const std::vector<Field>& fields,
                         std::int64_t record_bytes, const std::string& description);

  /// Attributes of the root, or of a group or dataset given by path.
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

  /// Closes with every return checked; throws SystemError(resources). The destructor closes too,
  /// but cannot tell.
  void close();

 private:
  File(Id id, std::string path, base::ExitCode code, std::int64_t bytes, Texts texts);
  std::string named(const std::string& object) const;
  base::Handle<Id, CloseFile> id_;
  std::string path_;
  base::ExitCode code_;
  std::int64_t bytes_;  // of a file to read, when it was opened
  Texts texts_;         // as they are written
};

/// Files, datasets, groups, types and attributes that this process has open.
std::int64_t num_open_objects();
/// "1.10.8"
std::string library_version();
/// Silences HDF5's own error printing; called once at the start of main.
void be_quiet();

}  // namespace tetrarch::storage::h5
