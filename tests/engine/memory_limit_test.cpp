// The memory limit of a rank is compared with the memory of the machine.
// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_limit.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

namespace fs = std::filesystem;

/// A temporary root folder with the files of /proc and /sys that a test writes there.
class Cgroups : public ::testing::Test {
 protected:
  Cgroups() {
    std::string name = (fs::temp_directory_path() / "tetrarch-XXXXXX").string();
    root = ::mkdtemp(name.data());
  }
  ~Cgroups() override { fs::remove_all(root); }

  void write(const fs::path& path, const std::string& text) const {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  void member_of(const std::string& lines) const { write("proc/self/cgroup", lines); }
  void group(const std::string& path, const std::string& limit, const std::string& used,
             const std::string& stat = "anon 1\n") const {
    const fs::path folder = "sys/fs/cgroup" + path;
    write(folder / "memory.max", limit + "\n");
    write(folder / "memory.current", used + "\n");
    write(folder / "memory.stat", stat);
  }
  void old_group(const std::string& path, const std::string& limit, const std::string& used,
                 const std::string& stat = "cache 1\n") const {
    const fs::path folder = "sys/fs/cgroup/memory" + path;
    write(folder / "memory.limit_in_bytes", limit + "\n");
    write(folder / "memory.usage_in_bytes", used + "\n");
    write(folder / "memory.stat", stat);
  }

  fs::path root;
};

TEST_F(Cgroups, NoneSetNoLimit) {
  EXPECT_EQ(available_in_cgroups(root), std::nullopt);

  member_of("0::/\n");
  EXPECT_EQ(available_in_cgroups(root), std::nullopt);
}

TEST_F(Cgroups, TheOwnGroupSetsALimit) {
  member_of("0::/job/step\n");
  group("/job/step", "1000", "300");

  EXPECT_EQ(available_in_cgroups(root), 700);
}

TEST_F(Cgroups, TheLeastOfAllGroupsAboveCounts) {
  member_of("0::/slurm/job/step\n");
  group("/slurm/job/step", "max", "100");
  group("/slurm/job", "5000", "4400");
  group("/slurm", "9000", "1000");
  EXPECT_EQ(available_in_cgroups(root), 600);

  group("/slurm", "9000", "8600");
  EXPECT_EQ(available_in_cgroups(root), 400);

  group("", "2000", "1900");
  EXPECT_EQ(available_in_cgroups(root), 100);

  group("/slurm/other", "10", "10");  // a group of another process
  EXPECT_EQ(available_in_cgroups(root), 100);
}

TEST_F(Cgroups, FileCacheIsNoUse) {
  member_of("0::/job\n");
  group("/job", "1000", "900", "anon 200\nfile 700\ninactive_file 300\nactive_file 250\n");

  EXPECT_EQ(available_in_cgroups(root), 1000 - (900 - 550));
}

TEST_F(Cgroups, AFullGroupLeavesOneByteAndNotNoLimit) {
  member_of("0::/job\n");
  group("/job", "1000", "1000");

  EXPECT_EQ(available_in_cgroups(root), 1);
}

TEST_F(Cgroups, VersionOneIsReadByItsMemoryLine) {
  member_of("9:name=systemd:/\n4:cpuset,memory:/slurm/job\n1:cpu:/elsewhere\n0::/\n");
  old_group("", "9223372036854771712", "50000");  // the number for "no limit" in cgroups v1
  EXPECT_EQ(available_in_cgroups(root), std::nullopt);

  old_group("/slurm", "8000", "1000");
  old_group("/slurm/job", "4000", "3500",
            "inactive_file 7\ntotal_inactive_file 100\ntotal_active_file 20\n");
  old_group("/elsewhere", "10", "10");

  EXPECT_EQ(available_in_cgroups(root), 4000 - (3500 - 120));

  old_group("/slurm", "8000", "7999");
  EXPECT_EQ(available_in_cgroups(root), 1);
}

TEST_F(Cgroups, AContainerThatSeesOnlyItsOwnGroupReadsTheMount) {
  member_of("0::/docker/0123456789\n");  // the host's path; in the container this group is the
                                         // mount point
  group("", "3000", "1000");

  EXPECT_EQ(available_in_cgroups(root), 2000);
}

TEST_F(Cgroups, ALineThatIsCutOffSetsNoLimit) {
  member_of("0:");

  EXPECT_EQ(available_in_cgroups(root), std::nullopt);
}

TEST(MemoryLimit, IsAShareOfTheMachineAndTheSameEverywhere) {
  const mpi::Communicator world = mpi::everyone(), node = world.split_by_node();

  const std::int64_t limit = memory_limit_bytes(world, node);

  const std::int64_t physical = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  EXPECT_GT(limit, 0);
  EXPECT_LE(limit, physical / node.size());
  EXPECT_EQ(world.min(limit), world.max(limit));
}

TEST(MemoryLimit, ThePeakGrowsWithWhatIsTouched) {
  const std::int64_t before = peak_resident_bytes();
  std::vector<char> memory(64 << 20, 1);
  const std::int64_t after = peak_resident_bytes();

  EXPECT_EQ(memory.back(), 1);
  EXPECT_GT(before, 0);
  EXPECT_GE(after, 64 << 20);
  EXPECT_GE(after, before);
}

}  // namespace
}  // namespace tetrarch::engine
