// Refusal of data that a file declares but that was never written.
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

/// Python: part() creates a dataset of which no chunk is written, by h5py's low-level calls.
constexpr const char* helpers =
    "f = h5py.File(path, 'w', libver=globals().get('libver', 'earliest'))\n"
    "def part(name, shape, chunk, *, gzip=False, never=False):\n"
    "  p = h5py.h5p.create(h5py.h5p.DATASET_CREATE)\n"
    "  if chunk: p.set_chunk(chunk)\n"
    "  else: p.set_layout(h5py.h5d.CONTIGUOUS)\n"
    "  if gzip: p.set_deflate(4)\n"
    "  p.set_alloc_time(h5py.h5d.ALLOC_TIME_INCR if chunk else h5py.h5d.ALLOC_TIME_LATE)\n"
    "  if never: p.set_fill_time(h5py.h5d.FILL_TIME_NEVER)\n"
    "  space = h5py.h5s.create_simple(shape)\n"
    "  return h5py.Dataset(h5py.h5d.create(f.id, name, h5py.h5t.STD_U32LE, space, p))\n";

TEST(H5Written, ChunksThatNobodyWroteAreCounted) {
  const Scratch scratch;
  for (const std::string version : {"earliest", "latest"}) {  // different chunk indices
    python(scratch, scratch / "a.h5",
           "libver = '" + version + "'\n" + helpers +
               "part(b'none', (4000,), (1000,))\n"
               "part(b'first', (4000,), (1000,))[:1000] = 1\n"
               "part(b'never', (4000,), (1000,), never=True)[:1000] = 1\n"
               "part(b'gzip', (4000,), (1000,), gzip=True)[1000:3000] = 1\n"
               "part(b'edge', (3500,), (1000,))[:3000] = 1\n"
               "part(b'table', (30, 20), (10, 10))[:10] = 1\n"
               "part(b'whole_edge', (3500,), (1000,))[:] = 1\n"
               "part(b'whole_gzip', (3500,), (1000,), gzip=True)[:] = 0\n"
               "part(b'whole_table', (25, 11), (10, 10), never=True)[:] = 1\n"
               "part(b'empty', (0,), (10,))\n");
    const File file = File::open_to_read(scratch / "a.h5", ExitCode::input);
    const auto refused = [&](const std::string& name, const std::string& words) {
      return is_refused(ExitCode::input,
                        {scratch / "a.h5:" + name + ": " + words, "did not finish"},
                        [&] { file.dataset(name).check_written(); });
    };

    EXPECT_TRUE(refused("/none", "4 of its 4 chunks were never written")) << version;
    EXPECT_TRUE(refused("/first", "3 of its 4 chunks were never written")) << version;
    EXPECT_TRUE(refused("/never", "3 of its 4 chunks were never written")) << version;
    EXPECT_TRUE(refused("/gzip", "2 of its 4 chunks were never written")) << version;
    EXPECT_TRUE(refused("/edge", "1 of its 4 chunks were never written")) << version;
    EXPECT_TRUE(refused("/table", "4 of its 6 chunks")) << version;
    for (const char* name : {"/whole_edge", "/whole_gzip", "/whole_table", "/empty"})
      EXPECT_NO_THROW(file.dataset(name).check_written()) << name << version;
  }
}

TEST(H5Written, OtherLayoutsAreLookedAtToo) {
  const Scratch scratch;
  python(
      scratch, scratch / "a.h5",
      std::string(helpers) +
          "part(b'never', (10,), None)\n"
          "part(b'whole', (10,), None)[:] = 1\n"
          "part(b'empty', (0,), None)\n"
          "f['scalar'] = np.uint32(3)\n"
          "p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_layout(h5py.h5d.COMPACT)\n"
          "h5py.h5d.create(f.id, b'compact', h5py.h5t.STD_U32LE, h5py.h5s.create_simple((3,)), p)\n"
          "f.create_dataset('texts', (3,), h5py.string_dtype())\n");
  const File file = File::open_to_read(scratch / "a.h5", ExitCode::weights);

  for (const char* name : {"/never", "/texts"})
    EXPECT_TRUE(is_refused(ExitCode::weights, {name, "its data were never written"},
                           [&] { file.dataset(name).check_written(); }));
  for (const char* name : {"/whole", "/empty", "/scalar", "/compact"})
    EXPECT_NO_THROW(file.dataset(name).check_written()) << name;
}

TEST(H5Written, WhatWasNeverWrittenIsNotWhatTheBufferHeld) {
  const Scratch scratch;
  python(scratch, scratch / "a.h5",
         std::string(helpers) + "part(b'x', (4,), (2,), never=True)[:2] = 9\n");
  const File file = File::open_to_read(scratch / "a.h5", ExitCode::input);
  const Dataset dataset = file.dataset("/x");
  std::vector<std::uint32_t> values(4, 77);

  dataset.read_all(DType::u32, values.data());

  EXPECT_EQ(values, (std::vector<std::uint32_t>{9, 9, 0, 0}));
}

}  // namespace
}  // namespace tetrarch::storage::h5
