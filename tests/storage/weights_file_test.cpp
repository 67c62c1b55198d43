// SPDX-License-Identifier: Apache-2.0
#include "storage/weights/weights_file.hpp"

#include <cstring>
#include <random>

#include <sys/wait.h>
#include <unistd.h>

#include "scratch.hpp"
#include "storage/files/checksum.hpp"
#include "storage/weights/weights_writer.hpp"

// HDF5 1.10.8 leaks about 400 bytes each time it reads a damaged object header.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5";
}

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;
using test::python;
using test::Scratch;

/// A small model. With larger arguments, units have several checksum blocks.
plan::ModelSpec small_spec(std::int64_t hidden_size = 16, std::int64_t vocab_size = 30) {
  plan::ModelSpec spec;
  spec.dtype = base::DType::bf16;
  spec.vocab_size = vocab_size;
  spec.num_layers = 2;
  spec.hidden_size = hidden_size;
  spec.max_position = 64;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_size = 4;
  spec.num_experts = 4;
  spec.top_k = 2;
  spec.expert_ffn = 8;
  plan::set_derived(spec);
  return spec;
}

std::vector<std::byte> unit_bytes(const plan::TensorSpec& tensor, std::int64_t unit) {
  std::mt19937_64 random(std::hash<std::string>{}(tensor.path) + static_cast<std::uint64_t>(unit));
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.unit_bytes(unit)));
  for (std::byte& byte : bytes)
    byte = static_cast<std::byte>(random());
  return bytes;
}

void write_model(const std::string& path, const plan::ModelSpec& spec, std::int64_t shards = 4) {
  WeightsWriter writer(path, spec, shards, "test");
  for (std::size_t i = writer.tensors().size(); i-- > 0;)  // any order
    for (std::int64_t unit = 0; unit < writer.tensors()[i].num_units(); ++unit)
      writer.write_unit(i, unit, unit_bytes(writer.tensors()[i], unit));
  writer.finish();
}

TEST(WeightsFile, ReadsEveryUnitBack) {
  const Scratch scratch;
  write_model(scratch / "w.h5", small_spec());

  const WeightsFile file = WeightsFile::open(scratch / "w.h5");

  EXPECT_EQ(file.spec(), small_spec());
  EXPECT_EQ(file.reduction_shards(), 4);
  EXPECT_EQ(file.tensors().size(), plan::tensors_of(small_spec(), 4).size());
  EXPECT_EQ(file.total_bytes(), 2 * small_spec().num_parameters());
  for (const plan::TensorSpec& tensor : file.tensors())
    for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit)
      for (const bool verify : {true, false}) {
        std::vector<std::byte> found(static_cast<std::size_t>(tensor.unit_bytes(unit)));
        file.read_unit(tensor, unit, found.data(), verify);
        EXPECT_EQ(found, unit_bytes(tensor, unit)) << tensor.path << " unit " << unit;
      }
}

TEST(WeightsFile, LeavesOnlyTheFinishedFile) {
  const Scratch scratch;
  write_model(scratch / "w.h5", small_spec());
  { const WeightsWriter abandoned(scratch / "v.h5", small_spec(), 4, "test"); }

  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.folder()))
    names.push_back(entry.path().filename());

  EXPECT_EQ(names, std::vector<std::string>{"w.h5"});
}

TEST(WeightsFile, IsNotFinishedWithAUnitMissing) {
  const Scratch scratch;
  WeightsWriter writer(scratch / "w.h5", small_spec(), 4, "test");
  writer.write_unit(0, 0, unit_bytes(writer.tensors()[0], 0));

  EXPECT_THROW(writer.finish(), base::InternalError);
  EXPECT_FALSE(std::filesystem::exists(scratch / "w.h5"));
}

