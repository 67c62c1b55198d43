// SPDX-License-Identifier: Apache-2.0
#include "storage/weights/foreign_weights.hpp"

#include "import/safetensors_writer.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;

class ForeignWeights : public testing::Test {
 protected:
  testing::AssertionResult refused(const std::string& name, const std::vector<std::string>& words) {
    return test::is_refused(base::ExitCode::weights, words,
                            [&] { refuse_foreign_weights(scratch_ / name); });
  }

  const test::Scratch scratch_;
};

TEST_F(ForeignWeights, ACheckpointNamesImport) {
  const std::string command = "tetrarch import --from " + scratch_.folder();
  test::write_file(scratch_ / "config.json", "{\"model_type\":\"mixtral\"}");
  test::write_safetensors(scratch_ / "model.safetensors", {{"a", {{2}}}});

  EXPECT_TRUE(refused("", {"Hugging Face checkpoint", command}));
  EXPECT_TRUE(refused("config.json", {"config of a checkpoint", command}));
  EXPECT_TRUE(refused("model.safetensors", {"safetensors file", command}));
}

TEST_F(ForeignWeights, OtherFoldersAreNamed) {
  EXPECT_TRUE(refused("", {"is a folder, not a weights file"}));
  test::write_file(scratch_ / "weights.h5", "");
  EXPECT_TRUE(refused("", {"Give its file", "/weights.h5"}));
  fs::create_directory(scratch_ / "snapshots");
  EXPECT_TRUE(refused("", {"cache of the Hugging Face hub", "snapshots/VERSION"}));
}

TEST_F(ForeignWeights, OtherFilesAreNamed) {
  test::write_file(scratch_ / "a.txt", "Hello, w\xc3\xb6rld\nand more");
  // the first 64 bytes, which are examined, end inside a character
  test::write_file(scratch_ / "b.txt", std::string(63, 'x') + "\xc3\xb6");
  test::write_file(scratch_ / "a.jsonl", "{\"id\": 1, \"tokens\": [1, 2]}\n");
  test::write_file(scratch_ / "a.gguf", "GGUF\3");

  for (const char* text : {"a.txt", "b.txt", "a.jsonl"})
    EXPECT_TRUE(refused(text, {"is a text", "--inputs", "text_to_inputs.py"})) << text;
  EXPECT_TRUE(refused("a.gguf", {"llama.cpp", "`import` or `synth`"}));
}

TEST_F(ForeignWeights, WhatItDoesNotKnowIsLeftToOthers) {
  test::write_file(scratch_ / "a.h5", "\x89HDF\r\n\x1a\n");
  test::write_file(scratch_ / "b.h5", std::string("\1\2\3\0\0\0\0\0\0\0", 10));
  test::write_file(scratch_ / "c.h5", "");

  for (const char* name : {"a.h5", "b.h5", "c.h5", "absent"})
    refuse_foreign_weights(scratch_ / name);
}

}  // namespace
}  // namespace tetrarch::storage
