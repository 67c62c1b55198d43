// A preloaded library that counts a program's calls on files below one folder, and makes the n-th
// of them fail, do half of its work, or be the program's last.
//
//   FAULT_FOLDER   only files below it count
//   FAULT_CALLS    which calls: some of write,sync,rename,remove,make,truncate
//   FAULT_AT       n, from 1; 0: none
//   FAULT_DO       kill (before the call), EIO, ENOSPC, EDQUOT, short (half of the bytes), or
//                  sleep (FAULT_SECONDS, then it goes on)
//   FAULT_FOREVER  1: so do all later ones
//   FAULT_BYTES    the disk is full after so many written bytes
//   FAULT_RANK     only this rank
//   FAULT_TRACE    a file that gets a line "n call path" for each call that counts
//   FAULT_LATE     seconds that a new file is missing from lists of folders
//
// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum outcome { goes_on, fails, is_short };

static struct {
  int is_read, is_off, is_forever, error, is_kill, is_short, is_sleep, trace;
  const char* folder;
  const char* calls;
  long at, count;
  long long bytes_left;  // -1: no limit
  double late_s;
} fault;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static long number(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value ? atol(value) : otherwise;
}

static void read_settings(void) {
  if (fault.is_read) return;
  fault.is_read = 1;
  const char* rank = getenv("FAULT_RANK");
  const char* own = getenv("OMPI_COMM_WORLD_RANK");
  const char* trace = getenv("FAULT_TRACE");
  const char* act = getenv("FAULT_DO");
  fault.folder = getenv("FAULT_FOLDER");
  fault.calls = getenv("FAULT_CALLS") ? getenv("FAULT_CALLS") : "";
  fault.is_off = !fault.folder || (rank && atol(rank) != (own ? atol(own) : 0));
  fault.at = number("FAULT_AT", 0);
  fault.is_forever = number("FAULT_FOREVER", 0) != 0;
  fault.bytes_left = number("FAULT_BYTES", -1);
  fault.late_s = getenv("FAULT_LATE") ? atof(getenv("FAULT_LATE")) : 0;
  fault.trace = trace ? (int)syscall(SYS_openat, AT_FDCWD, trace,
                                     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)
                      : -1;
  if (!act) return;
  fault.is_kill = strcmp(act, "kill") == 0;
  fault.is_short = strcmp(act, "short") == 0;
  fault.is_sleep = strcmp(act, "sleep") == 0;
  fault.error = strcmp(act, "ENOSPC") == 0   ? ENOSPC
                : strcmp(act, "EDQUOT") == 0 ? EDQUOT
                                             : EIO;
}

static int is_below(const char* path) {
  if (!path) return 0;
  if (path[0] != '/') return 0;  // the tests name their folders whole
  const size_t length = strlen(fault.folder);
  return strncmp(path, fault.folder, length) == 0;
}

static const char* path_of(int descriptor, char* to, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t count = readlink(link, to, size - 1);
  to[count > 0 ? count : 0] = '\0';
  return to;
}

static void trace(const char* call, const char* path) {
  char line[4352];
  const int count = snprintf(line, sizeof line, "%ld %s %s\n", fault.count, call, path);
  if (fault.trace >= 0) syscall(SYS_write, fault.trace, line, count);
}

/// What becomes of this call; `error` is then errno.
static enum outcome judge(const char* call, const char* path, int* error) {
  const int saved = errno;
  enum outcome outcome = goes_on;
  pthread_mutex_lock(&mutex);
  read_settings();
  if (!fault.is_off && is_below(path) && strstr(fault.calls, call)) {
    ++fault.count;
    trace(call, path);
    const int is_now = fault.at > 0 && (fault.is_forever ? fault.count >= fault.at
                                                         : fault.count == fault.at);
    if (is_now && fault.is_kill) kill(getpid(), SIGKILL);
    if (is_now && fault.is_sleep) sleep((unsigned)number("FAULT_SECONDS", 1));
    else if (is_now) outcome = fault.is_short ? is_short : fails;
    *error = fault.error;
  }
  pthread_mutex_unlock(&mutex);
  errno = saved;
  return outcome;
}