TEST(WeightsFile, HasAUnitsBytesInOneRowOfPlainHdf5) {
  const Scratch scratch;
  write_model(scratch / "w.h5", small_spec());
  const auto tensor = plan::tensors_of(small_spec(), 4).at(9);  // /layers/00/up
  ASSERT_EQ(tensor.path, "/layers/00/up");
  const auto bytes = unit_bytes(tensor, 2 * 4 + 1);  // expert 2, slice 1: rows 2 and 3
  std::string numbers;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    std::uint16_t value = 0;
    std::memcpy(&value, bytes.data() + i, 2);
    numbers += std::to_string(value) + ",";
  }

  python(scratch, scratch / "w.h5",
         "d = h5py.File(path)['/layers/00/up']\n"
         "assert d.shape == (4, 8, 16) and d.dtype == np.uint16 and d.attrs['dtype'] == 'bf16'\n"
         "assert d[2, 2:4].ravel().tolist() == [" +
             numbers +
             "]\n"
             "sums = h5py.File(path)['/layers/00/up.xxh3']\n"
             "assert sums.shape == (16, 1) and sums[9, 0] == " +
             std::to_string(xxh3(bytes)) + "\n");
}

TEST(WeightsFile, CutsLargeUnitsIntoBlocks) {
  const Scratch scratch;
  const auto spec = small_spec(1 << 12, 3000);  // embed: slices of 750 rows, 6.1 MB each
  write_model(scratch / "w.h5", spec);

  const WeightsFile file = WeightsFile::open(scratch / "w.h5");
  const plan::TensorSpec& embed = file.tensors().front();
  std::vector<std::byte> found(static_cast<std::size_t>(embed.unit_bytes(3)));
  file.read_unit(embed, 3, found.data(), true);

  EXPECT_EQ(sums_shape(embed), (base::Shape{4, 2}));
  EXPECT_EQ(found, unit_bytes(embed, 3));
}

TEST(WeightsFile, ReadsBlocksInAnyOrderToWhereTheyFollowEachOther) {
  const Scratch scratch;
  const auto spec = small_spec(1 << 12, 3000);
  write_model(scratch / "w.h5", spec);
  const WeightsFile file = WeightsFile::open(scratch / "w.h5");
  const plan::TensorSpec& embed = file.tensors().front();
  const std::vector<WeightBlock> blocks = file.blocks(embed, 1, 2);
  const auto backwards = [](std::int64_t count, const std::function<void(std::int64_t)>& work) {
    while (count-- > 0)
      work(count);
  };
  std::vector<std::byte> found(static_cast<std::size_t>(2 * embed.unit_bytes(1)));

  file.announce(blocks);
  file.read(embed, blocks, found.data(), true, backwards);

  std::vector<std::byte> expected = unit_bytes(embed, 1);
  const std::vector<std::byte> second = unit_bytes(embed, 2);
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_EQ(blocks.size(), 4u);
  EXPECT_TRUE(found == expected);
}

TEST(WeightsFile, AFileThatIsCutAfterItWasOpenedIsRefused) {
  const Scratch scratch;
  write_model(scratch / "w.h5", small_spec());
  const WeightsFile file = WeightsFile::open(scratch / "w.h5");
  std::filesystem::resize_file(scratch / "w.h5", 100);

  EXPECT_TRUE(is_refused(ExitCode::weights, {scratch / "w.h5", "the file ends there"},
                         [&] { file.verify_all({}); }));
}

TEST(WeightsFile, HasAnIdentityThatFollowsItsContent) {
  const Scratch scratch;
  write_model(scratch / "a.h5", small_spec());
  write_model(scratch / "b.h5", small_spec());
  write_model(scratch / "v2.h5", small_spec(), 2);
  auto other = small_spec();
  other.rope_theta = 10001;
  write_model(scratch / "theta.h5", other);

  const std::string identity = WeightsFile::open(scratch / "a.h5").identity();

  EXPECT_EQ(identity.size(), 16u);
  EXPECT_EQ(WeightsFile::open(scratch / "b.h5").identity(), identity);
  EXPECT_NE(WeightsFile::open(scratch / "v2.h5").identity(), identity);
  EXPECT_NE(WeightsFile::open(scratch / "theta.h5").identity(), identity);
}

