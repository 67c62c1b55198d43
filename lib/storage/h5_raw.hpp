/// What the h5 files share behind the wall: owned ids, the library's error text, types, attributes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <hdf5.h>

#include "base/dtype.hpp"
#include "base/error.hpp"
#include "base/handle.hpp"
#include "storage/h5.hpp"

namespace tetrarch::storage::h5::raw {

static_assert(H5_VERSION_GE(1, 10, 5), "HDF5 1.10.5 or later (it counts a dataset's chunks)");
static_assert(sizeof(hid_t) == sizeof(Id), "HDF5 1.10 or later (64-bit ids)");

struct CloseAny {
  static Id empty() { return -1; }
  void operator()(Id id) const noexcept;
};
/// Any id but a file's; closed by its kind.
using Owned = base::Handle<Id, CloseAny>;

/// HDF5's error stack, innermost first, then cleared; "no reason given" when it is empty.
std::string reason();

/// `text` from a file as it may stand in a message: without control characters, of bounded length.
std::string shown(std::string text);

/// What is wrong with a file that is read: UsageError(code). With code resources it is a file that
/// this process has just written, so that the machine is at fault: SystemError.
[[noreturn]] void refuse(base::ExitCode code, const std::string& message);

/// "HDF5: reason" after `problem`, as the error that fits: a file that is read is at fault itself
/// (refuse), one that is written lacks space or permission (SystemError(resources)).
[[noreturn]] void fail_reading(base::ExitCode code, const std::string& object,
                               const std::string& problem);
[[noreturn]] void fail_writing(const std::string& object, const std::string& problem);

/// Owns a new id, or fails as writing does.
Owned made(Id id, const std::string& object, const char* call);
void done(herr_t status, const std::string& object, const char* call);

/// The memory type of a dtype (predefined, not owned); bf16 is the u16 that it is stored in.
Id memory_type(base::DType dtype);
/// The little-endian file type (predefined, not owned).
Id file_type(base::DType dtype);
/// bf16 is u16 here; absent for every other kind of type.
std::optional<base::DType> dtype_of(Id type);
/// Whether Dataset::read_integers takes it.
bool is_integer(Id type);
/// Its elements in words: "int64", "float32 (big-endian)", "bool", "text of 8 bytes".
std::string kind_of(Id type);
/// A compound of the fields as they lie in the host struct.
Owned record_type(const std::vector<Field>& fields, std::int64_t record_bytes,
                  const std::string& object);
Owned text_type(std::size_t bytes, const std::string& object);
/// Its padding left out: trailing zeros or spaces, or, where a zero ends it, all from that on.
std::string text_in(const char* from, std::size_t bytes, Id type);

base::Shape shape_of(Id dataspace);

/// Attributes of an open object; absent ones are nullopt, another type is UsageError(code).
std::optional<std::string> text_attribute(Id at, const std::string& key, const std::string& object,
                                          base::ExitCode code);
std::optional<std::vector<std::int64_t>> integer_attribute(Id at, const std::string& key,
                                                           const std::string& object,
                                                           base::ExitCode code);
std::optional<double> number_attribute(Id at, const std::string& key, const std::string& object,
                                       base::ExitCode code);
void set_text_attribute(Id at, const std::string& key, const std::string& value, Texts texts,
                        const std::string& object);
/// `count` < 0: a scalar.
void set_attribute(Id at, const std::string& key, Id file_type, Id memory_type, const void* value,
                   std::int64_t count, const std::string& object);

}  // namespace tetrarch::storage::h5::raw