/// How many of these bytes may be written; 0: none, with errno.
static size_t allowed(int descriptor, size_t count) {
  char buffer[4096];
  int error = 0;
  const char* path = path_of(descriptor, buffer, sizeof buffer);
  const enum outcome outcome = judge("write", path, &error);
  if (outcome == fails) {
    errno = error;
    return 0;
  }
  if (outcome == is_short && count > 1) count /= 2;
  if (fault.is_off || fault.bytes_left < 0 || !is_below(path)) return count;
  pthread_mutex_lock(&mutex);
  if ((long long)count > fault.bytes_left) count = (size_t)fault.bytes_left;
  fault.bytes_left -= (long long)count;
  pthread_mutex_unlock(&mutex);
  if (count == 0) errno = ENOSPC;
  return count;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void* from, size_t count) {
  const size_t most = count == 0 ? 0 : allowed(fd, count);
  return count > 0 && most == 0 ? -1 : NEXT(write)(fd, from, most);
}
ssize_t pwrite(int fd, const void* from, size_t count, off_t offset) {
  const size_t most = count == 0 ? 0 : allowed(fd, count);
  return count > 0 && most == 0 ? -1 : NEXT(pwrite)(fd, from, most, offset);
}
ssize_t pwrite64(int fd, const void* from, size_t count, off64_t offset) {
  const size_t most = count == 0 ? 0 : allowed(fd, count);
  return count > 0 && most == 0 ? -1 : NEXT(pwrite64)(fd, from, most, offset);
}

static int refused(const char* call, const char* path) {
  int error = 0;
  if (judge(call, path, &error) != fails) return 0;
  errno = error;
  return 1;
}
static int refused_at(const char* call, int fd) {
  char buffer[4096];
  return refused(call, path_of(fd, buffer, sizeof buffer));
}

int fsync(int fd) { return refused_at("sync", fd) ? -1 : NEXT(fsync)(fd); }
int ftruncate(int fd, off_t length) {
  return refused_at("truncate", fd) ? -1 : NEXT(ftruncate)(fd, length);
}
int ftruncate64(int fd, off64_t length) {
  return refused_at("truncate", fd) ? -1 : NEXT(ftruncate64)(fd, length);
}
int rename(const char* from, const char* to) {
  return refused("rename", to) ? -1 : NEXT(rename)(from, to);
}
int unlink(const char* path) { return refused("remove", path) ? -1 : NEXT(unlink)(path); }
int rmdir(const char* path) { return refused("remove", path) ? -1 : NEXT(rmdir)(path); }
int remove(const char* path) { return refused("remove", path) ? -1 : NEXT(remove)(path); }
int mkdir(const char* path, mode_t mode) {
  return refused("make", path) ? -1 : NEXT(mkdir)(path, mode);
}

static int refused_open(const char* path, int flags) {
  return (flags & O_CREAT) != 0 && refused("make", path);
}
int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return refused_open(path, flags) ? -1 : NEXT(open)(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return refused_open(path, flags) ? -1 : NEXT(open64)(path, flags, mode);
}

static int is_late(DIR* folder, const char* name) {
  struct stat found;
  struct timespec now;
  char buffer[4096];
  read_settings();
  if (fault.is_off || fault.late_s <= 0 || name[0] == '.' ||
      !is_below(path_of(dirfd(folder), buffer, sizeof buffer)))
    return 0;
  clock_gettime(CLOCK_REALTIME, &now);
  if (fstatat(dirfd(folder), name, &found, 0) != 0 || !S_ISREG(found.st_mode)) return 0;
  return (double)(now.tv_sec - found.st_ctim.tv_sec) +
             1e-9 * (double)(now.tv_nsec - found.st_ctim.tv_nsec) <
         fault.late_s;
}
struct dirent* readdir(DIR* folder) {
  struct dirent* entry = NEXT(readdir)(folder);
  while (entry && is_late(folder, entry->d_name)) entry = NEXT(readdir)(folder);
  return entry;
}
struct dirent64* readdir64(DIR* folder) {
  struct dirent64* entry = NEXT(readdir64)(folder);
  while (entry && is_late(folder, entry->d_name)) entry = NEXT(readdir64)(folder);
  return entry;
}
