// Shared by tests of files: a temporary folder, Python with h5py, and checks of refusals.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/log.hpp"

namespace tetrarch::test {

/// A temporary folder; the destructor removes it.
class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "tetrarch-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::filesystem::remove_all(folder_); }
  std::string operator/(const std::string& name) const { return folder_ + "/" + name; }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

inline std::string bytes_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Runs Python code, in which h5py and np (numpy) are imported and `path` is defined. The test
/// fails if the code does.
inline void python(const Scratch& scratch, const std::string& path, const std::string& code) {
  const std::string script = scratch / "script.py";
  write_file(script, "import sys, h5py, numpy as np\npath = sys.argv[1]\n" + code);
  const std::string command = std::string(TETRARCH_PYTHON) + " " + script + " " + path;
  ASSERT_EQ(std::system(command.c_str()), 0) << code;
}

/// The archive's files, in `folder`, which is made.
inline void unpack(const std::string& archive, const std::string& folder) {
  std::filesystem::create_directory(folder);
  const std::string command = "tar -xzf " + archive + " -C " + folder;
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

/// Whether `call` throws Refusal(code) with a message that contains all the words.
template <class Call>
testing::AssertionResult is_refused(base::ExitCode code, const std::vector<std::string>& words,
                                    Call&& call) {
  try {
    call();
  } catch (const base::Refusal& error) {
    const std::string message = error.what();
    if (error.code() != code)
      return testing::AssertionFailure()
             << "exit code " << static_cast<int>(error.code()) << ": " << message;
    for (const std::string& word : words)
      if (message.find(word) == std::string::npos)
        return testing::AssertionFailure() << "no \"" << word << "\" in: " << message;
    return testing::AssertionSuccess();
  } catch (const std::exception& error) {
    return testing::AssertionFailure() << "another exception: " << error.what();
  }
  return testing::AssertionFailure() << "nothing was refused";
}

}  // namespace tetrarch::test