TEST(WeightsFile, FindsAndNamesEveryFlippedBit) {
  const Scratch scratch;
  const std::string path = scratch / "w.h5";
  write_model(path, small_spec());
  const std::string good = test::bytes_of_file(path);
  const auto tensors = plan::tensors_of(small_spec(), 4);
  std::mt19937 random(7);
  for (int trial = 0; trial < 50; ++trial) {
    const plan::TensorSpec& tensor = tensors[random() % tensors.size()];
    const auto unit = static_cast<std::int64_t>(random() % tensor.num_units());
    const std::int64_t within = static_cast<std::int64_t>(random() % tensor.unit_bytes(unit));
    const std::int64_t start =
        h5::File::open_to_read(path, ExitCode::weights).dataset(tensor.path).info().file_offset;
    std::string bad = good;
    bad[static_cast<std::size_t>(start + tensor.unit_offset(unit) + within)] ^=
        static_cast<char>(1 << random() % 8);
    test::write_file(path, bad);

    const WeightsFile file = WeightsFile::open(path);
    std::vector<std::byte> to(static_cast<std::size_t>(tensor.unit_bytes(unit)));
    std::vector<std::string> words{
        path, tensor.path + ":", "block 0", "damaged",
        fmt::format("slice {} of {}", unit % tensor.num_slices, tensor.num_slices)};
    if (tensor.shape.size() == 3)
      words.push_back(fmt::format("expert {},", unit / tensor.num_slices));

    EXPECT_TRUE(is_refused(ExitCode::weights, words,
                           [&] { file.read_unit(tensor, unit, to.data(), true); }));
    EXPECT_TRUE(is_refused(ExitCode::weights, words, [&] { file.verify_all({}); }));
    test::write_file(path, good);
  }
  WeightsFile::open(path).verify_all({});
}

enum class Found { the_same, refused, another_model };

/// Opens a damaged file. If it is not refused, it must be the same model: then the damage is in
/// padding or in a text that no computation reads.
int found_of_damaged(const std::string& path, const std::string& identity) {
  try {
    const WeightsFile file = WeightsFile::open(path);
    file.verify_all({});
    const bool is_same = file.identity() == identity && file.spec() == small_spec();
    return static_cast<int>(is_same ? Found::the_same : Found::another_model);
  } catch (const base::Refusal& error) {
    return static_cast<int>(error.code() == ExitCode::weights ? Found::refused
                                                              : Found::another_model);
  }
}

TEST(WeightsFile, NoFlippedBitOfTheWholeFileChangesTheModelUnnoticed) {
  const Scratch scratch;
  const std::string path = scratch / "w.h5";
  write_model(path, small_spec());
  const std::string good = test::bytes_of_file(path);
  const std::string identity = WeightsFile::open(path).identity();
  std::mt19937 random(11);
  int num_silent = 0;
  int num_refused = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string bad = good;
    bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    test::write_file(path, bad);
    // Opened in a child process, as the program does: HDF5 may crash on a damaged heap of texts.
    const pid_t child = fork();
    if (child == 0) _exit(found_of_damaged(path, identity));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) continue;
    ASSERT_NE(WEXITSTATUS(status), static_cast<int>(Found::another_model)) << trial;
    num_silent += WEXITSTATUS(status) == static_cast<int>(Found::the_same);
    num_refused += WEXITSTATUS(status) == static_cast<int>(Found::refused);
  }
  EXPECT_LT(num_silent, 150);
  EXPECT_GT(num_refused, 100);
}

TEST(WeightsFile, RefusesTruncatedFiles) {
  const Scratch scratch;
  const std::string path = scratch / "w.h5";
  write_model(path, small_spec());
  const std::string good = test::bytes_of_file(path);
  for (std::size_t i = 200; i-- > 0;) {
    std::filesystem::resize_file(path, good.size() * i / 200);
    EXPECT_TRUE(is_refused(ExitCode::weights, {path}, [&] { WeightsFile::open(path); })) << i;
  }
  test::write_file(path, good.substr(0, good.size() - 1));
  EXPECT_TRUE(is_refused(ExitCode::weights, {path, "truncated"}, [&] { WeightsFile::open(path); }));
}

