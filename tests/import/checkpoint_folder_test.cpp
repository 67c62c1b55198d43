// A folder that is no checkpoint, or an incomplete one, is refused with a message that fits its
// files.
// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint_folder.hpp"

#include "safetensors_writer.hpp"

namespace tetrarch::hf {
namespace {

namespace fs = std::filesystem;
using base::ExitCode;
using test::is_refused;
using test::Scratch;
using Words = std::vector<std::string>;

class CheckpointFolder : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& bytes = "{}") {
    fs::create_directories(fs::path(scratch_ / name).parent_path());
    test::write_file(scratch_ / name, bytes);
  }
  void shard(const std::string& name) { test::write_safetensors(scratch_ / name, {{name, {{2}}}}); }
  void index(const std::vector<std::string>& shards) {
    std::map<std::string, std::string> map;
    for (const std::string& name : shards)
      map[name] = name;
    test::write_index(scratch_.folder(), map);
  }
  testing::AssertionResult config_refused(const Words& words, const std::string& folder = "") {
    return is_refused(ExitCode::weights, words,
                      [&] { read_checkpoint_config(scratch_.folder() + folder); });
  }
  testing::AssertionResult files_refused(const Words& words) {
    return is_refused(ExitCode::weights, words, [&] { find_checkpoint_files(scratch_.folder()); });
  }
  std::string remarks() {
    return fmt::format("{}", fmt::join(find_checkpoint_files(scratch_.folder()).remarks, "\n"));
  }

  const Scratch scratch_;
};

TEST_F(CheckpointFolder, NamesTheSnapshotsOfAHubCache) {
  put("models--org--m/snapshots/0123abcd/config.json");
  put("models--org--m/refs/main", "0123abcd");

  EXPECT_TRUE(
      config_refused({"cache of the Hugging Face hub", "snapshots/0123abcd."}, "/models--org--m"));
  EXPECT_TRUE(config_refused({"several models", "models--org--m"}));
  put("models--org--m/snapshots/4567/config.json");
  EXPECT_TRUE(config_refused({"snapshots/0123abcd or snapshots/4567"}, "/models--org--m"));
}

TEST_F(CheckpointFolder, NamesWhatElseHasNoConfig) {
  EXPECT_TRUE(config_refused({"has no config.json. Download the config.json of the same version"}));
  EXPECT_TRUE(config_refused({"/nowhere: there is no such folder"}, "/nowhere"));

  put("checkpoint-500/config.json");
  EXPECT_TRUE(config_refused({"its folder checkpoint-500 has one. Give that folder."}));
  put("params.json");
  EXPECT_TRUE(config_refused({"Mistral's own format"}));
  put("adapter_config.json");
  EXPECT_TRUE(config_refused({"PEFT adapter", "merge_and_unload"}));
  put("file");
  EXPECT_TRUE(config_refused({"is a file. Give the folder"}, "/file"));
}

