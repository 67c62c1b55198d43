/// For the h5*.cpp files only: owned ids, HDF5's error text, types, attributes. No other file
/// includes <hdf5.h>.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <hdf5.h>

#include "base/dtype.hpp"
#include "base/error.hpp"
#include "base/handle.hpp"
#include "storage/h5/h5_types.hpp"

namespace tetrarch::storage::h5::raw {

static_assert(H5_VERSION_GE(1, 10, 5), "HDF5 1.10.5 or later (it counts a dataset's chunks)");
static_assert(sizeof(hid_t) == sizeof(Id), "HDF5 1.10 or later (64-bit ids)");

struct CloseAny {
  static Id empty() { return -1; }
  void operator()(Id id) const noexcept;
};
/// An id of any kind except a file's. The destructor closes it by its kind.
using Owned = base::Handle<Id, CloseAny>;

/// The innermost and the outermost text of HDF5's error stack, which is cleared; "no reason given"
/// if it is empty.
std::string reason();

/// `text` made fit for a message: control characters become spaces, and at most 400 bytes are kept.
std::string shown(std::string text);

/// Throws Refusal(code) for a fault of a file that is read. The code `resources` means a file
/// that this process has just written: then throws SystemError, since the machine is the cause.
[[noreturn]] void refuse(base::ExitCode code, const std::string& message);

/// Both throw "OBJECT: PROBLEM (HDF5: reason)". fail_reading: the file is damaged, as refuse(code);
/// SystemError(resources) if memory is short. fail_writing: SystemError(resources), since space or
/// permission is missing.
[[noreturn]] void fail_reading(base::ExitCode code, const std::string& object,
                               const std::string& problem);
[[noreturn]] void fail_writing(const std::string& object, const std::string& problem);

/// made() takes ownership of a new id, done() checks a status. Both throw as fail_writing if HDF5
/// reports a failure; `call` is the name of the HDF5 function.
Owned made(Id id, const std::string& object, const char* call);
void done(herr_t status, const std::string& object, const char* call);

/// The type of a dtype's elements in memory (predefined, not owned); u16 for bf16.
Id memory_type(base::DType dtype);
/// The little-endian type of a dtype's elements in files (predefined, not owned); u16 for bf16.
Id file_type(base::DType dtype);
/// The dtype that is stored as `type`; u16 for bf16. Absent if there is none.
std::optional<base::DType> dtype_of(Id type);
/// Whether Dataset::read_integers reads this type.
bool is_integer(Id type);
/// A type in words: "int64", "float32 (big-endian)", "bool", "text of 8 bytes".
std::string kind_of(Id type);
/// A compound type with members at the same offsets as in the host struct.
Owned record_type(const std::vector<Field>& fields, std::int64_t record_bytes,
                  const std::string& object);
/// A UTF-8 text type of `bytes` bytes, padded with zeros.
Owned text_type(std::size_t bytes, const std::string& object);
/// A fixed-length text without its padding. By the type's padding, this removes trailing zeros,
/// trailing spaces, or all from the first zero on.
std::string text_in(const char* from, std::size_t bytes, Id type);

/// Lengths of the axes; empty for a scalar.
base::Shape shape_of(Id dataspace);

/// Attributes of an open object. An absent attribute is nullopt. Throws as refuse(code) if it is of
/// another type.
std::optional<std::string> text_attribute(Id at, const std::string& key, const std::string& object,
                                          base::ExitCode code);
std::optional<std::vector<std::int64_t>> integer_attribute(Id at, const std::string& key,
                                                           const std::string& object,
                                                           base::ExitCode code);
std::optional<double> number_attribute(Id at, const std::string& key, const std::string& object,
                                       base::ExitCode code);
void set_text_attribute(Id at, const std::string& key, const std::string& value, Texts texts,
                        const std::string& object);
/// Creates or replaces an attribute of `count` values of one axis; `count` < 0: a scalar.
void set_attribute(Id at, const std::string& key, Id file_type, Id memory_type, const void* value,
                   std::int64_t count, const std::string& object);

}  // namespace tetrarch::storage::h5::raw
