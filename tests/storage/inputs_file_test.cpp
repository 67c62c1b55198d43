// Inputs: what is read, which sequences get a status, and which files are refused.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/inputs_file.hpp"

#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <numeric>

#include "inputs_copy.hpp"
#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using base::ExitCode;

InputSet open(const std::vector<std::string>& paths) {
  return InputSet::open(paths, 50, 8);
}

std::vector<std::uint32_t> tokens_of(const InputSet& inputs, std::int64_t sequence) {
  std::vector<std::uint32_t> tokens(static_cast<std::size_t>(inputs.length(sequence)));
  inputs.read_tokens(sequence, 0, inputs.length(sequence), tokens.data());
  return tokens;
}

TEST(InputSet, ReadsLabelsAndTokensOfEachSequence) {
  const TemporaryFolder folder;
  const std::string path = write_inputs(
      folder / "a.h5", {.lengths = {3, 1, 4}, .ids = {7, 5, 6}, .score_from = {0, 1, 2}});

  const InputSet inputs = open({path});

  ASSERT_EQ(inputs.count(), 3);
  EXPECT_EQ(inputs.total_tokens(), 8);
  EXPECT_TRUE(inputs.is_numeric());
  EXPECT_EQ(inputs.id(0), "7");
  EXPECT_EQ(inputs.length(2), 4);
  EXPECT_EQ(inputs.score_from(2), 2);
  EXPECT_EQ(tokens_of(inputs, 2), (std::vector<std::uint32_t>{4, 5, 6, 7}));
  EXPECT_EQ(tokens_of(inputs, 0), (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(inputs.identity().size(), 16u);
}

TEST(InputSet, FilesComeInTheOrderGivenAndThoseOfAFolderByName) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "more");
  write_inputs(folder / "more/b.h5", {.lengths = {2}, .ids = {3}});
  write_inputs(folder / "more/a.h5", {.lengths = {1, 1}, .ids = {1, 2}});
  std::ofstream(folder / "more/notes.txt") << "no input";
  const std::string last = write_inputs(folder / "0.h5", {.lengths = {5}, .ids = {4}});

  const InputSet inputs = open({folder / "more", last});

  ASSERT_EQ(inputs.count(), 4);
  for (std::int64_t i = 0; i < 4; ++i)
    EXPECT_EQ(inputs.id(i), std::to_string(i + 1));
  EXPECT_EQ(inputs.file(1), 0u);
  EXPECT_EQ(inputs.file(2), 1u);
  EXPECT_EQ(inputs.file(3), 2u);
  EXPECT_EQ(inputs.files()[2], last);
  EXPECT_EQ(tokens_of(inputs, 3), (std::vector<std::uint32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(tokens_of(inputs, 2), (std::vector<std::uint32_t>{0, 1}));
}

TEST(InputSet, ABadSequenceGetsAStatusAndTheOthersStay) {
  const TemporaryFolder folder;
  const std::string path = write_inputs(
      folder / "a.h5", {.lengths = {2, 0, 2, 9, 2, 2},
                        .score_from = {0, 0, 0, 0, 3, 2},
                        .tokens = {1, 2, 3, 50, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 49, 49}});

  const InputSet inputs = open({path});

  EXPECT_EQ(inputs.status(0), SequenceStatus::ok);
  EXPECT_EQ(inputs.status(1), SequenceStatus::empty);
  EXPECT_EQ(inputs.status(2), SequenceStatus::bad_token);
  EXPECT_EQ(inputs.error(2), "token 50 at position 1, vocab_size is 50");
  EXPECT_EQ(inputs.status(3), SequenceStatus::too_long);
  EXPECT_EQ(inputs.status(4), SequenceStatus::bad_record);
  EXPECT_EQ(inputs.status(5), SequenceStatus::ok);
  const auto lengths = inputs.lengths_ok();
  ASSERT_EQ(lengths.size(), 2u);
  EXPECT_EQ(lengths[1].sequence, 5);
}

TEST(InputSet, OneTokenMoreIsGoodWhereTheLastIsOnlyScored) {
  const TemporaryFolder folder;
  const std::string path = write_inputs(folder / "a.h5", {.lengths = {8, 9, 10}});
  const std::string lines = folder / "a.jsonl";
  std::ofstream(lines) << R"({"id": 1, "tokens": [1,1,1,1,1,1,1,1,1]})"
                       << "\n"
                       << R"({"id": 2, "tokens": [1]})"
                       << "\n";
  const auto scored = [](const std::string& file) {
    return InputSet::open({file}, 50, 8, plan::Tokenizer::none, LastToken::only_scored);
  };

  const InputSet fed = open({path}), inputs = scored(path);

  EXPECT_EQ(fed.status(1), SequenceStatus::too_long);
  EXPECT_EQ(fed.error(1),
            "9 tokens, max_position is 8 (one more is taken where only logprobs are asked for; for "
            "lm-eval's rolling windows set max_length to 7)");
  EXPECT_EQ(fed.error(2), "10 tokens, max_position is 8");
  EXPECT_EQ(inputs.status(1), SequenceStatus::ok);
  EXPECT_EQ(inputs.length(1), 9);
  EXPECT_EQ(inputs.error(2), "10 tokens, max_position is 8");
  const auto lengths = inputs.lengths_ok();
  ASSERT_EQ(lengths.size(), 2u);
  EXPECT_EQ(lengths[0].length, 8);
  EXPECT_EQ(lengths[1].length, 8);  // of its 9 tokens
  const InputSet copy = copy_of(inputs);
  EXPECT_EQ(copy.lengths_ok()[1].length, 8);
  EXPECT_EQ(copy.last_token(), LastToken::only_scored);
  EXPECT_EQ(inputs.identity(), fed.identity());
  EXPECT_EQ(scored(lines).identity(), open({lines}).identity());
  EXPECT_EQ(scored(lines).status(0), SequenceStatus::ok);
}

TEST(InputSet, InputsOfAnotherVocabularyAreRefusedWithTheirLargestId) {
  const TemporaryFolder folder;
  const auto refused = [&](const Inputs& inputs) {
    return refusal_of([&] { open({write_inputs(folder / "a.h5", inputs)}); });
  };

  const Refused all = refused({.lengths = {2, 0, 3}, .tokens = {50, 1, 1, 60, 99}});

  EXPECT_EQ(all.code, ExitCode::input);
  EXPECT_NE(all.message.find("every sequence has a token id beyond the model's vocabulary (the "
                             "largest id is 99, vocab_size is 50"),
            std::string::npos)
      << all.message;
  EXPECT_EQ(refused({.lengths = {2, 1}, .tokens = {50, 1, 49}}).message, "");
  EXPECT_EQ(refused({.lengths = {0, 0}}).message, "");
}

TEST(InputSet, ABadTokenIsFoundBeyondTheFirstBlock) {
  const TemporaryFolder folder;
  std::vector<std::uint32_t> tokens((1 << 20) + 4, 1);
  tokens.back() = 99;
  const std::string path =
      write_inputs(folder / "a.h5", {.lengths = {5, (1 << 20) - 3, 2}, .tokens = tokens});

  const InputSet inputs = InputSet::open({path}, 50, 1 << 30);

  EXPECT_EQ(inputs.status(1), SequenceStatus::ok);
  EXPECT_EQ(inputs.error(2), "token 99 at position 1, vocab_size is 50");
}

TEST(InputSet, NumericIdsBesideTextIdsBecomeTexts) {
  const TemporaryFolder folder;
  const std::string a = write_inputs(folder / "a.h5", {.lengths = {1}, .ids = {12}});
  const std::string b = write_inputs(folder / "b.h5", {.lengths = {1}, .text_ids = {"naïve"}});
  const std::string c = write_inputs(folder / "c.h5", {.lengths = {1}, .ids = {13}});

  const InputSet inputs = open({a, b, c});

  EXPECT_FALSE(inputs.is_numeric());
  EXPECT_EQ(inputs.id(0), "12");
  EXPECT_EQ(inputs.id(1), "naïve");
  EXPECT_EQ(inputs.id(2), "13");
}

TEST(InputSet, FilesOfH5pyWithTextsOfAnyLengthAreRead) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  const std::string script = std::string(
      "import sys, h5py, numpy as np\n"
      "f = h5py.File(sys.argv[1], 'w')\n"
      "f.attrs['format'] = 'tetrarch-inputs'\n"
      "f.attrs['format_version'] = np.array([1, 0], 'u4')\n"
      "f.create_dataset('tokens', data=np.arange(6, dtype='u4'), chunks=(2,), compression='gzip')\n"
      "f['offsets'] = np.array([0, 2, 6], 'u8')\n"
      "f.create_dataset('ids', data=['first', 'second one'], dtype=h5py.string_dtype())\n");
  std::ofstream(folder / "make.py") << script;
  const std::string command =
      std::string(TETRARCH_PYTHON) + " " + (folder / "make.py") + " " + path;
  ASSERT_EQ(std::system(command.c_str()), 0);

  const InputSet inputs = open({path});

  EXPECT_EQ(inputs.id(1), "second one");
  EXPECT_EQ(tokens_of(inputs, 1), (std::vector<std::uint32_t>{2, 3, 4, 5}));
}

void expect_same_columns(const InputSet& a, const InputSet& b) {
  ASSERT_EQ(a.column_bytes(), b.column_bytes());
  std::vector<std::byte> of_a(static_cast<std::size_t>(a.column_bytes())), of_b(of_a.size());
  a.copy_columns(of_a);
  b.copy_columns(of_b);
  EXPECT_EQ(of_a, of_b);
  EXPECT_EQ(a.head(), b.head());
}

TEST(InputSet, OtherRanksGetTheSameColumns) {
  const TemporaryFolder folder;
  const std::string a = write_inputs(folder / "a.h5", {.lengths = {2, 0}, .text_ids = {"x", "y"}});
  const std::string b =
      write_inputs(folder / "b.h5", {.lengths = {3}, .ids = {9}, .score_from = {1}});
  const InputSet inputs = open({a, b});

  const InputSet copy = copy_of(inputs);

  expect_same_columns(copy, inputs);
  EXPECT_EQ(copy.status(1), SequenceStatus::empty);
  EXPECT_EQ(copy.files(), inputs.files());
  EXPECT_EQ(copy.id(2), "(sequence 2 of the inputs)");
  EXPECT_EQ(copy.score_from(2), 1);
  EXPECT_EQ(copy.identity(), inputs.identity());
  EXPECT_EQ(tokens_of(copy, 2), (std::vector<std::uint32_t>{0, 1, 2}));
}

TEST(InputSet, SaysWhatItsLabelsTake) {
  const TemporaryFolder folder;
  const std::vector<std::uint64_t> lengths(1000, 1);
  std::vector<std::uint64_t> ids(1000);
  std::iota(ids.begin(), ids.end(), 0);
  const std::string path =
      write_inputs(folder / "a.h5",
                   {.lengths = lengths, .ids = ids, .tokens = std::vector<std::uint32_t>(1000, 1)});
  std::ofstream lines(folder / "b.jsonl");
  for (int i = 0; i < 1000; ++i)
    lines << R"({"id": "an id of thirty-two letters )" << std::setw(4) << i
          << R"(", "tokens": [1]})" << '\n';
  lines.close();

  const InputSet numbers = open({path}), texts = open({folder / "b.jsonl"});

  EXPECT_EQ(numbers.column_bytes(), 1001 * 8 + 1000);  // offsets and statuses
  EXPECT_EQ(numbers.id_bytes(), 1000 * 8);
  EXPECT_EQ(texts.column_bytes(), 1001 * 8 + 1000 + 1000 * 16);  // and lines
  EXPECT_NEAR(texts.id_bytes(), 1000 * (sizeof(std::string) + 32), 100);
}

