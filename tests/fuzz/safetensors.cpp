// A safetensors header: if it is accepted, its tensors cover the data exactly and can be read.
// SPDX-License-Identifier: Apache-2.0
#include "import/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "fuzz.hpp"

namespace {

using namespace tetrarch;

void check_cover(std::vector<hf::StoredTensor> tensors, std::int64_t begin, std::int64_t end) {
  std::ranges::sort(tensors, [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::int64_t at = begin;
  for (const hf::StoredTensor& tensor : tensors) {
    fuzz::must(tensor.begin == at && tensor.end >= at, "tensors follow one another");
    const std::int64_t bytes =
        base::checked_mul(base::checked_elements(tensor.shape), size_of(tensor.dtype));
    fuzz::must(bytes == tensor.end - tensor.begin, "a tensor has the bytes of its shape");
    at = tensor.end;
  }
  fuzz::must(at == end, "tensors cover the data");
}

void check_file(std::string_view header, std::int64_t data_bytes) {
  const std::uint64_t header_bytes = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &header_bytes, 8);
  bytes += header;
  bytes.resize(bytes.size() + static_cast<std::size_t>(data_bytes), '\1');
  const fuzz::MemoryFile memory(bytes);
  const hf::SafetensorsFile file(memory.path());
  for (const hf::StoredTensor& tensor : file.tensors()) {
    std::vector<std::byte> read(static_cast<std::size_t>(tensor.end - tensor.begin));
    file.read(tensor, 0, read);
    fuzz::must(std::ranges::all_of(read, [](std::byte b) { return b == std::byte{1}; }),
               "a tensor's bytes are data");
  }
}

}  // namespace

// Input: 6 bytes for the number of data bytes that follow the header; then the header's text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::int64_t most_written = 1 << 12;
  fuzz::Bytes bytes(data, size);
  const auto data_bytes = static_cast<std::int64_t>(bytes.number(6));
  const std::string_view header = bytes.rest();
  const auto begin = static_cast<std::int64_t>(8 + header.size());
  std::vector<hf::StoredTensor> tensors;
  const bool is_accepted = fuzz::is_accepted([&] {
    tensors = hf::parse_safetensors_header(header, begin, begin + data_bytes, "model.safetensors");
  });
  if (!is_accepted) {
    const fuzz::MemoryFile whole({reinterpret_cast<const char*>(data), size});
    fuzz::is_accepted([&] { hf::SafetensorsFile file(whole.path()); });
    return 0;
  }
  check_cover(tensors, begin, begin + data_bytes);
  if (data_bytes <= most_written) check_file(header, data_bytes);
  return 0;
}
