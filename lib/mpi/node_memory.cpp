// Rank 0 of a node creates a file in memory (memfd); the other ranks open it as /proc/PID/fd/N and
// map it. Unlike MPI's shared memory and files in /dev/shm, it takes no space in a file system, and
// the system frees it when the last process has ended.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/node_memory.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::mpi {
namespace {

[[noreturn]] void refuse(std::size_t bytes, int error) {
  throw base::SystemError(
      base::ExitCode::resources,
      fmt::format(
          "out of memory (the system refused {} for the offsets and lengths of the sequences: {}). "
          "Give the inputs to several runs, or use a node with more memory.",
          base::bytes_text(static_cast<std::int64_t>(bytes)), std::strerror(error)));
}

/// The descriptor of a new file in memory, of `bytes` zeros; -1 where the system has no such files.
/// Throws SystemError(resources) when the memory cannot be allocated.
int file_in_memory(std::size_t bytes) {
  const int file = ::memfd_create("labels", MFD_CLOEXEC);
  if (file < 0) return -1;
  int error = EINTR;  // older kernels interrupt this call at any signal: it is called again
  while (error == EINTR)
    error = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  if (error != 0) {
    ::close(file);
    refuse(bytes, error);
  }
  return file;
}

/// The root's process and descriptor of the file, and the file's device and inode number.
struct Source {
  std::int64_t process = 0, descriptor = -1, device = 0, inode = 0;
};

Source source_of(int file) {
  struct stat status = {};
  if (file < 0 || ::fstat(file, &status) != 0) return {};
  return {::getpid(), file, static_cast<std::int64_t>(status.st_dev),
          static_cast<std::int64_t>(status.st_ino)};
}

/// Opens the memory file of the rank that made it, through /proc of that rank's process. Returns -1
/// if that fails, or if the device and inode are those of another file: in another container the
/// process id may belong to another process.
int open_source(const Source& source) {
  if (source.descriptor < 0) return -1;
  const int file = ::open(fmt::format("/proc/{}/fd/{}", source.process, source.descriptor).c_str(),
                          O_RDWR | O_CLOEXEC | O_NONBLOCK);
  const Source found = source_of(file);
  if (file < 0 || (found.device == source.device && found.inode == source.inode)) return file;
  ::close(file);
  return -1;
}

std::byte* map(int file, std::size_t bytes) {
  const int kind = file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* found = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kind, file, 0);
  return found == MAP_FAILED ? nullptr : static_cast<std::byte*>(found);
}

}  // namespace

NodeMemory::NodeMemory(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  data_ = map(-1, bytes);
  if (data_ == nullptr) refuse(bytes, errno);
}

NodeMemory::NodeMemory(const Communicator& node, std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const bool is_root = node.rank() == 0;
  int file = is_root ? file_in_memory(bytes) : -1;
  Source source = source_of(file);
  node.broadcast(std::as_writable_bytes(std::span(&source, 1)), 0);
  if (!is_root) file = open_source(source);
  if (file >= 0) data_ = map(file, bytes);
  // after this collective all ranks have opened the file, so the root may close it
  is_shared_ = node.min(std::int64_t{data_ != nullptr}) != 0;
  if (file >= 0) ::close(file);
  if (is_shared_) return;
  if (data_ != nullptr) ::munmap(data_, size_);
  data_ = map(-1, bytes);
  if (data_ == nullptr) refuse(bytes, errno);
}

NodeMemory::NodeMemory(NodeMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      is_shared_(other.is_shared_) {}

NodeMemory& NodeMemory::operator=(NodeMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(is_shared_, other.is_shared_);
  return *this;
}

NodeMemory::~NodeMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void NodeMemory::share(const Communicator& node) const {
  if (is_shared_) {
    node.barrier();
  } else {
    node.broadcast(bytes(), 0);
  }
}

}  // namespace tetrarch::mpi