TEST(WeightsFile, OtherLayoutsAreVerifiedButNotRun) {
  const Scratch scratch;
  const std::string path = scratch / "w.h5";
  write_model(path, small_spec(512, 20'000));  // embed: units of two blocks
  const std::string identity = WeightsFile::open(path).identity();
  const std::string repack =
      "f = h5py.File(path, 'r+')\n"
      "for name in ('embed', 'layers/00/up', 'final_norm', 'head.xxh3'):\n"
      "  x, a = f[name][...], dict(f[name].attrs); del f[name]\n"
      "  how = {'chunks': tuple(max(1, n // 3) for n in x.shape), 'compression': 'gzip'}\n"
      "  f.create_dataset(name, data=x, **how).attrs.update(a)\n";
  python(scratch, path, repack);

  const WeightsFile file = WeightsFile::open(path, WeightsLayout::any);

  EXPECT_FALSE(file.is_contiguous());
  EXPECT_EQ(file.identity(), identity);
  EXPECT_NO_THROW(file.verify_all({}));
  EXPECT_TRUE(is_refused(ExitCode::weights, {path, "/embed is stored in chunks"},
                         [&] { WeightsFile::open(path); }));
  python(scratch, path, "f = h5py.File(path, 'r+'); f['embed'][19900, 300] ^= 1\n");
  EXPECT_TRUE(is_refused(ExitCode::weights, {"/embed", "slice 3 of 4", "block 1", "damaged"},
                         [&] { WeightsFile::open(path, WeightsLayout::any).verify_all({}); }));
}

class ForgedWeights : public testing::Test {
 protected:
  void SetUp() override { write_model(path_, small_spec()); }
  testing::AssertionResult refused_after(const std::string& edit,
                                         const std::vector<std::string>& words) {
    python(scratch_, path_, "f = h5py.File(path, 'r+')\n" + edit + "\nf.close()\n");
    return is_refused(ExitCode::weights, words, [&] { WeightsFile::open(path_); });
  }

  const Scratch scratch_;
  const std::string path_ = scratch_ / "w.h5";
};

TEST_F(ForgedWeights, WrongShape) {
  EXPECT_TRUE(
      refused_after("del f['/head']; f['/head'] = np.zeros((16, 30), 'u2')\n"
                    "f['/head'].attrs['dtype'] = 'bf16'",
                    {"/head", "[16, 30]", "[30, 16]", "transposed?"}));
}

TEST_F(ForgedWeights, WrongType) {
  EXPECT_TRUE(refused_after("del f['/head']; f['/head'] = np.zeros((30, 16), 'f4')",
                            {"/head", "f32", "bf16"}));
}

TEST_F(ForgedWeights, U16ThatDoesNotSayThatItIsBf16) {
  EXPECT_TRUE(refused_after("del f['/head'].attrs['dtype']", {"/head", "u16", "bf16"}));
}

TEST_F(ForgedWeights, SeveralMissingDatasetsAtOnce) {
  EXPECT_TRUE(refused_after("del f['/layers/01/q']; del f['/final_norm.xxh3']",
                            {"2 problems", "/layers/01/q: is missing", "/final_norm.xxh3"}));
}

TEST_F(ForgedWeights, ExtraDataset) {
  EXPECT_TRUE(refused_after("f['/layers/01/q_bias'] = np.zeros(16, 'u2')",
                            {"/layers/01/q_bias", "does not belong"}));
}

TEST_F(ForgedWeights, Chunked) {
  EXPECT_TRUE(
      refused_after("x = f['/head'][...]; del f['/head']\n"
                    "f.create_dataset('/head', data=x, chunks=(1, 16))\n"
                    "f['/head'].attrs['dtype'] = 'bf16'",
                    {"/head", "chunks", "h5repack -l CONTI -f NONE"}));
}

TEST_F(ForgedWeights, ExternalLink) {
  EXPECT_TRUE(refused_after("del f['/head']; f['/head'] = h5py.ExternalLink('other.h5', '/head')",
                            {"/head", "external link"}));
}

TEST_F(ForgedWeights, SoftLink) {
  EXPECT_TRUE(refused_after("del f['/head']; f['/head'] = h5py.SoftLink('/embed')",
                            {"/head", "soft link"}));
}

TEST_F(ForgedWeights, VirtualDataset) {
  EXPECT_TRUE(
      refused_after("del f['/head']\n"
                    "layout = h5py.VirtualLayout((30, 16), 'u2')\n"
                    "layout[:] = h5py.VirtualSource('other.h5', 'head', (30, 16))\n"
                    "f.create_virtual_dataset('/head', layout)",
                    {"/head", "virtual dataset"}));
}

TEST_F(ForgedWeights, ExternalStorage) {
  EXPECT_TRUE(
      refused_after("del f['/head']\n"
                    "f.create_dataset('/head', (30, 16), 'u2',"
                    " external=[('/etc/passwd', 0, 960)])",
                    {"/head", "external storage"}));
}

TEST_F(ForgedWeights, ShapeBomb) {
  EXPECT_TRUE(
      refused_after("del f['/head']\n"
                    "d = h5py.h5p.create(h5py.h5p.DATASET_CREATE)\n"
                    "d.set_layout(h5py.h5d.CONTIGUOUS)\n"
                    "d.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)\n"
                    "s = h5py.h5s.create_simple((1 << 31, 1 << 21))\n"
                    "h5py.h5d.create(f.id, b'head', h5py.h5t.STD_U16LE, s, d)\n"
                    "f['/head'].attrs['dtype'] = 'bf16'",
                    {"/head", "[2147483648, 2097152]", "[30, 16]"}));
}

TEST_F(ForgedWeights, RightShapeWithNothingStored) {
  EXPECT_TRUE(
      refused_after("del f['/head']\n"
                    "d = h5py.h5p.create(h5py.h5p.DATASET_CREATE)\n"
                    "d.set_layout(h5py.h5d.CONTIGUOUS)\n"
                    "d.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)\n"
                    "s = h5py.h5s.create_simple((30, 16))\n"
                    "h5py.h5d.create(f.id, b'head', h5py.h5t.STD_U16LE, s, d)\n"
                    "f['/head'].attrs['dtype'] = 'bf16'",
                    {"/head", "never written", "0 bytes are stored", "960"}));
}

TEST_F(ForgedWeights, ConfigThatAsksForAnotherModel) {
  EXPECT_TRUE(
      refused_after("c = f.attrs['config_json'].replace('\"expert_ffn\":8', "
                    "'\"expert_ffn\":80000')\n"
                    "f.attrs['config_json'] = c; del f.attrs['config_xxh3']",
                    {"/layers/00/gate", "[4, 8, 16]", "[4, 80000, 16]"}));
}

TEST_F(ForgedWeights, ConfigThatItsChecksumContradicts) {
  EXPECT_TRUE(
      refused_after("f.attrs['config_json'] = f.attrs['config_json'].replace('10000', "
                    "'10001')",
                    {"config_json", "checksum"}));
}

TEST_F(ForgedWeights, AnotherFormatVersionOrDtype) {
  EXPECT_TRUE(refused_after("f.attrs['format_version'] = np.array([2, 0], 'u4')",
                            {"format_version", "[2, 0]", "[1, 0]"}));
  EXPECT_TRUE(
      refused_after("f.attrs['format_version'] = np.array([1, 0], 'u4')\n"
                    "f.attrs['dtype'] = 'f32'",
                    {"dtype", "f32", "bf16"}));
  EXPECT_TRUE(
      refused_after("f.attrs['dtype'] = 'bf16'; f.attrs['reduction_shards'] = 3", {"reduction"}));
  EXPECT_TRUE(refused_after("f.attrs['format'] = 'something'", {"something", "tetrarch-weights"}));
}

}  // namespace
}  // namespace tetrarch::storage