TEST_F(CheckpointFolder, LooksAtWhatConfigIsInstead) {
  put("config.json", "<!DOCTYPE html>");
  EXPECT_TRUE(config_refused({"config.json: is an HTML page or an error message of a server"}));
  put("config.json", "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_TRUE(config_refused({"is a Git LFS pointer", "hf download"}));
}

TEST_F(CheckpointFolder, NamesTheWeightsOfOtherFormats) {
  put("config.json");
  EXPECT_TRUE(files_refused({"neither model.safetensors nor model.safetensors.index.json"}));
  put("weights.tar.gz");
  EXPECT_TRUE(files_refused({"weights.tar.gz, which are packed. Unpack them first."}));
  put("model.gguf");
  EXPECT_TRUE(files_refused({"llama.cpp, which are not read (model.gguf)"}));
  put("pytorch_model.bin");
  EXPECT_TRUE(
      files_refused({"PyTorch, which are not read (pytorch_model.bin)", "save_pretrained()"}));
  shard("other.safetensors");
  EXPECT_TRUE(files_refused(
      {"but other.safetensors. If it is the whole model, rename it to model.safetensors"}));
  shard("another.safetensors");
  EXPECT_TRUE(files_refused({"2 safetensors files", "Download the index as well"}));
}

TEST_F(CheckpointFolder, NamesAllMissingFilesAtOnce) {
  shard("a.safetensors");
  index({"a.safetensors", "b.safetensors", "c.safetensors"});

  EXPECT_TRUE(files_refused({"2 of the 3 files", "are missing", "b.safetensors, c.safetensors"}));
  fs::create_symlink("../../blobs/none", scratch_ / "b.safetensors");
  EXPECT_TRUE(files_refused({"2 of the 3 files", "symbolic links whose targets do not exist"}));
  shard("b.safetensors");
  fs::remove(scratch_ / "b.safetensors");
}

TEST_F(CheckpointFolder, NamesAllPointersAtOnce) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
  shard("a.safetensors");
  put("b.safetensors", pointer);
  index({"a.safetensors", "b.safetensors"});
  EXPECT_TRUE(
      files_refused({"b.safetensors: is a Git LFS pointer (63 bytes), not the weights. "
                     "Run `git lfs pull` in the folder, or download with `hf download`."}));

  put("a.safetensors", pointer);
  EXPECT_TRUE(files_refused({"2 of 2 files", "a.safetensors, b.safetensors", "Git LFS pointer"}));
}

TEST_F(CheckpointFolder, RefusesTwoCheckpoints) {
  shard("model.safetensors");
  shard("a.safetensors");
  index({"a.safetensors", "b.safetensors"});

  EXPECT_TRUE(files_refused({"has two checkpoints", "Move one of them away"}));
}

TEST_F(CheckpointFolder, TakesASingleFileBesideAnIndexOfFilesThatAreNotThere) {
  shard("model.safetensors");
  index({"a.safetensors", "b.safetensors"});

  EXPECT_EQ(find_checkpoint_files(scratch_.folder()).names, Words{"model.safetensors"});
  EXPECT_NE(remarks().find("none of the files that it names exists"), std::string::npos);
}

TEST_F(CheckpointFolder, SaysWhichFilesAreLeftOut) {
  for (const char* name : {"a.safetensors", "b.safetensors", "consolidated.safetensors"})
    shard(name);
  index({"a.safetensors", "b.safetensors"});
  put("adapter_config.json");

  const CheckpointFiles files = find_checkpoint_files(scratch_.folder());

  EXPECT_EQ(files.names, (Words{"a.safetensors", "b.safetensors"}));
  EXPECT_EQ(files.index.at("a.safetensors"), "a.safetensors");
  EXPECT_NE(remarks().find("consolidated.safetensors left out: model.safetensors.index.json does"),
            std::string::npos);
  EXPECT_NE(remarks().find("adapter beside the model is not applied"), std::string::npos);
}

TEST_F(CheckpointFolder, RefusesAnIndexThatIsNone) {
  for (const char* bytes : {"[]", "{}", "{\"weight_map\":[]}"}) {
    put("model.safetensors.index.json", bytes);
    EXPECT_TRUE(files_refused({"weight_map"})) << bytes;
  }
  put("model.safetensors.index.json", "{\"weight_map\":{}}");
  EXPECT_TRUE(files_refused({"names no tensor"}));
}

TEST_F(CheckpointFolder, RefusesShardsOutsideTheFolder) {
  for (const char* name : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors",
                           ".hidden.safetensors", "one.bin", ""}) {
    test::write_index(scratch_.folder(), {{"a", name}});
    EXPECT_TRUE(files_refused({"\"a\"", "same folder"})) << name;
  }
  put("model.safetensors.index.json", "{\"weight_map\":{\"a\":3}}");
  EXPECT_TRUE(files_refused({"\"a\"", "same folder"}));
}

}  // namespace
}  // namespace tetrarch::hf
