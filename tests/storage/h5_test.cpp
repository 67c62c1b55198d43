// SPDX-License-Identifier: Apache-2.0
#include "storage/h5/h5.hpp"

#include <numeric>

#include <sys/stat.h>

#include "scratch.hpp"

namespace tetrarch::storage::h5 {
namespace {

using base::DType;
using base::ExitCode;
using test::is_refused;
using test::python;
using test::Scratch;

std::vector<float> counted(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

File open(const std::string& path) {
  return File::open_to_read(path, ExitCode::weights);
}

TEST(H5, ReadsBackWhatItWrote) {
  const Scratch scratch;
  const auto values = counted(24);
  {
    File file = File::create(scratch / "a.h5");
    Create create;
    create.shape = {2, 3, 4};
    create.description = "some numbers";
    file.create_dataset("/deep/er/x", create).write_all(DType::f32, values.data());
    file.close();
  }

  const File file = open(scratch / "a.h5");
  const Dataset dataset = file.dataset("/deep/er/x");
  std::vector<float> all(24), part(4);
  dataset.read_all(DType::f32, all.data());
  dataset.read({{1, 1, 1}, {1, 2, 2}}, DType::f32, part.data());

  EXPECT_EQ(all, values);
  EXPECT_EQ(part, (std::vector<float>{18, 19, 22, 23}));
  const Info info = dataset.info();
  EXPECT_EQ(info.shape, (base::Shape{2, 3, 4}));
  EXPECT_EQ(info.dtype, DType::f32);
  EXPECT_TRUE(info.is_contiguous);
  EXPECT_EQ(info.stored_bytes, 96);
  EXPECT_GT(info.file_offset, 0);
  EXPECT_EQ(dataset.text_attribute("description"), "some numbers");
  EXPECT_EQ(file.list(), std::vector<std::string>{"/deep/er/x"});
  EXPECT_TRUE(file.has("/deep/er/x"));
  EXPECT_FALSE(file.has("/deep/er"));
  EXPECT_FALSE(file.has("/nowhere/x"));
}

TEST(H5, Bf16IsU16WithAnAttribute) {
  const Scratch scratch;
  const std::vector<std::uint16_t> values{0x3f80, 0x4000};
  {
    File file = File::create(scratch / "a.h5");
    Create create;
    create.shape = {2};
    create.dtype = DType::bf16;
    file.create_dataset("/x", create).write_all(DType::bf16, values.data());
    create.dtype = DType::u16;
    file.create_dataset("/y", create).write_all(DType::u16, values.data());
    file.close();
  }

  const File file = open(scratch / "a.h5");
  std::vector<std::uint16_t> found(2);
  file.dataset("/x").read_all(DType::bf16, found.data());

  EXPECT_EQ(found, values);
  EXPECT_EQ(file.dataset("/x").info().dtype, DType::bf16);
  EXPECT_EQ(file.dataset("/y").info().dtype, DType::u16);
}

TEST(H5, RowsOfAnExtendedDatasetAreWrittenInAnyOrder) {
  const Scratch scratch;
  const auto values = counted(12);
  {
    File file = File::create(scratch / "a.h5");
    Create create;
    create.shape = {0, 2};
    create.extendible = true;
    Dataset rows = file.create_dataset("/rows", create);
    rows.extend(4);
    rows.extend(2);
    rows.write({{4, 0}, {2, 2}}, DType::f32, values.data() + 8);
    rows.write({{0, 0}, {4, 2}}, DType::f32, values.data());
    file.close();
  }

  const File file = open(scratch / "a.h5");
  const Dataset found = file.dataset("/rows");
  std::vector<float> rows(12);
  ASSERT_EQ(found.info().shape, (base::Shape{6, 2}));
  found.read_all(DType::f32, rows.data());

  EXPECT_EQ(rows, values);
}

TEST(H5, AppendsRowsTextsAndRecords) {
  struct Record {
    std::int32_t rank;
    char phase[16];
    double seconds;
  };
  const std::vector<Field> fields{{"rank", DType::i32, offsetof(Record, rank), 0},
                                  {"phase", DType::u8, offsetof(Record, phase), 16},
                                  {"seconds", DType::f64, offsetof(Record, seconds), 0}};
  const Scratch scratch;
  const auto values = counted(12);
  const Record records[] = {{1, "attention", 0.5}, {2, "fifteen letters", 1.5}};
  {
    File file = File::create(scratch / "a.h5");
    Create create;
    create.shape = {0, 2};
    create.extendible = true;
    Dataset rows = file.create_dataset("/rows", create);
    rows.extend(4);
    rows.write({{0, 0}, {4, 2}}, DType::f32, values.data());
    rows.extend(2);
    rows.write({{4, 0}, {2, 2}}, DType::f32, values.data() + 8);
    Dataset texts = file.create_texts("/texts", 0, 6, "names", true);
    texts.write_texts({"one", "zwölf"}, 6);
    texts.write_texts({"", "three"}, 6);
    Dataset table = file.create_records("/table", fields, sizeof(Record), "what happened");
    table.append_records(1, fields, sizeof(Record), records);
    table.append_records(1, fields, sizeof(Record), records + 1);
    file.close();
  }

  const File file = open(scratch / "a.h5");
  std::vector<float> rows(12);
  file.dataset("/rows").read_all(DType::f32, rows.data());
  Record found[2] = {};
  file.dataset("/table").read_records(0, 2, fields, sizeof(Record), found);

  EXPECT_EQ(rows, values);
  EXPECT_EQ(file.dataset("/texts").read_texts(0, 4),
            (std::vector<std::string>{"one", "zwölf", "", "three"}));
  EXPECT_EQ(file.dataset("/texts").read_texts(1, 1), std::vector<std::string>{"zwölf"});
  EXPECT_EQ(found[0].rank, 1);
  EXPECT_EQ(std::string(found[1].phase), "fifteen letters");
  EXPECT_EQ(found[1].seconds, 1.5);
}

TEST(H5, KeepsAttributesOfEveryKind) {
  const Scratch scratch;
  {
    File file = File::create(scratch / "a.h5");
    file.create_texts("/timing/phases", 0, 6, "makes the group", true);
    file.set_attribute("long", std::string(100'000, 'x'));
    file.set_attribute("empty", std::string());
    file.set_attribute("text", std::string("first"));
    file.set_attribute("text", std::string("second"));
    file.set_attribute("version", std::vector<std::uint32_t>{1, 7});
    file.set_attribute("count", std::uint64_t{1} << 40);
    file.set_attribute("flag", std::uint8_t{1});
    file.set_attribute("seconds", 0.25, "/timing");
    file.close();
  }

  const File file = open(scratch / "a.h5");

  EXPECT_EQ(file.text_attribute("text"), "second");
  EXPECT_EQ(file.integer_attribute("version"), (std::vector<std::int64_t>{1, 7}));
  EXPECT_EQ(file.integer_attribute("count"), std::vector<std::int64_t>{std::int64_t{1} << 40});
  EXPECT_EQ(file.number_attribute("flag"), 1.0);
  EXPECT_EQ(file.number_attribute("seconds", "/timing"), 0.25);
  EXPECT_EQ(file.text_attribute("long"), std::string(100'000, 'x'));
  EXPECT_EQ(file.text_attribute("empty"), "");
  EXPECT_EQ(file.text_attribute("none"), std::nullopt);
  EXPECT_TRUE(is_refused(ExitCode::weights, {"\"version\"", "not one text"},
                         [&] { file.text_attribute("version"); }));
}

TEST(H5, IsReadByH5pyAsPlainValues) {
  const Scratch scratch;
  const std::string path = scratch / "a.h5";
  const auto values = counted(6);
  {
    File file = File::create(path);
    file.set_attribute("format", std::string("tetrarch-test"));
    Create create;
    create.shape = {2, 3};
    create.units = "s";
    file.create_dataset("/x", create).write_all(DType::f32, values.data());
    file.create_texts("/t", 2, 4, "").write_texts({"ab", "cdef"}, 4);
    file.close();
  }

  python(scratch, path,
         "f = h5py.File(path)\n"
         "assert f.attrs['format'] == 'tetrarch-test' and f['x'].attrs['units'] == 's'\n"
         "assert f['x'][1].tolist() == [4, 5, 6] and f['x'].dtype == np.float32\n"
         "assert list(f['t']) == [b'ab', b'cdef']\n");
}

TEST(H5, AFileThatItsWriterDidNotCloseIsNotCalledDamaged) {
  const Scratch scratch;
  const std::string path = scratch / "a.h5";
  python(scratch, path,
         "import os\n"
         "f = h5py.File(path, 'w', libver='latest'); f['x'] = [1, 2]\n"
         "f.flush(); f.swmr_mode = True; f.flush(); os._exit(0)\n");

  EXPECT_TRUE(is_refused(ExitCode::weights, {path, "ended without closing it", "h5clear -s"},
                         [&] { open(path); }));
}

TEST(H5, ReadsTextsAndAttributesOfH5py) {
  const Scratch scratch;
  const std::string path = scratch / "a.h5";
  python(scratch, path,
         "f = h5py.File(path, 'w')\n"
         "f['v'] = np.array(['one', 'zwölf'], dtype=h5py.string_dtype())\n"
         "f['s'] = np.array([b'ab', b'c'])\n"
         "f.attrs['fixed'] = np.bytes_('text'); f.attrs['variable'] = 'wörter'\n"
         "f['big'] = np.array([1, 2], dtype='>f4')\n");

  const File file = open(path);

  EXPECT_TRUE(file.dataset("/v").info().is_variable_text);
  EXPECT_EQ(file.dataset("/v").read_texts(0, 2), (std::vector<std::string>{"one", "zwölf"}));
  EXPECT_EQ(file.dataset("/s").info().text_bytes, 2);
  EXPECT_EQ(file.dataset("/s").read_texts(0, 2), (std::vector<std::string>{"ab", "c"}));
  EXPECT_EQ(file.text_attribute("fixed"), "text");
  EXPECT_EQ(file.text_attribute("variable"), "wörter");
  EXPECT_EQ(file.dataset("/big").info().dtype, std::nullopt);
  EXPECT_TRUE(is_refused(ExitCode::weights, {"/s", "of another kind", "f32"}, [&] {
    float value[2];
    file.dataset("/s").read_all(DType::f32, value);
  }));
}

TEST(H5, RefusesDataOutsideTheFile) {
  const Scratch scratch;
  const std::string path = scratch / "a.h5";
  python(scratch, path,
         "folder = path[:-4]\n"
         "other = h5py.File(folder + 'other.h5', 'w'); other['x'] = np.arange(8.); other.close()\n"
         "open(folder + 'raw', 'wb').write(bytes(64))\n"
         "f = h5py.File(path, 'w')\n"
         "f['real'] = np.arange(8.)\n"
         "f['soft'] = h5py.SoftLink('/real')\n"
         "f['external'] = h5py.ExternalLink('other.h5', '/x')\n"
         "f.create_group('g')['inner'] = h5py.ExternalLink('other.h5', '/x')\n"
         "layout = h5py.VirtualLayout((8,), 'f8')\n"
         "layout[:] = h5py.VirtualSource(folder + 'other.h5', 'x', (8,))\n"
         "f.create_virtual_dataset('virtual', layout)\n"
         "f.create_dataset('outside', (8,), 'f8', external=[(folder + 'raw', 0, 64)])\n"
         "f.create_dataset('lzf', (8,), 'f8', compression='lzf')\n"
         "f.create_dataset('gzip', data=np.arange(8.), compression='gzip', shuffle=True)\n");

  const File file = open(path);
  const auto refused = [&](const std::string& name, const std::string& word) {
    return is_refused(ExitCode::weights, {name, word}, [&] { file.dataset(name); });
  };
  double values[8] = {};
  file.dataset("/gzip").read_all(DType::f64, values);

  EXPECT_EQ(values[7], 7);
  EXPECT_TRUE(refused("/soft", "soft link"));
  EXPECT_TRUE(refused("/external", "external link"));
  EXPECT_TRUE(refused("/g/inner", "external link"));
  EXPECT_TRUE(refused("/virtual", "virtual dataset"));
  EXPECT_TRUE(refused("/outside", "external storage"));
  EXPECT_TRUE(
      refused("/lzf",
              "uses filter 32000 (lzf), which is not read (gzip, shuffle and fletcher32 are). "
              "Write it with compression='gzip' (h5py), or without compression"));
  EXPECT_TRUE(refused("/absent", "is missing"));
  EXPECT_TRUE(refused("/g", "no dataset"));
  EXPECT_TRUE(is_refused(ExitCode::weights, {"link"}, [&] { file.list(); }));
}

TEST(H5, EndsOnTreesThatNeverEnd) {
  const Scratch scratch;
  const std::string path = scratch / "a.h5";
  python(scratch, path,
         "f = h5py.File(path, 'w')\n"
         "g = f.create_group('g'); g['again'] = g; g['more'] = f['/']\n");

  const File file = open(path);

  EXPECT_TRUE(
      is_refused(ExitCode::weights, {"/g/", "another path also leads to"}, [&] { file.list(); }));
}

TEST(H5, RefusesLinksThatAreNoTree) {
  const Scratch scratch;
  const auto refused = [&](const std::string& edit, const std::vector<std::string>& words) {
    python(scratch, scratch / "a.h5", "f = h5py.File(path, 'w')\n" + edit + "\n");
    return is_refused(ExitCode::weights, words, [&] { open(scratch / "a.h5").list(); });
  };

  EXPECT_TRUE(refused("f['t'] = np.dtype('f4')", {"/t", "no dataset and no group"}));
  EXPECT_TRUE(refused("f.create_group('/'.join('abcdefghijklmnopqr'))", {"deeper than 16"}));
  EXPECT_TRUE(refused("f['x\\n\\x1b[2J'] = 1", {"/x  [2J", "control characters"}));
  EXPECT_TRUE(refused("f['x' * 2000] = 1", {"2000 bytes", "at most 1024"}));
  EXPECT_TRUE(
      refused("g = f.create_group('g')\n"
              "for i in range(1000): g[str(i)] = g",
              {"/g/", "another path also leads to"}));
}

TEST(H5, RefusesDataThatAskForMuchMemory) {
  const Scratch scratch;
  python(scratch, scratch / "a.h5",
         "f = h5py.File(path, 'w')\n"
         "f.create_dataset('chunk', (10,), 'u4', chunks=(1 << 29,), maxshape=(None,),\n"
         "                 compression='gzip')\n"
         "f.create_dataset('text', (3,), 'S100000')\n"
         "f.create_dataset('bomb', (1 << 31, 1 << 20), 'u4')\n");

  const File file = open(scratch / "a.h5");

  EXPECT_TRUE(is_refused(ExitCode::weights, {"/chunk", "chunks of more than 128 MiB"},
                         [&] { file.dataset("/chunk"); }));
  EXPECT_TRUE(is_refused(ExitCode::weights, {"/text", "100000 bytes each"},
                         [&] { file.dataset("/text").read_texts(0, 1); }));
  EXPECT_EQ(file.dataset("/bomb").info().stored_bytes, 0);  // 8192 TiB by its shape
}

TEST(H5, TextAttributesCanLieInTheHeader) {
  const Scratch scratch;
  {
    File file = File::create(scratch / "a.h5", Texts::fixed);
    file.set_attribute("status", std::string("complete"));
    Create create;
    create.shape = {1};
    create.description = "one number";
    file.create_dataset("/x", create);
    file.close();
  }

  EXPECT_EQ(open(scratch / "a.h5").text_attribute("status"), "complete");
  // GCOL is the signature of a global heap
  EXPECT_EQ(test::bytes_of_file(scratch / "a.h5").find("GCOL"), std::string::npos);
  python(scratch, scratch / "a.h5",
         "f = h5py.File(path)\n"
         "assert f.attrs['status'] == b'complete'\n"
         "assert f['x'].attrs['description'] == b'one number'\n");
}

TEST(H5, RefusesDataBeyondTheEndOfTheFile) {
  const Scratch scratch;
  const std::string path = scratch / "a.h5";
  python(scratch, path,
         "f = h5py.File(path, 'w')\n"
         "f['x'] = np.arange(1000, dtype='u4')\n"
         "at = f['x'].id.get_offset(); f.close()\n"
         "data = bytearray(open(path, 'rb').read())\n"
         "place = data.find(at.to_bytes(8, 'little') + (4000).to_bytes(8, 'little'))\n"
         "assert place > 0\n"
         "for name, begin, size in (('far', len(data) - 3999, 4000), ('less', at, 3996)):\n"
         "  data[place:place + 16] = begin.to_bytes(8, 'little') + size.to_bytes(8, 'little')\n"
         "  open(path + '.' + name, 'wb').write(data)\n");

  EXPECT_EQ(open(path).dataset("/x").info().stored_bytes, 4000);
  // some HDF5 versions from 1.12 on refuse the dataset themselves when it is opened
  const auto open_far = [&] { open(path + ".far").dataset("/x"); };
  EXPECT_TRUE(
      is_refused(ExitCode::weights, {"/x", "4000 bytes", "beyond the end"}, open_far) ||
      is_refused(ExitCode::weights, {"/x: cannot be opened", "damaged or incomplete"}, open_far));
  EXPECT_TRUE(is_refused(ExitCode::weights, {"/x", "3996 bytes", "[1000]"},
                         [&] { open(path + ".less").dataset("/x"); }));
}

TEST(H5, WhatIsWrongWithAFileOfOurOwnIsTheMachinesFault) {
  const Scratch scratch;
  test::write_file(scratch / "text", "no HDF5, although this process has just written it");

  EXPECT_THROW(File::open_to_read(scratch / "text", ExitCode::resources), base::SystemError);
  EXPECT_THROW(File::open_to_read(scratch / "none", ExitCode::resources), base::SystemError);
}

TEST(H5, RefusesWhatIsNoHdf5) {
  const Scratch scratch;
  test::write_file(scratch / "text", "not HDF5 at all, but long enough to hold a signature\n");
  test::write_file(scratch / "empty", "");
  ASSERT_EQ(::mkfifo((scratch / "pipe").c_str(), 0600), 0);

  EXPECT_TRUE(
      is_refused(ExitCode::weights, {"text", "signature"}, [&] { open(scratch / "text"); }));
  EXPECT_TRUE(is_refused(ExitCode::weights, {"empty"}, [&] { open(scratch / "empty"); }));
  EXPECT_TRUE(is_refused(ExitCode::weights, {"regular"}, [&] { open(scratch / "pipe"); }));
  EXPECT_TRUE(is_refused(ExitCode::weights, {"No such file"}, [&] { open(scratch / "none"); }));
  EXPECT_TRUE(is_refused(ExitCode::weights, {"regular"}, [&] { open(scratch.folder()); }));
}

TEST(H5, SaysWhyAFileCannotBeCreated) {
  try {
    File::create("/nonexistent/folder/a.h5");
    FAIL() << "nothing was refused";
  } catch (const base::SystemError& error) {
    EXPECT_EQ(error.code(), ExitCode::resources);
    EXPECT_NE(std::string(error.what()).find("No such file"), std::string::npos) << error.what();
  }
}

TEST(H5, ClosingEndsEveryWriteEvenWithDatasetsStillOpen) {
  const Scratch scratch;
  const auto values = counted(5);
  File file = File::create(scratch / "a.h5");
  Create create;
  create.shape = {5};
  Dataset dataset = file.create_dataset("/x", create);
  dataset.write_all(DType::f32, values.data());

  file.close();

  std::vector<float> found(5);
  open(scratch / "a.h5").dataset("/x").read_all(DType::f32, found.data());
  EXPECT_EQ(found, values);
}

TEST(H5, HoldsEmptyDatasets) {
  const Scratch scratch;
  {
    File file = File::create(scratch / "a.h5");
    Create create;
    create.shape = {0, 4};
    file.create_dataset("/x", create).write_all(DType::f32, nullptr);
    file.create_texts("/t", 0, 8, "").write_texts({}, 8);
    file.close();
  }

  const File file = open(scratch / "a.h5");

  EXPECT_EQ(file.dataset("/x").info().shape, (base::Shape{0, 4}));
  file.dataset("/x").read_all(DType::f32, nullptr);
  EXPECT_TRUE(file.dataset("/t").read_texts(0, 0).empty());
}

TEST(H5, WritesMoreTextsThanItPacksAtOnce) {
  const Scratch scratch;
  constexpr std::int64_t text_bytes = 1000, count = 10'000;  // 10 MB in windows of 4 MiB
  std::vector<std::string> texts;
  for (std::int64_t i = 0; i < count; ++i)
    texts.push_back(std::to_string(i) + std::string(static_cast<std::size_t>(i % 900), 'x'));
  {
    File file = File::create(scratch / "a.h5");
    file.create_texts("/fixed", count, text_bytes, "").write_texts(texts, text_bytes);
    Dataset growing = file.create_texts("/growing", 0, text_bytes, "", true);
    growing.write_texts({"before"}, text_bytes);
    growing.write_texts(texts, text_bytes);
    file.close();
  }

  const File file = open(scratch / "a.h5");

  EXPECT_EQ(file.dataset("/fixed").read_texts(0, count), texts);
  EXPECT_EQ(file.dataset("/growing").read_texts(0, 1).at(0), "before");
  EXPECT_EQ(file.dataset("/growing").read_texts(1, count), texts);
}

TEST(H5, RefusesSlabsOutsideTheDataset) {
  const Scratch scratch;
  {
    File file = File::create(scratch / "a.h5");
    Create create;
    create.shape = {4};
    file.create_dataset("/x", create).write_all(DType::f32, counted(4).data());
    file.close();
  }

  const File file = open(scratch / "a.h5");
  float to[4];

  EXPECT_TRUE(is_refused(ExitCode::weights, {"/x", "[2]", "[3]"}, [&] {
    file.dataset("/x").read({{3}, {2}}, DType::f32, to);
  }));
}

TEST(H5, ReadsFilesThatNobodyMayWriteOrLock) {
  const Scratch scratch;
  const std::string path = scratch / "a.h5";
  {
    File file = File::create(path);
    Create create;
    create.shape = {1};
    file.create_dataset("/x", create).write_all(DType::f32, counted(1).data());
    file.close();
  }
  std::filesystem::permissions(path, std::filesystem::perms::owner_read);

  const File first = open(path), second = open(path);

  EXPECT_TRUE(first.has("/x"));
  EXPECT_TRUE(second.has("/x"));
}

}  // namespace
}  // namespace tetrarch::storage::h5
