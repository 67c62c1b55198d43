// A column reads back what it wrote, in any order of rows, and finds every changed byte.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/part_column.hpp"

#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

struct PartColumnTest : ::testing::Test {
  PartColumnTest() {
    plan.path = "/rows";
    plan.columns = 12;
    plan.inner = 4;
    plan.is_vector = false;
  }
  /// Writes two microbatches of `num_rows` rows; in each the second half is written first.
  void write(PartColumn& column, std::int64_t num_rows) {
    std::vector<std::uint32_t> values(static_cast<std::size_t>(num_rows * plan.columns));
    std::iota(values.begin(), values.end(), 1u);
    const auto* data = reinterpret_cast<const std::byte*>(values.data());
    const std::int64_t half = num_rows / 2;
    h5::File file = h5::File::create(path);
    for (int microbatch = 0; microbatch < 2; ++microbatch) {
      column.begin(file, num_rows);
      column.write(half, num_rows - half, data + half * plan.row_bytes());
      column.write(0, half, data);
      column.end();
    }
    column.finish(file);
    file.close();
  }
  void check(const PartColumn& column, std::size_t scratch_bytes) {
    std::vector<std::byte> scratch(scratch_bytes);
    column.check(h5::File::open_to_read(path, base::ExitCode::resources), scratch);
  }
  /// Offset in the file of the first occurrence of the value.
  std::int64_t place_of(std::uint32_t value) const {
    std::ifstream file(path, std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(file)), {});
    const auto at = all.find(std::string(reinterpret_cast<const char*>(&value), sizeof value));
    EXPECT_NE(at, std::string::npos) << value;
    return static_cast<std::int64_t>(at);
  }

  TemporaryFolder folder;
  std::string path = folder / "column.h5";
  DatasetPlan plan;
};

TEST_F(PartColumnTest, EveryByteIsReadBackAndCompared) {
  // the buffer holds 5461 rows: those of both microbatches, of the first one, of none
  for (const std::int64_t num_rows : {100, 3000, 30'000}) {
    PartColumn column(plan, 256 << 10);
    write(column, num_rows);

    EXPECT_NO_THROW(check(column, 4 << 20));
    EXPECT_NO_THROW(check(column, 1000));
    EXPECT_NO_THROW(check(column, 1));  // less than a row
    for (const std::int64_t value : {std::int64_t{300}, num_rows * 6, num_rows * 12 - 1}) {
      const std::int64_t byte = place_of(static_cast<std::uint32_t>(value));
      flip_bit(path, byte + 1, 2);
      EXPECT_THROW(check(column, 4 << 20), base::SystemError) << num_rows << " " << value;
      flip_bit(path, byte + 1, 2);
    }
    EXPECT_NO_THROW(check(column, 4 << 20));
  }
}

/// Number of system calls by which this process wrote to files.
std::int64_t num_writes() {
  std::ifstream file("/proc/self/io");
  std::string key;
  std::int64_t value = 0;
  while (file >> key >> value)
    if (key == "syscw:") return value;
  return -1;
}

TEST_F(PartColumnTest, RowsThatComeLaterAreWrittenByWindows) {
  constexpr std::int64_t num_rows = 120'000, apart = 6;  // 22 windows of 256 KiB
  std::vector<std::uint32_t> values(num_rows * 12);
  std::iota(values.begin(), values.end(), 1u);
  const auto row_of = [&](std::int64_t row) {
    return reinterpret_cast<const std::byte*>(&values[row * 12]);
  };
  PartColumn column(plan, 256 << 10);
  h5::File file = h5::File::create(path);
  const std::int64_t before = num_writes();

  column.begin(file, num_rows);
  for (std::int64_t row = 0; row < num_rows; row += apart)
    column.write(row + 1, apart - 1, row_of(row + 1));
  for (std::int64_t row = 0; row < num_rows; row += apart)
    column.write(row, 1, row_of(row));
  column.end();
  column.finish(file);
  const std::int64_t after = num_writes();
  file.close();

  EXPECT_NO_THROW(check(column, 1 << 20));
  std::vector<std::uint32_t> found(values.size());
  h5::File::open_to_read(path, base::ExitCode::resources)
      .dataset("/rows")
      .read_all(plan.dtype, found.data());
  EXPECT_TRUE(found == values);
  ASSERT_GE(before, 0);
  EXPECT_LT(after - before, 200);  // for 40,000 calls of write()
}

TEST_F(PartColumnTest, AWindowOfTwoMicrobatchesHasTheRowsOfBoth) {
  constexpr std::int64_t num_rows = 8000;  // each ends inside a window of 5461 rows
  PartColumn column(plan, 256 << 10);
  write(column, num_rows);

  EXPECT_NO_THROW(check(column, 1 << 20));
  std::vector<std::uint32_t> found(2 * num_rows * 12);
  h5::File::open_to_read(path, base::ExitCode::resources)
      .dataset("/rows")
      .read_all(plan.dtype, found.data());
  for (std::int64_t i = 0; i < std::ssize(found); ++i)
    ASSERT_EQ(found[i], i % (num_rows * 12) + 1) << i;
}

TEST(ColumnBytes, ManyColumnsShareAFewMiB) {
  EXPECT_EQ(column_bytes(1), 256 << 10);
  EXPECT_EQ(column_bytes(32), 256 << 10);
  EXPECT_EQ(column_bytes(128), 64 << 10);
  EXPECT_EQ(column_bytes(1000), 32 << 10);
}

TEST_F(PartColumnTest, SumsAreReadBackAndComparedToo) {
  plan.dtype = base::DType::u64;
  plan.per = DatasetPlan::Per::run;
  plan.inner = 0;
  plan.rows = 2;
  PartColumn column(plan, 256 << 10);
  std::vector<std::uint64_t> counts(24, 0x12345678);
  h5::File file = h5::File::create(path);

  column.add(0, 2, counts.data());
  column.finish(file);
  file.close();

  EXPECT_NO_THROW(check(column, 4 << 20));
  flip_bit(path, place_of(0x12345678), 0);
  EXPECT_THROW(check(column, 4 << 20), base::SystemError);
}

}  // namespace
}  // namespace tetrarch::storage
