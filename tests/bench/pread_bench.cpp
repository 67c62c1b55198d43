// GB/s of pread and XXH3 of a file in 4 MiB blocks, by a number of threads. The speed of reading
// weights is compared with it.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/files/checksum.hpp"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: pread_bench FILE THREADS\n");
    return 2;
  }
  const int file = ::open(argv[1], O_RDONLY), num_threads = std::atoi(argv[2]);
  struct stat status {};
  if (file < 0 || ::fstat(file, &status) != 0) return 3;
  constexpr std::int64_t block = tetrarch::storage::checksum_block_bytes;
  std::atomic<std::int64_t> next = 0;
  std::atomic<std::uint64_t> sums = 0;
  const auto work = [&] {
    std::vector<std::byte> buffer(block);
    for (std::int64_t at = next += block; at - block < status.st_size; at = next += block) {
      const ssize_t got = ::pread(file, buffer.data(), block, at - block);
      if (got <= 0) std::exit(3);
      sums ^= tetrarch::storage::xxh3({buffer.data(), static_cast<std::size_t>(got)});
    }
  };
  const auto started = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 1; i < num_threads; ++i)
    threads.emplace_back(work);
  work();
  for (std::thread& thread : threads)
    thread.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  std::printf("%lld bytes, %.3f s, %.3f GB/s, sums %016llx\n",
              static_cast<long long>(status.st_size), seconds.count(),
              static_cast<double>(status.st_size) / seconds.count() / 1e9,
              static_cast<unsigned long long>(sums.load()));
}
