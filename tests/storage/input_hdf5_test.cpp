// HDF5 inputs in the forms in which other programs write them.
// SPDX-License-Identifier: Apache-2.0
#include "run_fixture.hpp"
#include "scratch.hpp"
#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;
using test::python;
using test::Scratch;

/// Writes a file of three sequences; the Python code `edit` may change them before. Returns its
/// path.
std::string made(const Scratch& scratch, const std::string& edit) {
  python(scratch, scratch / "a.h5",
         "parts = {'tokens': np.array([5, 6, 7, 8, 9], '<u4'), 'offsets': np.array([0, 2, 5, 5]),\n"
         "         'ids': np.array([1, 2, 3], '<u8'), 'score_from': np.array([0, 1, 0])}\n"
         "how = {}\n" +
             edit +
             "\nwith h5py.File(path, 'w') as f:\n"
             "  f.attrs['format'] = 'tetrarch-inputs'; f.attrs['format_version'] = [1, 0]\n"
             "  for name, data in parts.items(): f.create_dataset(name, data=data, **how)\n");
  return scratch / "a.h5";
}

InputSet open(const std::string& path) {
  return InputSet::open({path}, 50, 8);
}

TEST(InputHdf5, TheStoredTypeIsNoPartOfWhatIsRead) {
  const Scratch scratch;
  const InputSet plain = open(made(scratch, ""));

  for (const char* edit :
       {"parts = {k: v.astype('>i8') for k, v in parts.items()}",
        "parts = {k: v.astype('i1') for k, v in parts.items()}",
        "parts = {k: v.astype('>u2') for k, v in parts.items()}; how = {'compression': 'gzip'}",
        "how = {'chunks': (2,), 'shuffle': True, 'fletcher32': True, 'compression': 'gzip'}"}) {
    const InputSet inputs = open(made(scratch, edit));
    std::vector<std::uint32_t> tokens(3);
    inputs.read_tokens(1, 0, 3, tokens.data());

    EXPECT_EQ(inputs.identity(), plain.identity()) << edit;
    EXPECT_EQ(tokens, (std::vector<std::uint32_t>{7, 8, 9})) << edit;
    EXPECT_EQ(inputs.numeric_ids(), (std::vector<std::uint64_t>{1, 2, 3})) << edit;
    EXPECT_EQ(inputs.score_from(1), 1) << edit;
  }
}

TEST(InputHdf5, WhatDoesNotFitOrIsNoIntegerIsRefusedWithWordsThatHelp) {
  const Scratch scratch;
  const auto refused = [&](const std::string& edit, const std::vector<std::string>& words) {
    const std::string path = made(scratch, edit);
    return is_refused(ExitCode::input, words, [&] { open(path); });
  };

  EXPECT_TRUE(refused("parts['tokens'] = np.array([5, 6, 7, -1, 9])",
                      {"/tokens[3] is -1 (expected 0 to 4294967295)"}));
  EXPECT_TRUE(
      refused("parts['tokens'] = np.array([5, 6, 7, 8, 2**32])", {"/tokens[4] is 4294967296"}));
  EXPECT_TRUE(refused("parts['offsets'] = np.array([0, -2, 5, 5])", {"/offsets[1] is -2"}));
  EXPECT_TRUE(refused("parts['ids'] = np.array([1, -2, 3])", {"/ids[1] is -2"}));
  EXPECT_TRUE(refused("parts['score_from'] = np.array([0, 0, -1])", {"/score_from[2] is -1"}));
  EXPECT_TRUE(refused("parts['tokens'] = parts['tokens'].astype(float)",
                      {"/tokens is float64 (expected integers)", ".astype('int64')"}));
  EXPECT_TRUE(refused("parts['ids'] = np.array([True, False, True])",
                      {"/ids is bool (expected integers or texts)"}));
  EXPECT_TRUE(refused("parts['tokens'] = np.zeros((3, 2), 'i8')",
                      {"/tokens is of shape [3, 2] (expected one axis"}));
  EXPECT_TRUE(
      refused("parts['tokens'] = np.array([np.arange(2)] * 3 + [np.arange(3)],\n"
              "                           h5py.vlen_dtype('i8'))",
              {"/tokens is lists of variable length", "prefix sums"}));
  EXPECT_TRUE(
      refused("how = {'compression': 'lzf'}",
              {"/tokens: uses filter 32000 (lzf), which is not read", "compression='gzip'"}));
  EXPECT_TRUE(
      refused("how = {'scaleoffset': 0, 'chunks': (3,)}",
              {"/tokens: uses filter 6 (scale-offset), which is not read", "compression='gzip'"}));
}

TEST(InputHdf5, DataThatNobodyWroteIsRefusedInEachDataset) {
  const Scratch scratch;
  for (const std::string name : {"tokens", "offsets", "ids", "score_from"}) {
    const std::string path = made(scratch, "");
    python(scratch, path,
           "with h5py.File(path, 'r+') as f:\n"
           "  data = f['" +
               name + "'][()]; del f['" + name +
               "']\n"
               "  d = f.create_dataset('" +
               name +
               "', data.shape, data.dtype, chunks=(1,), compression='gzip')\n"
               "  d[:1] = data[:1]\n");
    const std::string missing = name == "tokens"    ? "4 of its 5"
                                : name == "offsets" ? "3 of its 4"
                                                    : "2 of its 3";

    EXPECT_TRUE(is_refused(
        ExitCode::input,
        {path, "/" + name + ": " + missing + " chunks were never written", "did not finish"},
        [&] { open(path); }));
  }
}

TEST(InputHdf5, FilesOfOtherProgramsAreNamed) {
  const Scratch scratch;
  const auto refused = [&](const std::string& attribute, const std::string& words) {
    python(scratch, scratch / "b.h5",
           "f = h5py.File(path, 'w'); f.attrs['" + attribute + "'] = np.bytes_('2.1')\n");
    return is_refused(ExitCode::input, {"attribute format is missing", words},
                      [&] { open(scratch / "b.h5"); });
  };

  EXPECT_TRUE(refused("PYTABLES_FORMAT_VERSION", "PyTables (pandas' to_hdf) wrote it"));
  EXPECT_TRUE(refused("_NCProperties", "it is a netCDF file"));
}

}  // namespace
}  // namespace tetrarch::storage
