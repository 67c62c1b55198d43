// Reading integers of any width, sign and byte order.
// SPDX-License-Identifier: Apache-2.0
#include "scratch.hpp"
#include "storage/h5/h5.hpp"

namespace tetrarch::storage::h5 {
namespace {

using base::DType;
using base::ExitCode;
using test::is_refused;
using test::python;
using test::Scratch;

File open(const std::string& path) {
  return File::open_to_read(path, ExitCode::input);
}

template <class T>
std::vector<T> read(const Dataset& dataset) {
  std::vector<T> values(static_cast<std::size_t>(dataset.info().shape.at(0)), T{77});
  dataset.read_all_integers(sizeof(T) == 4 ? DType::u32 : DType::u64, values.data());
  return values;
}

TEST(H5Integers, AnyWidthSignAndByteOrderIsRead) {
  const Scratch scratch;
  python(scratch, scratch / "a.h5",
         "f = h5py.File(path, 'w')\n"
         "for order in '<>':\n"
         "  for kind in 'iu':\n"
         "    for size in (1, 2, 4, 8):\n"
         "      name = ('le' if order == '<' else 'be') + kind + str(size)\n"
         "      f[name] = np.array([0, 100, 7], order + kind + str(size))\n"
         "      f.create_dataset(name + 'z', data=f[name][()], chunks=(2,), compression='gzip',\n"
         "                       shuffle=True, fletcher32=True)\n");

  const File file = open(scratch / "a.h5");

  const std::vector<std::string> names = file.list();
  EXPECT_EQ(names.size(), 32u);
  for (const std::string& name : names) {
    const Dataset dataset = file.dataset(name);
    EXPECT_TRUE(dataset.info().is_integer) << name;
    EXPECT_EQ(read<std::uint32_t>(dataset), (std::vector<std::uint32_t>{0, 100, 7})) << name;
    EXPECT_EQ(read<std::uint64_t>(dataset), (std::vector<std::uint64_t>{0, 100, 7})) << name;
  }
}

TEST(H5Integers, TheLargestAndSmallestValuesAreExact) {
  const Scratch scratch;
  python(scratch, scratch / "a.h5",
         "f = h5py.File(path, 'w')\n"
         "f['u8'] = np.array([2**64 - 1, 2**63, 2**53 + 1], '>u8')\n"
         "f['i8'] = np.array([2**63 - 1, 2**32 - 1], '<i8')\n"
         "f['u4'] = np.array([2**32 - 1], '>u4')\n");

  const File file = open(scratch / "a.h5");

  EXPECT_EQ(read<std::uint64_t>(file.dataset("/u8")),
            (std::vector<std::uint64_t>{UINT64_MAX, std::uint64_t{1} << 63, 9007199254740993}));
  EXPECT_EQ(read<std::uint64_t>(file.dataset("/i8")),
            (std::vector<std::uint64_t>{INT64_MAX, UINT32_MAX}));
  EXPECT_EQ(read<std::uint32_t>(file.dataset("/u4")), (std::vector<std::uint32_t>{UINT32_MAX}));
}

TEST(H5Integers, AValueThatDoesNotFitIsNamedWithItsIndex) {
  const Scratch scratch;
  python(scratch, scratch / "a.h5",
         "f = h5py.File(path, 'w')\n"
         "f['negative'] = np.array([5, 6, -1, -2])\n"
         "f['large'] = np.array([0, 2**32], '<u8')\n"
         "far = np.zeros(600_000, 'i2'); far[500_000] = -100; f['far'] = far\n");

  const File file = open(scratch / "a.h5");
  const auto refused = [&](const std::string& name, const std::string& words, auto zero) {
    return is_refused(ExitCode::input, {scratch / "a.h5", words},
                      [&] { read<decltype(zero)>(file.dataset(name)); });
  };

  EXPECT_TRUE(refused("/negative", "/negative[2] is -1 (expected 0 to 4294967295)", 0u));
  EXPECT_TRUE(refused("/negative", "/negative[2] is -1 (expected 0 to 18446744073709551615)", 0ul));
  EXPECT_TRUE(refused("/large", "/large[1] is 4294967296 (expected 0 to 4294967295)", 0u));
  EXPECT_TRUE(refused("/far", "/far[500000] is -100", 0u));
  EXPECT_EQ(read<std::uint64_t>(file.dataset("/large"))[1], std::uint64_t{1} << 32);
}

TEST(H5Integers, APartIsReadFromWhereItStands) {
  const Scratch scratch;
  python(scratch, scratch / "a.h5",
         "h5py.File(path, 'w')['x'] = np.arange(600_000, dtype='<i8')\n");
  const File file = open(scratch / "a.h5");
  const Dataset dataset = file.dataset("/x");
  std::vector<std::uint32_t> values(300'000);

  dataset.read_integers({{200'000}, {300'000}}, DType::u32, values.data());

  EXPECT_EQ(values.front(), 200'000u);
  EXPECT_EQ(values[262'144], 462'144u);
  EXPECT_EQ(values.back(), 499'999u);
}

TEST(H5Integers, OtherKindsAreNamed) {
  const Scratch scratch;
  python(scratch, scratch / "a.h5",
         "f = h5py.File(path, 'w')\n"
         "f['bool'] = np.array([True, False])\n"
         "f['enumeration'] = np.array([1], h5py.enum_dtype({'A': 1, 'B': 2, 'C': 3}, 'i4'))\n"
         "f['float64'] = np.array([1.0])\n"
         "f['float16big'] = np.array([1.0], '>f2')\n"
         "f['text'] = np.array([b'ab'])\n"
         "f['lists'] = np.array([np.arange(2), np.arange(3)], h5py.vlen_dtype('i8'))\n"
         "f['compound'] = np.zeros(2, [('a', 'i4'), ('b', 'f4')])\n"
         "f['int64'] = np.array([1], '>i8')\n");

  const File file = open(scratch / "a.h5");
  const auto kind = [&](const std::string& name) { return file.dataset(name).info().kind; };

  EXPECT_EQ(kind("/bool"), "bool");
  EXPECT_EQ(kind("/enumeration"), "an enumeration");
  EXPECT_EQ(kind("/float64"), "float64");
  EXPECT_EQ(kind("/float16big"), "float16 (big-endian)");
  EXPECT_EQ(kind("/text"), "text of 2 bytes");
  EXPECT_EQ(kind("/lists"), "lists of variable length");
  EXPECT_EQ(kind("/compound"), "a table of records (compound)");
  EXPECT_EQ(kind("/int64"), "int64 (big-endian)");
  for (const char* name : {"/bool", "/enumeration", "/float64", "/text", "/lists", "/compound"})
    EXPECT_TRUE(is_refused(ExitCode::input, {name, "expected integers"},
                           [&] { read<std::uint32_t>(file.dataset(name)); }));
}

}  // namespace
}  // namespace tetrarch::storage::h5
