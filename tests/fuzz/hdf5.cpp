// weights.h5, inputs.h5 and part files, written by the HDF5 library with unusual types, shapes,
// layouts, links and attributes. With TETRARCH_FUZZ_DAMAGE, bytes of the file are changed as well.
//
// The HDF5 library is not instrumented and may itself fail on damaged files; run.sh recognises such
// failures by the place where they happen. On undamaged files nothing may fail.
// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>

#include "hdf5_image.hpp"
#include "storage/files/checksum.hpp"
#include "storage/inputs/inputs_file.hpp"
#include "storage/run/part_file.hpp"
#include "storage/weights/weights_file.hpp"

namespace {

using namespace tetrarch;
using fuzz::Image;
using fuzz::Layout;
using fuzz::WantedAttribute;
using fuzz::WantedDataset;

const char* const uuid = "00000000-0000-4000-8000-000000000000";

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

WantedAttribute text(const std::string& name, const std::string& value) {
  return {.name = name, .is_text = true, .bytes = value};
}

WantedAttribute integers(const std::string& name, const std::vector<std::uint32_t>& values) {
  return {.name = name, .type = fuzz::u32, .bytes = bytes_of(values), .count = std::ssize(values)};
}

template <class T>
WantedDataset dataset(const std::string& path, int type, const std::vector<T>& values) {
  return {
      .path = path, .type = type, .shape = {values.size()}, .bytes = bytes_of(values), .chunk = {}};
}

plan::ModelSpec smallest_model() {
  plan::ModelSpec spec = plan::preset("tiny");
  spec.num_layers = 1;
  spec.hidden_size = spec.vocab_size = spec.expert_ffn = 8;
  spec.num_heads = spec.num_kv_heads = spec.num_experts = 2;
  spec.head_size = 4;
  plan::set_derived(spec);
  return spec;
}

/// A weights file whose tensors are all 0.
Image weights() {
  const plan::ModelSpec spec = smallest_model();
  Image image;
  image.attributes = {text("format", "tetrarch-weights"), integers("format_version", {1, 0}),
                      text("config_json", plan::to_config_json(spec)), text("dtype", "bf16"),
                      integers("reduction_shards", {2})};
  for (const plan::TensorSpec& tensor : plan::tensors_of(spec, 2)) {
    WantedDataset wanted{
        .path = tensor.path, .type = fuzz::u16, .shape = {}, .bytes = {}, .chunk = {}};
    wanted.shape.assign(tensor.shape.begin(), tensor.shape.end());
    image.datasets.push_back(wanted);
    WantedAttribute dtype = text("dtype", "bf16");
    dtype.at = tensor.path;
    image.attributes.push_back(dtype);
    std::vector<std::uint64_t> sums;
    for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit)
      sums.push_back(
          storage::xxh3(std::vector<std::byte>(static_cast<std::size_t>(tensor.unit_bytes(unit)))));
    WantedDataset sum = dataset(tensor.path + ".xxh3", fuzz::u64, sums);
    sum.shape.push_back(1);
    image.datasets.push_back(sum);
  }
  return image;
}

Image inputs() {
  return {{text("format", "tetrarch-inputs"), integers("format_version", {1, 0})},
          {dataset<std::uint32_t>("/tokens", fuzz::u32, {1, 2, 3, 4, 5, 6}),
           dataset<std::uint64_t>("/offsets", fuzz::u64, {0, 2, 2, 6}),
           dataset<std::uint64_t>("/ids", fuzz::u64, {7, 8, 9}),
           dataset<std::uint32_t>("/score_from", fuzz::u32, {0, 0, 1})}};
}

Image part() {
  return {
      {text("format", "tetrarch-part"), text("run_uuid", uuid)},
      {dataset<std::uint64_t>("/sequences/index", fuzz::u64, {0, 2, 1}),
       dataset<std::uint64_t>("/sequences/length", fuzz::u64, {4, 1, 3}),
       dataset<std::uint8_t>("/sequences/status", fuzz::u8, {0, 0, 4}),
       {.path = "/sequences/error", .type = fuzz::text8, .shape = {3}, .bytes = {}, .chunk = {}}}};
}

void read_weights(const std::string& path) {
  const storage::WeightsFile file = storage::WeightsFile::open(path);
  fuzz::is_accepted([&] { file.verify_all({}); });
}

void read_inputs(const std::string& path) {
  const storage::InputSet set = storage::InputSet::open({path}, 512, 64);
  const std::vector<std::byte> sent = set.head();
  fuzz::must(storage::InputSet::from_head(sent).head() == sent, "inputs arrive as sent");
  for (std::int64_t i = 0; i < set.count(); ++i) {
    fuzz::must(base::is_utf8(set.id(i)), "an id is UTF-8");
    std::vector<std::uint32_t> tokens(static_cast<std::size_t>(set.length(i)));
    set.read_tokens(i, 0, set.length(i), tokens.data());
    for (const std::uint32_t token : tokens)
      fuzz::must(set.status(i) != storage::SequenceStatus::ok || token < 512,
                 "tokens of a sound sequence are in the vocabulary");
  }
}

/// Reads the part under a name that has the right checksum.
void read_part(const std::string& path) {
  storage::PartName name;
  name.xxh3 = storage::file_xxh3(path);
  const std::string folder = "/dev/shm/tetrarch-fuzz-" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  const std::string link = folder + "/" + to_string(name);
  std::filesystem::create_symlink(path, link);
  fuzz::is_accepted([&] {
    const storage::PartList list = storage::read_part(link, uuid);
    for (const storage::PartEntry& entry : list.entries) {
      fuzz::must(entry.sequence >= 0 && entry.length >= 0 && entry.token_row >= 0,
                 "entries of a part count from 0");
      fuzz::must(entry.status <= storage::SequenceStatus::bad_record, "a status has a meaning");
    }
  });
  std::filesystem::remove_all(folder);
}

#ifdef TETRARCH_FUZZ_DAMAGE
constexpr bool is_damaged = true;
#else
constexpr bool is_damaged = false;
#endif

void damage(std::string& image, fuzz::Bytes& bytes) {
  while (!bytes.is_empty() && !image.empty()) {
    const std::size_t at = bytes.number(2) % image.size();
    image[at] = static_cast<char>(bytes.byte());
  }
}

}  // namespace

// Input: 1 byte for the kind of file and the old or new format; then edits; then offsets and values
// of changed bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Image images[] = {weights(), inputs(), part()};
  static void (*const readers[])(const std::string&) = {read_weights, read_inputs, read_part};
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5set_free_list_limits(0, 0, 0, 0, 0, 0);  // no free lists: the sanitizer sees each free
  fuzz::Bytes bytes(data, size);
  const std::uint8_t head = bytes.byte();
  Image image = images[head % 3];
  edit(image, bytes);
  std::string made = make(image, (head / 3) % 2 == 1);
  if (is_damaged) damage(made, bytes);
  const fuzz::MemoryFile file(made);
  fuzz::is_accepted([&] { readers[head % 3](file.path()); });
  fuzz::must(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "no HDF5 object stays open");
  return 0;
}
