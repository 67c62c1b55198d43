// Random inputs from a counter-based generator.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/synthesize_inputs.hpp"

#include <vector>

#include <fmt/format.h>

#include "base/build_info.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "storage/files/counter_random.hpp"
#include "storage/files/durable.hpp"
#include "storage/files/temporary_file.hpp"
#include "storage/h5/h5.hpp"

namespace tetrarch::storage {
namespace {

void write_tokens(h5::File& file, const InputsSpec& inputs,
                  const std::vector<std::uint64_t>& offsets) {
  h5::Create create;
  create.shape = {static_cast<std::int64_t>(offsets.back())};
  create.dtype = base::DType::u32;
  create.description = "token ids of all sequences, one after another";
  h5::Dataset dataset = file.create_dataset("/tokens", create);
  std::vector<std::uint32_t> tokens;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const std::uint64_t key = key_of(inputs.seed, "tokens", static_cast<std::int64_t>(i));
    tokens.resize(offsets[i + 1] - offsets[i]);
    for (std::size_t t = 0; t < tokens.size(); ++t)
      tokens[t] = static_cast<std::uint32_t>(
          ((random_bits(key, t) >> 32) * static_cast<std::uint64_t>(inputs.vocab_size)) >> 32);
    dataset.write(
        {{static_cast<std::int64_t>(offsets[i])}, {static_cast<std::int64_t>(tokens.size())}},
        base::DType::u32, tokens.data());
  }
}

void write_numbers(h5::File& file, const std::string& path,
                   const std::vector<std::uint64_t>& numbers, const std::string& description) {
  h5::Create create;
  create.shape = {static_cast<std::int64_t>(numbers.size())};
  create.dtype = base::DType::u64;
  create.description = description;
  file.create_dataset(path, create).write_all(base::DType::u64, numbers.data());
}

}  // namespace

void synthesize_inputs(const InputsSpec& inputs, const std::string& path, base::Log& log) {
  base::expects(inputs.num_sequences >= 0 && 0 <= inputs.min_tokens &&
                    inputs.min_tokens <= inputs.max_tokens && inputs.vocab_size > 0,
                "lengths min <= max and a vocabulary");
  make_folder_of(path);
  const auto num_lengths = static_cast<std::uint64_t>(inputs.max_tokens - inputs.min_tokens + 1);
  const std::uint64_t key = key_of(inputs.seed, "lengths", 0);
  std::vector<std::uint64_t> offsets{0}, ids;
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(inputs.num_sequences); ++i) {
    const auto length =
        static_cast<std::uint64_t>(inputs.min_tokens) + random_bits(key, i) % num_lengths;
    offsets.push_back(offsets.back() + length);
    ids.push_back(i);
  }
  TemporaryFile temporary(path);
  h5::File file = h5::File::create(temporary.path());
  file.set_attribute("format", std::string("tetrarch-inputs"));
  file.set_attribute("format_version", std::vector<std::uint32_t>{1, 0});
  file.set_attribute("software_version", base::build_info().version);
  file.set_attribute("created_utc", base::utc_now());
  file.set_attribute("source", fmt::format("synth, seed {}", inputs.seed));
  write_tokens(file, inputs, offsets);
  write_numbers(file, "/offsets", offsets,
                "where each sequence begins in /tokens; the last: its end");
  write_numbers(file, "/ids", ids, "id of each sequence");
  file.close();
  temporary.publish();
  log.say("{}: {}, {}", path, base::counted(inputs.num_sequences, "sequence"),
          base::counted(static_cast<std::int64_t>(offsets.back()), "token"));
}

}  // namespace tetrarch::storage