TEST(InputSet, LabelsThatNeedTooMuchAreRefusedBeforeTheyAreRead) {
  const TemporaryFolder folder;
  const std::string path =
      write_inputs(folder / "a.h5", {.lengths = std::vector<std::uint64_t>(1000, 1), .tokens = {}});
  std::ofstream lines(folder / "b.jsonl");
  for (int i = 0; i < 1000; ++i)
    lines << R"({"id": )" << i << R"(, "tokens": [1]})" << '\n';
  lines.close();
  const auto open_within = [&](const std::string& file, std::int64_t most) {
    return InputSet::open({file}, 512, 8192, plan::Tokenizer::none, LastToken::fed, most);
  };

  const Refused of_hdf5 = refusal_of([&] { open_within(path, 20'000); });
  const Refused of_lines = refusal_of([&] { open_within(folder / "b.jsonl", 20'000); });

  EXPECT_EQ(of_hdf5.code, base::ExitCode::resources);
  EXPECT_NE(of_hdf5.message.find("1,000 sequences"), std::string::npos) << of_hdf5.message;
  EXPECT_EQ(of_lines.code, base::ExitCode::resources);
  EXPECT_EQ(open_within(folder / "b.jsonl", 100 << 20).count(), 1000);
}

TEST(InputSet, TheIdentityFollowsEveryPartOfTheInputs) {
  const TemporaryFolder folder;
  int number = 0;
  const auto identity = [&](const Inputs& inputs) {
    return open({write_inputs(folder / (std::to_string(number++) + ".h5"), inputs)}).identity();
  };
  const Inputs plain{
      .lengths = {2, 2}, .ids = {1, 2}, .score_from = {0, 0}, .tokens = {1, 2, 3, 4}};
  const std::string expected = identity(plain);
  Inputs token = plain, id = plain, length = plain, score = plain;
  token.tokens[3] = 5;
  id.ids[0] = 3;
  length.lengths = {1, 3};
  score.score_from[1] = 1;

  EXPECT_EQ(identity(plain), expected);
  EXPECT_NE(identity(token), expected);
  EXPECT_NE(identity(id), expected);
  EXPECT_NE(identity(length), expected);
  EXPECT_NE(identity(score), expected);
}

TEST(InputSet, AFileThatChangedMeanwhileIsRefused) {
  const TemporaryFolder folder;
  const std::string path = write_inputs(folder / "a.h5", {.lengths = {2, 2}});
  const InputSet shorter = open({path}), other = open({path});
  std::uint32_t tokens[2];

  write_inputs(path, {.lengths = {3}});
  const Refused shape = refusal_of([&] { shorter.read_tokens(0, 0, 2, tokens); });
  write_inputs(path, {.lengths = {2, 2}, .tokens = {1, 77, 1, 1}});
  const Refused token = refusal_of([&] { other.read_tokens(0, 0, 2, tokens); });

  EXPECT_EQ(shape.code, ExitCode::input);
  EXPECT_NE(shape.message.find("expected [4] of integers"), std::string::npos) << shape.message;
  EXPECT_EQ(token.code, ExitCode::input);
  EXPECT_NE(token.message.find("token 77"), std::string::npos) << token.message;
}

TEST(InputSet, NoSequencesAreWelcome) {
  const TemporaryFolder folder;

  const InputSet inputs = open({write_inputs(folder / "a.h5", {})});

  EXPECT_EQ(inputs.count(), 0);
  EXPECT_EQ(inputs.total_tokens(), 0);
}

TEST(InputSet, IdsThatStandTwiceAreRefusedWithBothFiles) {
  const TemporaryFolder folder;
  const std::string a = write_inputs(folder / "a.h5", {.lengths = {1, 1}, .ids = {1, 2}});
  const std::string b = write_inputs(folder / "b.h5", {.lengths = {1, 1}, .text_ids = {"x", "2"}});

  const Refused refusal = refusal_of([&] { open({a, b}); });

  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find("id 2 is in " + a + " (sequence 1) and in " + b + " (sequence 1)"),
            std::string::npos)
      << refusal.message;
}

TEST(InputSet, PathsWithoutInputsAreRefused) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a.jsonl") << "no JSON lines";
  std::ofstream(folder / "a.h5") << "no HDF5";
  std::filesystem::create_directory(folder / "empty");

  for (const std::string& path : {folder / "a.jsonl", folder / "a.h5", folder / "empty",
                                  folder / "absent.h5", folder / "absent"}) {
    const Refused refusal = refusal_of([&] { open({path}); });
    EXPECT_EQ(refusal.code, ExitCode::input) << path;
    EXPECT_NE(refusal.message.find(path), std::string::npos) << refusal.message;
  }
}

TEST(InputSet, AFileThatPromisesMoreThanItHoldsIsRefusedBeforeAnyAllocation) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  std::ofstream(folder / "make.py")
      << "import sys, h5py, numpy as np\n"
         "f = h5py.File(sys.argv[1], 'w')\n"
         "f.attrs['format'] = 'tetrarch-inputs'\n"
         "f.attrs['format_version'] = np.array([1, 0], 'u4')\n"
         "f.create_dataset('tokens', shape=(2**40,), dtype='u4', chunks=(1024,))\n"
         "f.create_dataset('offsets', shape=(2**40,), dtype='u8', chunks=(1024,))\n"
         "f.create_dataset('ids', shape=(2**40,), dtype='u8', chunks=(1024,))\n";
  const std::string command =
      std::string(TETRARCH_PYTHON) + " " + (folder / "make.py") + " " + path;
  ASSERT_EQ(std::system(command.c_str()), 0);

  const Refused refusal = refusal_of([&] { open({path}); });

  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find("/tokens: 1073741824 of its 1073741824 chunks were never written"),
            std::string::npos)
      << refusal.message;
}

/// A file with one fault, and a text that the message must contain.
struct Broken {
  const char* expected;
  std::function<void(h5::File&)> write;
};

void begin(h5::File& file) {
  file.set_attribute("format", std::string("tetrarch-inputs"));
  file.set_attribute("format_version", std::vector<std::uint32_t>{1, 0});
}
void parts(h5::File& file, const std::vector<std::uint64_t>& offsets,
           const std::vector<std::uint64_t>& ids) {
  begin(file);
  put(file, "/tokens", DType::u32, std::vector<std::uint32_t>{1, 2, 3});
  put(file, "/offsets", DType::u64, offsets);
  put(file, "/ids", DType::u64, ids);
}

TEST(InputSet, EachBreachOfTheFormatIsNamed) {
  const std::vector<Broken> cases = {
      {"attribute format is missing", [](h5::File&) {}},
      {"is a file of weights, not of inputs",
       [](h5::File& f) { f.set_attribute("format", std::string("tetrarch-weights")); }},
      {"attribute format_version is 2",
       [](h5::File& f) {
         f.set_attribute("format", std::string("tetrarch-inputs"));
         f.set_attribute("format_version", std::vector<std::uint32_t>{2, 0});
       }},
      {"/tokens", [](h5::File& f) { begin(f); }},
      {"/tokens is float32 (expected integers)",
       [](h5::File& f) {
         begin(f);
         put(f, "/tokens", DType::f32, std::vector<float>{1});
       }},
      {"/tokens is of shape [1, 2]",
       [](h5::File& f) {
         begin(f);
         h5::Create create;
         create.shape = {1, 2};
         create.dtype = DType::u32;
         f.create_dataset("/tokens", create);
       }},
      {"/offsets[0] is 1 (expected 0)",
       [](h5::File& f) {
         parts(f, {1, 3}, {1});
       }},
      {"/offsets[2] is 1 (expected at least 2",
       [](h5::File& f) {
         parts(f, {0, 2, 1, 3}, {1, 2, 3});
       }},
      {"the last of /offsets is 2 (expected 3",
       [](h5::File& f) {
         parts(f, {0, 2}, {1});
       }},
      {"the last of /offsets is 9 (expected 3",
       [](h5::File& f) {
         parts(f, {0, 9}, {1});
       }},
      {"/offsets is empty", [](h5::File& f) { parts(f, {}, {}); }},
      {"/ids is of 2 elements (expected 1,",
       [](h5::File& f) {
         parts(f, {0, 3}, {1, 2});
       }},
      {"/ids is float32 (expected integers or texts)",
       [](h5::File& f) {
         begin(f);
         put(f, "/tokens", DType::u32, std::vector<std::uint32_t>{1});
         put(f, "/offsets", DType::u64, std::vector<std::uint64_t>{0, 1});
         put(f, "/ids", DType::f32, std::vector<float>{1});
       }},
      {"/ids[0] is not UTF-8",
       [](h5::File& f) {
         begin(f);
         put(f, "/tokens", DType::u32, std::vector<std::uint32_t>{1});
         put(f, "/offsets", DType::u64, std::vector<std::uint64_t>{0, 1});
         f.create_texts("/ids", 1, 8, "").write_texts({"\xff\xfe"}, 8);
       }},
      {"/ids[0] is not UTF-8",
       [](h5::File& f) {
         begin(f);
         put(f, "/tokens", DType::u32, std::vector<std::uint32_t>{1});
         put(f, "/offsets", DType::u64, std::vector<std::uint64_t>{0, 1});
         f.create_texts("/ids", 1, 8, "").write_texts({"\xed\xa0\x80"}, 8);
       }},
      {"/ids is text of 65537 bytes (expected at most 65536",
       [](h5::File& f) {
         begin(f);
         put(f, "/tokens", DType::u32, std::vector<std::uint32_t>{1});
         put(f, "/offsets", DType::u64, std::vector<std::uint64_t>{0, 1});
         f.create_texts("/ids", 1, 65537, "").write_texts({"a"}, 65537);
       }},
      {"/score_from is of 2 elements (expected 1,", [](h5::File& f) {
         parts(f, {0, 3}, {1});
         put(f, "/score_from", DType::u32, std::vector<std::uint32_t>{0, 0});
       }}};
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";

  for (const Broken& each : cases) {
    h5::File file = h5::File::create(path);
    each.write(file);
    file.close();

    const Refused refusal = refusal_of([&] { open({path}); });

    EXPECT_EQ(refusal.code, ExitCode::input) << each.expected;
    EXPECT_NE(refusal.message.find(each.expected), std::string::npos) << each.expected << "\n"
                                                                      << refusal.message;
    EXPECT_NE(refusal.message.find(path), std::string::npos) << refusal.message;
  }
}

std::string write_lines(const std::string& path, const std::vector<std::string>& lines) {
  std::ofstream file(path, std::ios::binary);
  for (const std::string& line : lines)
    file << line << "\n";
  return path;
}

InputSet open_text(const std::string& path) {
  return InputSet::open({path}, 256, 8, plan::Tokenizer::bytes);
}

TEST(InputSetOfLines, HasLabelsAndTokens) {
  const TemporaryFolder folder;
  const std::string path =
      write_lines(folder / "a.jsonl", {R"({"id": 7, "tokens": [3, 2, 1]})",
                                       R"({"id": 5, "tokens": [4], "score_from": 1})",
                                       R"({"tokens": [5, 6], "id": 6})"});

  const InputSet inputs = open({path});

  ASSERT_EQ(inputs.count(), 3);
  EXPECT_TRUE(inputs.is_numeric());
  EXPECT_EQ(inputs.numeric_ids(), (std::vector<std::uint64_t>{7, 5, 6}));
  EXPECT_TRUE(std::ranges::equal(inputs.offsets(), std::vector<std::uint64_t>{0, 3, 4, 6}));
  EXPECT_EQ(inputs.score_from(0), 0);
  EXPECT_EQ(inputs.score_from(1), 1);
  EXPECT_EQ(inputs.score_from(2), 0);
  EXPECT_EQ(inputs.lengths_ok().size(), 3u);
  EXPECT_EQ(tokens_of(inputs, 2), (std::vector<std::uint32_t>{5, 6}));
  EXPECT_EQ(tokens_of(inputs, 0), (std::vector<std::uint32_t>{3, 2, 1}));
  EXPECT_EQ(tokens_of(inputs, 1), (std::vector<std::uint32_t>{4}));
}

TEST(InputSetOfLines, AnyMixtureOfFilesIsOneSet) {
  const TemporaryFolder folder;
  write_lines(folder / "a.jsonl", {R"({"id": 1, "tokens": [1]})", R"({"id": 2, "tokens": [2]})"});
  write_inputs(folder / "b.h5", {.lengths = {2, 1}, .ids = {3, 4}, .score_from = {1, 1}});
  write_lines(folder / "c.ndjson", {R"({"id": "five", "tokens": [5, 5], "score_from": 2})"});
  write_inputs(folder / "d.h5", {.lengths = {3}, .ids = {6}});
  write_lines(folder / "e.json", {R"({"id": 7, "tokens": [7]})"});

  const InputSet inputs = open({folder.path()});
  const InputSet copy = copy_of(inputs);

  ASSERT_EQ(copy.count(), 7);
  expect_same_columns(copy, inputs);
  EXPECT_FALSE(copy.is_numeric());
  const std::vector<std::string> ids = {"1", "2", "3", "4", "five", "6", "7"};
  const std::vector<std::int64_t> score_from = {0, 0, 1, 1, 2, 0, 0};
  const std::vector<std::uint32_t> files = {0, 0, 1, 1, 2, 3, 4};
  for (std::int64_t i = 0; i < 7; ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_EQ(copy.id(i), ids[at]);
    EXPECT_EQ(copy.score_from(i), score_from[at]) << i;
    EXPECT_EQ(copy.file(i), files[at]) << i;
  }
  EXPECT_EQ(tokens_of(copy, 6), (std::vector<std::uint32_t>{7}));
  EXPECT_EQ(tokens_of(copy, 4), (std::vector<std::uint32_t>{5, 5}));
  EXPECT_EQ(tokens_of(copy, 5), (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(tokens_of(copy, 1), (std::vector<std::uint32_t>{2}));
  EXPECT_EQ(tokens_of(copy, 3), (std::vector<std::uint32_t>{2}));
}

TEST(InputSet, SlicesOfASequenceAreRead) {
  const TemporaryFolder folder;
  write_inputs(folder / "a.h5", {.lengths = {2, 6}, .ids = {1, 2}});
  write_lines(folder / "b.jsonl",
              {R"({"id": 3, "tokens": [9]})", R"({"id": 4, "tokens": [10, 11, 12, 13, 14, 15]})"});
  const InputSet inputs = open({folder.path()});
  const auto slice = [&](std::int64_t sequence, std::int64_t first, std::int64_t count) {
    std::vector<std::uint32_t> tokens(static_cast<std::size_t>(count));
    inputs.read_tokens(sequence, first, count, tokens.data());
    return tokens;
  };

  EXPECT_EQ(slice(1, 0, 2), (std::vector<std::uint32_t>{2, 3}));
  EXPECT_EQ(slice(1, 2, 3), (std::vector<std::uint32_t>{4, 5, 6}));
  EXPECT_EQ(slice(3, 4, 2), (std::vector<std::uint32_t>{14, 15}));
  EXPECT_EQ(slice(3, 1, 3), (std::vector<std::uint32_t>{11, 12, 13}));
  EXPECT_EQ(slice(2, 0, 1), (std::vector<std::uint32_t>{9}));
  EXPECT_EQ(slice(3, 6, 0), std::vector<std::uint32_t>{});
  std::uint32_t tokens[7];
  EXPECT_THROW(inputs.read_tokens(3, 4, 3, tokens), base::InternalError);
  EXPECT_THROW(inputs.read_tokens(1, -1, 2, tokens), base::InternalError);
}

TEST(InputSetOfLines, SuccessiveSlicesDoNotReadTheLineAgain) {
  const TemporaryFolder folder;
  const std::string path = write_lines(
      folder / "a.jsonl", {R"({"id": 1, "tokens": [1, 2, 3]})", R"({"id": 2, "tokens": [4]})"});
  const InputSet inputs = open({path});
  std::uint32_t tokens[2];
  inputs.read_tokens(0, 0, 2, tokens);
  const auto time = std::filesystem::last_write_time(path);
  std::ofstream(path, std::ios::in | std::ios::out) << R"({"id": 8, "tokens": [7, 8, 9]})"
                                                    << "\n"
                                                    << R"({"id": 9, "tokens": [5]})"
                                                    << "\n";
  std::filesystem::last_write_time(path, time);  // the stamp does not show the change

  inputs.read_tokens(0, 1, 2, tokens);

  EXPECT_EQ(tokens[1], 3u);
  EXPECT_EQ(refusal_of([&] { inputs.read_tokens(1, 0, 1, tokens); }).code, ExitCode::input);
}

TEST(InputSetOfLines, ABadLineGetsAStatusAndTheOthersStay) {
  const TemporaryFolder folder;
  const std::string path = write_lines(
      folder / "a.jsonl",
      {R"({"id": 1, "tokens": [1, 49]})", R"({"id": 2, "tokens": []})", "not JSON",
       R"({"id": 4, "tokens": [3, 50]})", "", R"({"id": 6, "tokens": [1,1,1,1,1,1,1,1,1]})",
       R"({"id": 7, "tokens": [1], "score_from": 2})", R"({"id": 8, "tokens": [1.5]})",
       R"({"tokens": [1, 2]})", R"({"id": 10, "tokens": [1], "score_from": 5000000000})",
       R"({"id": 11, "tokens": [1, 2], "score_from": 2})"});

  const InputSet inputs = open({path});

  ASSERT_EQ(inputs.count(), 10);
  using S = SequenceStatus;
  const std::vector<S> status = {S::ok,         S::empty,      S::bad_record, S::bad_token,
                                 S::too_long,   S::bad_record, S::bad_record, S::ok,
                                 S::bad_record, S::ok};
  const std::vector<std::string> ids = {"1", "2", "a.jsonl:3", "4",  "6",
                                        "7", "8", "a.jsonl:9", "10", "11"};
  const std::vector<std::int64_t> lengths = {2, 0, 0, 2, 9, 1, 0, 2, 0, 2};
  for (std::int64_t i = 0; i < inputs.count(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_EQ(inputs.status(i), status[at]) << i << " " << inputs.error(i);
    EXPECT_EQ(inputs.id(i), ids[at]);
    EXPECT_EQ(inputs.length(i), lengths[at]) << i;
    EXPECT_EQ(inputs.error(i).empty(), status[at] == S::ok) << i;
  }
  EXPECT_EQ(inputs.error(3), "token 50 at position 1, vocab_size is 50");
  EXPECT_TRUE(inputs.error(4).starts_with("9 tokens, max_position is 8 (one more is taken "));
  EXPECT_EQ(inputs.error(5), "score_from 2 is beyond its 1 tokens");
  EXPECT_EQ(inputs.error(6), "the token at position 0 is 1.5 (expected an unsigned integer)");
  EXPECT_EQ(inputs.notes(),
            std::vector<std::string>{"1 line has no id: each gets the text FILE:LINE as its id, "
                                     "the first \"a.jsonl:9\" (so all ids are texts)."});
  EXPECT_EQ(tokens_of(inputs, 7), (std::vector<std::uint32_t>{1, 2}));
  EXPECT_EQ(tokens_of(inputs, 9), (std::vector<std::uint32_t>{1, 2}));
}

TEST(InputSetOfLines, MadeUpIdsOfFilesWithOneNameDiffer) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "1");
  std::filesystem::create_directory(folder / "2");
  const std::vector<std::string> lines = {R"({"tokens": [1]})"};
  const std::string a = write_lines(folder / "1/a.jsonl", lines);
  const std::string b = write_lines(folder / "2/a.jsonl", lines);
  const std::string odd = write_lines(folder / "2/\xff\xc3.jsonl", lines);

  const InputSet inputs = open({a, b, odd});

  EXPECT_EQ(inputs.id(0), "a.jsonl:1");
  EXPECT_EQ(inputs.id(1), "a.jsonl#2:1");
  EXPECT_EQ(inputs.id(2), "?\?.jsonl:1");
}

TEST(InputSetOfLines, TextIsBytesWhereTheTokenizerIsBytes) {
  const TemporaryFolder folder;
  const std::string path =
      write_lines(folder / "a.jsonl", {R"({"id": 1, "text": "aé"})", R"({"id": 2, "text": ""})",
                                       R"({"id": 3, "tokens": [255, 0]})"});

  const InputSet inputs = copy_of(open_text(path));

  EXPECT_EQ(inputs.tokenizer(), plan::Tokenizer::bytes);
  EXPECT_EQ(tokens_of(inputs, 0), (std::vector<std::uint32_t>{0x61, 0xc3, 0xa9}));
  EXPECT_EQ(inputs.status(1), SequenceStatus::empty);
  EXPECT_EQ(tokens_of(inputs, 2), (std::vector<std::uint32_t>{255, 0}));
}

TEST(InputSetOfLines, TextAndTokenizerThatDoNotGoTogetherAreRefused) {
  const TemporaryFolder folder;
  const std::string path =
      write_lines(folder / "a.jsonl",
                  {R"({"id": 1, "tokens": [1], "text": "a"})", R"({"id": 2, "text": "a"})"});

  const Refused without = refusal_of([&] { open({path}); });
  const Refused small = refusal_of([&] { InputSet::open({path}, 255, 8, plan::Tokenizer::bytes); });

  EXPECT_EQ(without.code, ExitCode::usage);
  EXPECT_NE(without.message.find(path + ": line 2 has text"), std::string::npos) << without.message;
  EXPECT_NE(without.message.find("--tokenizer bytes"), std::string::npos) << without.message;
  EXPECT_EQ(small.code, ExitCode::usage);
  EXPECT_NE(small.message.find("vocabulary of 255"), std::string::npos) << small.message;
}

TEST(InputSetOfLines, TheIdentityFollowsEveryPartOfALineAndNotItsSpelling) {
  const TemporaryFolder folder;
  const auto identity = [&](const std::string& second) {
    const std::string path =
        write_lines(folder / "a.jsonl", {R"({"id": 1, "tokens": [1, 2]})", second});
    return open_text(path).identity();
  };
  const std::string expected = identity(R"({"id": 2, "tokens": [97, 4]})");

  EXPECT_EQ(identity(R"({ "tokens":[97,4],"more":1, "id":2 })"), expected);
  EXPECT_EQ(identity(R"({"id": 2, "tokens": [97, 4], "score_from": 0})"), expected);
  for (const char* other :
       {R"({"id": 3, "tokens": [97, 4]})", R"({"id": "3", "tokens": [97, 4]})",
        R"({"id": 2, "tokens": [97, 5]})", R"({"id": 2, "tokens": [97]})",
        R"({"id": 2, "tokens": [97, 4], "score_from": 1})", R"({"id": 2, "tokens": [97, -4]})", "",
        R"({"id": 2, "text": "a\u0004"})"})
    EXPECT_NE(identity(other), expected) << other;
  EXPECT_NE(identity(R"({"id": 2, "tokens": [-4]})"), identity(R"({"id": 2, "tokens": [4.5]})"));
}

TEST(InputSetOfLines, AFileThatChangedMeanwhileIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.jsonl", good = R"({"id": 1, "tokens": [10, 11]})";
  for (const char* other : {R"({"id": 1, "tokens": [10,1]})", R"({"id": 1, "tokens": [1,1,1]})",
                            R"({"id": 1, "tokens": [77, 11]})", R"({"id": 2, "tokens": [10, 11]})",
                            "x", R"({"id": 1, "tokens":  [10, 11]})"}) {
    const InputSet inputs = open({write_lines(path, {good})});
    std::uint32_t tokens[2];
    write_lines(path, {other});

    const Refused refusal = refusal_of([&] { inputs.read_tokens(0, 0, 2, tokens); });

    EXPECT_EQ(refusal.code, ExitCode::input) << other;
    EXPECT_NE(refusal.message.find(path + ": has changed"), std::string::npos) << refusal.message;
  }
}

TEST(InputSetOfLines, IdsThatStandTwiceAreRefusedWithFileAndLine) {
  const TemporaryFolder folder;
  const std::string a = write_inputs(folder / "a.h5", {.lengths = {1, 1}, .ids = {1, 2}});
  const std::string b = write_lines(
      folder / "b.jsonl", {R"({"id": 3, "tokens": [1]})", "", R"({"id": 2, "tokens": [1]})"});
  const std::string c = write_lines(folder / "c.jsonl", {R"({"id": "3", "tokens": [1]})"});

  const Refused refusal = refusal_of([&] { open({a, b, c}); });

  EXPECT_EQ(refusal.code, ExitCode::input);
  EXPECT_NE(refusal.message.find("2 ids occur twice"), std::string::npos) << refusal.message;
  EXPECT_NE(refusal.message.find("id 2 is in " + a + " (sequence 1) and in " + b + " (line 3)"),
            std::string::npos)
      << refusal.message;
  EXPECT_NE(refusal.message.find("id 3 is in " + b + " (line 1) and in " + c + " (line 1)"),
            std::string::npos)
      << refusal.message;
}

TEST(InputSetOfLines, OneIdTwiceIsToldAsOne) {
  const TemporaryFolder folder;
  const std::string a = write_lines(folder / "a.jsonl", {R"({"id": 3, "tokens": [1]})"});
  const std::string b = write_lines(folder / "b.jsonl", {R"({"id": 3, "tokens": [1]})"});

  EXPECT_NE(refusal_of([&] {
              open({a, b});
            }).message.find("inputs: 1 id occurs twice"),
            std::string::npos);
}

TEST(InputSetOfLines, ANameMayEndAsItLikes) {
  const TemporaryFolder folder;
  const std::vector<std::string> lines = {"\xef\xbb\xbf \t", "  {\"id\": 1, \"tokens\": [1]}"};
  for (const char* name : {"a.h5", "a.txt", "a", "A.JSONL", "a.jsonl.gz"})
    EXPECT_EQ(open({write_lines(folder / name, lines)}).count(), 1) << name;
  write_inputs(folder / "b.jsonl", {.lengths = {3, 1}, .ids = {7, 5}});
  EXPECT_EQ(open({folder / "b.jsonl"}).total_tokens(), 4);
}

TEST(InputSetOfLines, AFileWithoutAUsableLineIsRefusedWithTheCommonestReason) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.jsonl";
  const auto refusal = [&](const std::vector<std::string>& lines) {
    write_lines(path, lines);
    const Refused found = refusal_of([&] { open({path}); });
    EXPECT_EQ(found.code, ExitCode::input) << found.message;
    EXPECT_TRUE(found.message.starts_with(path + ": ")) << found.message;
    return found.message;
  };
  const auto has = [](const std::string& text, const std::string& words) {
    return text.find(words) != std::string::npos;
  };
  const std::string mixed = refusal({R"({"id": 1, "tokens": [1.5]})", R"({"id": 2})", "",
                                     R"({"id": 3, "tokens": [4, 5, 2.5]})", "{}x"});
  EXPECT_TRUE(has(mixed,
                  "none of its 4 lines can be used (the token at position 0 is 1.5 "
                  "(expected an unsigned integer): 2, first line 1)"))
      << mixed;
  EXPECT_TRUE(has(refusal({R"({"id": 1, "tokens": []})"}),
                  "its one line cannot be used (no tokens: 1, first"));
  EXPECT_TRUE(has(refusal({}), "is empty (0 bytes)"));
  EXPECT_TRUE(has(refusal({"", " \t", ""}), "is empty (it has only white space"));
  const std::string many = refusal(std::vector<std::string>(200'000, "{}"));
  EXPECT_TRUE(has(many, "none of its first 100,000 lines")) << many;
  EXPECT_TRUE(has(many, "tokens are missing (or input_ids, or text): 100,000, first line 1"))
      << many;
}

TEST(InputSetOfLines, ALineThatIsTooLongForTheModelIsNoUnusableOne) {
  const TemporaryFolder folder;
  const std::string path =
      write_lines(folder / "a.jsonl", {R"({"id": 1, "tokens": [1,1,1,1,1,1,1,1,1]})"});

  EXPECT_EQ(open({path}).status(0), SequenceStatus::too_long);
}

}  // namespace
}  // namespace tetrarch::storage
