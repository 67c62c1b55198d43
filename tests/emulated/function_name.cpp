// SPDX-License-Identifier: Apache-2.0
#include "emulated/function_name.hpp"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

namespace tetrarch::emulated {
namespace {

std::vector<char> read_program() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The name of the function at `address`, as it stands in the file. Empty if there is none.
std::string find_symbol(const std::vector<char>& program, std::uint64_t address) {
  if (program.size() < sizeof(Elf64_Ehdr)) return "";
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(program.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(program.data() + header->e_shoff);
  for (int s = 0; s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* symbols =
        reinterpret_cast<const Elf64_Sym*>(program.data() + sections[s].sh_offset);
    const char* names = program.data() + sections[sections[s].sh_link].sh_offset;
    const std::uint64_t count = sections[s].sh_size / sizeof(Elf64_Sym);
    for (std::uint64_t i = 0; i < count; ++i)
      if (symbols[i].st_value == address && ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC)
        return names + symbols[i].st_name;
  }
  return "";
}

/// Where the program's first byte lies, 0 if its addresses are those of the file.
std::uint64_t load_address(const std::vector<char>& program, const void* function) {
  Dl_info info{};
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(program.data());
  if (header->e_type != ET_DYN || dladdr(function, &info) == 0) return 0;
  return reinterpret_cast<std::uint64_t>(info.dli_fbase);
}

std::string demangled(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  const std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

}  // namespace

std::string name_of_function(const void* function) {
  const std::vector<char> program = read_program();
  if (program.size() < sizeof(Elf64_Ehdr)) return "a function without a name";
  const auto address = reinterpret_cast<std::uint64_t>(function);
  const std::string name = find_symbol(program, address - load_address(program, function));
  return name.empty() ? "a function without a name" : demangled(name);
}

}  // namespace tetrarch::emulated
