// SPDX-License-Identifier: Apache-2.0
#include "import/import_checkpoint.hpp"

#include <cmath>
#include <cstring>

#include "import/convert_elements.hpp"
#include "storage/scratch.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::hf {
namespace {

using storage::WeightsFile;

using base::DType;
using base::ExitCode;
using test::is_refused;
using test::python;
using test::Scratch;

// Vocabulary 6, hidden size 4, one layer, 2 heads of size 2 with 2 kv heads, 2 experts of width 2.
// Element (i, j) of tensor number n is 100 n + 10 i + j; for n = 0 all are exact in bf16 (8 bits).
const char* const make_checkpoint = R"(
import json, struct, sys
config = dict(model_type='mixtral', vocab_size=6, hidden_size=4, num_hidden_layers=1,
              num_attention_heads=2, num_key_value_heads=2, head_dim=2, num_local_experts=2,
              num_experts_per_tok=1, intermediate_size=2, max_position_embeddings=16,
              rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act='silu', torch_dtype=TORCH,
              tie_word_embeddings=False)
json.dump(config, open(path + '/config.json', 'w'))
L = 'model.layers.0.'
shapes = [('model.embed_tokens.weight', (6, 4)), (L + 'input_layernorm.weight', (4,)),
          (L + 'self_attn.q_proj.weight', (4, 4)), (L + 'self_attn.k_proj.weight', (4, 4)),
          (L + 'self_attn.v_proj.weight', (4, 4)), (L + 'self_attn.o_proj.weight', (4, 4)),
          (L + 'post_attention_layernorm.weight', (4,)),
          (L + 'block_sparse_moe.gate.weight', (2, 4))]
for e in range(2):
    x = L + 'block_sparse_moe.experts.%d.' % e
    shapes += [(x + 'w1.weight', (2, 4)), (x + 'w3.weight', (2, 4)), (x + 'w2.weight', (4, 2))]
shapes += [('model.norm.weight', (4,)), ('lm_head.weight', (6, 4))]
tensors = {}
for n, (name, shape) in enumerate(shapes):
    grid = np.add.outer(10 * np.arange(shape[0]), np.arange(shape[1])) if len(shape) == 2 \
        else np.arange(shape[0])
    tensors[name] = (100 * n + grid).astype('f4')
EDIT
header, data = {}, b''
for name, x in tensors.items():
    if DTYPE == 'BF16': raw = (x.view('u4') >> 16).astype('u2').tobytes()
    else: raw = x.astype({'F32': 'f4', 'F16': 'f2'}[DTYPE]).tobytes()
    header[name] = dict(dtype=DTYPE, shape=list(x.shape),
                        data_offsets=[len(data), len(data) + len(raw)])
    data += raw
text = json.dumps(header).encode()
open(path + '/model.safetensors', 'wb').write(struct.pack('<Q', len(text)) + text + data)
)";

class ImportCheckpoint : public testing::Test {
 protected:
  void checkpoint(const std::string& dtype, const std::string& torch_dtype,
                  const std::string& edit = "pass") {
    std::string code = make_checkpoint;
    for (const auto& [word, value] : std::vector<std::pair<std::string, std::string>>{
             {"TORCH", "'" + torch_dtype + "'"}, {"EDIT", edit}, {"DTYPE", "'" + dtype + "'"}})
      for (std::size_t at; (at = code.find(word)) != std::string::npos;)
        code.replace(at, word.size(), value);
    python(scratch_, scratch_.folder(), code);
  }
  void import(std::optional<DType> dtype, std::optional<std::int64_t> shards) {
    base::Log log(base::Log::Sink::none);
    import_checkpoint(scratch_.folder(), scratch_ / "w.h5",
                      {.dtype = dtype, .reduction_shards = shards}, log);
  }
  std::vector<float> values(const std::string& path) {
    const WeightsFile file = WeightsFile::open(scratch_ / "w.h5");
    file.verify_all({});
    for (const plan::TensorSpec& tensor : file.tensors()) {
      if (tensor.path != path) continue;
      std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes()));
      for (std::int64_t unit = 0; unit < tensor.num_units(); ++unit)
        file.read_unit(tensor, unit, bytes.data() + tensor.unit_offset(unit), true);
      std::vector<float> result(bytes.size() / static_cast<std::size_t>(size_of(tensor.dtype)));
      convert_elements(tensor.dtype == DType::f32 ? CheckpointDType::f32 : CheckpointDType::bf16,
                       bytes, DType::f32, std::as_writable_bytes(std::span(result)));
      return result;
    }
    ADD_FAILURE() << "no " << path;
    return {};
  }

  const Scratch scratch_;
};

using Values = std::vector<float>;

TEST_F(ImportCheckpoint, PutsEveryElementInItsPlace) {
  for (const std::int64_t shards : {1, 2}) {
    checkpoint("F32", "float32");
    import(std::nullopt, shards);

    EXPECT_EQ(values("/embed"), (Values{0,  1,  2,  3,  10, 11, 12, 13, 20, 21, 22, 23,
                                        30, 31, 32, 33, 40, 41, 42, 43, 50, 51, 52, 53}));
    EXPECT_EQ(values("/layers/00/attn_norm"), (Values{100, 101, 102, 103}));
    EXPECT_EQ(values("/layers/00/k"), (Values{300, 301, 302, 303, 310, 311, 312, 313, 320, 321, 322,
                                              323, 330, 331, 332, 333}));
    // [heads * head_dim, hidden]: o_proj transposed
    EXPECT_EQ(values("/layers/00/o"), (Values{500, 510, 520, 530, 501, 511, 521, 531, 502, 512, 522,
                                              532, 503, 513, 523, 533}));
    EXPECT_EQ(values("/layers/00/router"), (Values{700, 701, 702, 703, 710, 711, 712, 713}));
    // tensor numbers of experts 0 and 1: w1 8 and 11, w3 9 and 12, w2 10 and 13
    EXPECT_EQ(values("/layers/00/gate"), (Values{800, 801, 802, 803, 810, 811, 812, 813, 1100, 1101,
                                                 1102, 1103, 1110, 1111, 1112, 1113}));
    EXPECT_EQ(values("/layers/00/up")[8], 1200);
    EXPECT_EQ(values("/layers/00/down"), (Values{1000, 1010, 1020, 1030, 1001, 1011, 1021, 1031,
                                                 1300, 1310, 1320, 1330, 1301, 1311, 1321, 1331}));
    EXPECT_EQ(values("/final_norm"), (Values{1400, 1401, 1402, 1403}));
    EXPECT_EQ(values("/head")[5], 1511);
  }
}

TEST_F(ImportCheckpoint, KeepsTheCheckpointsDtypeUnlessAsked) {
  const Values embed{0,  1,  2,  3,  10, 11, 12, 13, 20, 21, 22, 23,
                     30, 31, 32, 33, 40, 41, 42, 43, 50, 51, 52, 53};
  checkpoint("BF16", "bfloat16");
  import(std::nullopt, std::nullopt);
  EXPECT_EQ(WeightsFile::open(scratch_ / "w.h5").spec().dtype, DType::bf16);
  EXPECT_EQ(values("/embed"), embed);

  import(DType::f32, std::nullopt);
  EXPECT_EQ(WeightsFile::open(scratch_ / "w.h5").spec().dtype, DType::f32);
  EXPECT_EQ(values("/embed"), embed);

  checkpoint("F16", "float16");
  import(std::nullopt, std::nullopt);
  EXPECT_EQ(values("/layers/00/down")[13], 1311);

  checkpoint("F32", "float32");
  import(DType::bf16, std::nullopt);
  // 1311 lies between 1304 and 1312 in bf16
  EXPECT_EQ(values("/layers/00/down")[13], 1312);
}

TEST_F(ImportCheckpoint, GivesTheSameValuesForEveryNumberOfReductionShards) {
  checkpoint("BF16", "bfloat16");
  import(std::nullopt, 1);
  const Values expected = values("/layers/00/down");

  import(std::nullopt, 2);

  EXPECT_EQ(values("/layers/00/down"), expected);
}

TEST_F(ImportCheckpoint, NamesEverythingMissingAndUnexpectedAtOnce) {
  checkpoint("F32", "float32",
             "del tensors['model.norm.weight'], tensors[L + 'self_attn.q_proj.weight']\n"
             "tensors[L + 'self_attn.q_proj.bias'] = np.zeros(4, 'f4')\n"
             "tensors[L + 'self_attn.rotary_emb.inv_freq'] = np.zeros(1, 'f4')");

  EXPECT_TRUE(is_refused(
      ExitCode::weights,
      {"2 problems", "2 tensors", "model.norm.weight", "model.layers.0.self_attn.q_proj.weight",
       "1 tensors do not belong", "q_proj.bias"},
      [&] { import(std::nullopt, std::nullopt); }));
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "w.h5"));
}

TEST_F(ImportCheckpoint, PassesOverRotaryFrequencies) {
  checkpoint("F32", "float32", "tensors[L + 'self_attn.rotary_emb.inv_freq'] = np.zeros(1, 'f4')");

  import(std::nullopt, std::nullopt);

  EXPECT_EQ(values("/embed")[23], 53);
}

TEST_F(ImportCheckpoint, RefusesWrongShapes) {
  checkpoint("F32", "float32",
             "x = L + 'block_sparse_moe.experts.1.w2.weight'; tensors[x] = tensors[x].T.copy()");

  EXPECT_TRUE(is_refused(ExitCode::weights, {"experts.1.w2.weight", "[2, 4]", "[4, 2]"},
                         [&] { import(std::nullopt, std::nullopt); }));
}

TEST_F(ImportCheckpoint, RefusesReductionShardsThatTheRulesForbid) {
  checkpoint("F32", "float32");

  EXPECT_TRUE(is_refused(ExitCode::usage, {"4"}, [&] { import(std::nullopt, 4); }));
}

// Two layers, the second one dense with a width of 6; 2 heads of size 4, one kv head.
const char* const make_qwen = R"(
import json, struct
config = dict(model_type='qwen3_moe', vocab_size=6, hidden_size=4, num_hidden_layers=2,
              num_attention_heads=2, num_key_value_heads=1, head_dim=4, num_experts=2,
              num_experts_per_tok=1, moe_intermediate_size=2, intermediate_size=6,
              mlp_only_layers=[1], norm_topk_prob=True, max_position_embeddings=16,
              tie_word_embeddings=True, torch_dtype='float32')
json.dump(config, open(path + '/config.json', 'w'))
shapes = [('model.embed_tokens.weight', (6, 4)), ('model.norm.weight', (4,))]
for l in range(2):
    a = 'model.layers.%d.' % l
    s = a + 'self_attn.'
    shapes += [(a + 'input_layernorm.weight', (4,)), (a + 'post_attention_layernorm.weight', (4,)),
               (s + 'q_proj.weight', (8, 4)), (s + 'k_proj.weight', (4, 4)),
               (s + 'v_proj.weight', (4, 4)), (s + 'o_proj.weight', (4, 8)),
               (s + 'q_norm.weight', (4,)), (s + 'k_norm.weight', (4,))]
m = 'model.layers.0.mlp.'
shapes += [(m + 'gate.weight', (2, 4))]
for e in range(2):
    x = m + 'experts.%d.' % e
    shapes += [(x + 'gate_proj.weight', (2, 4)), (x + 'up_proj.weight', (2, 4)),
               (x + 'down_proj.weight', (4, 2))]
m = 'model.layers.1.mlp.'
shapes += [(m + 'gate_proj.weight', (6, 4)), (m + 'up_proj.weight', (6, 4)),
           (m + 'down_proj.weight', (4, 6))]
header, data = {}, b''
for n, (name, shape) in enumerate(shapes):
    grid = np.add.outer(10 * np.arange(shape[0]), np.arange(shape[1])) if len(shape) == 2 \
        else np.arange(shape[0])
    raw = (100 * n + grid).astype('f4').tobytes()
    header[name] = dict(dtype='F32', shape=list(shape), data_offsets=[len(data), len(data) + len(raw)])
    data += raw
text = json.dumps(header).encode()
open(path + '/model.safetensors', 'wb').write(struct.pack('<Q', len(text)) + text + data)
)";

TEST_F(ImportCheckpoint, PutsEveryElementOfQwenInItsPlace) {
  python(scratch_, scratch_.folder(), make_qwen);
  for (const std::int64_t shards : {1, 2}) {
    import(std::nullopt, shards);

    // tensor numbers: 25, 26, 27 for the dense layer's projections, 16 and 17 for layer 1's norms
    // of heads
    EXPECT_EQ(values("/layers/01/gate"),
              (Values{2500, 2501, 2502, 2503, 2510, 2511, 2512, 2513, 2520, 2521, 2522, 2523,
                      2530, 2531, 2532, 2533, 2540, 2541, 2542, 2543, 2550, 2551, 2552, 2553}));
    EXPECT_EQ(values("/layers/01/up")[23], 2653);
    EXPECT_EQ(values("/layers/01/down"),
              (Values{2700, 2710, 2720, 2730, 2701, 2711, 2721, 2731, 2702, 2712, 2722, 2732,
                      2703, 2713, 2723, 2733, 2704, 2714, 2724, 2734, 2705, 2715, 2725, 2735}));
    EXPECT_EQ(values("/layers/01/q_norm"), (Values{1600, 1601, 1602, 1603}));
    EXPECT_EQ(values("/layers/01/k_norm"), (Values{1700, 1701, 1702, 1703}));
    // tensor numbers of layer 0's experts: gate 19 and 22, up 20 and 23, down 21 and 24
    EXPECT_EQ(values("/layers/00/router")[7], 1813);
    EXPECT_EQ(values("/layers/00/gate"), (Values{1900, 1901, 1902, 1903, 1910, 1911, 1912, 1913,
                                                 2200, 2201, 2202, 2203, 2210, 2211, 2212, 2213}));
    EXPECT_EQ(values("/layers/00/up")[8], 2300);
    EXPECT_EQ(values("/layers/00/down"), (Values{2100, 2110, 2120, 2130, 2101, 2111, 2121, 2131,
                                                 2400, 2410, 2420, 2430, 2401, 2411, 2421, 2431}));
  }
}

TEST(ImportCheckpointOfTransformers, ReadsItsShardsOfQwen) {
  const Scratch scratch;
  base::Log log(base::Log::Sink::none);
  const std::string folder = std::string(TETRARCH_TEST_DATA) + "/goldens/qwen3-moe-b/model";

  import_checkpoint(folder, scratch / "w.h5", {}, log);

  const WeightsFile file = WeightsFile::open(scratch / "w.h5");
  EXPECT_EQ(file.spec().family, "qwen3_moe");
  EXPECT_TRUE(file.spec().tied_embeddings);
  EXPECT_EQ(file.spec().is_moe, (std::vector<bool>{true, false, true}));
  EXPECT_EQ(file.spec().router_renorm, plan::RouterRenorm::none);
  file.verify_all({});
}

TEST(ImportCheckpointOfTransformers, ReadsItsShards) {
  for (const std::string name : {"mixtral-gqa", "mixtral-mha"}) {
    const Scratch scratch;
    base::Log log(base::Log::Sink::none);
    const std::string folder = std::string(TETRARCH_TEST_DATA) + "/goldens/" + name + "/model";

    import_checkpoint(folder, scratch / "w.h5", {}, log);

    const WeightsFile file = WeightsFile::open(scratch / "w.h5");
    EXPECT_EQ(file.spec().family, "mixtral");
    file.verify_all({});
  }
}

TEST(ConvertElements, WidensHalvesExactly) {
  const std::vector<std::uint16_t> halves{0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x3c00,
                                          0xc100, 0x7bff, 0x7c00, 0xfc00, 0x7e00};
  std::vector<float> found(halves.size());

  convert_elements(CheckpointDType::f16, std::as_bytes(std::span(halves)), DType::f32,
                   std::as_writable_bytes(std::span(found)));

  const std::vector<float> expected{0.0f, -0.0f, 0x1p-24f, 0x3ffp-24f, 0x1p-14f,
                                    1.0f, -2.5f, 65504.0f, INFINITY,   -INFINITY};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(found[i], expected[i]) << i;
    EXPECT_EQ(std::signbit(found[i]), std::signbit(expected[i])) << i;
  }
  EXPECT_TRUE(std::isnan(found.back()));
}

TEST(ConvertElements, RoundsToBf16ToNearestEven) {
  const std::vector<float> values{1.0f,          0x1.01p0f,     0x1.03p0f,
                                  0x1.010002p0f, 0x1.00fffep0f, -0x1.03p0f};
  std::vector<std::uint16_t> found(values.size());

  convert_elements(CheckpointDType::f32, std::as_bytes(std::span(values)), DType::bf16,
                   std::as_writable_bytes(std::span(found)));

  EXPECT_EQ(found, (std::vector<std::uint16_t>{0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x3f80, 0xbf82}));
}

TEST(ConvertElements, TransposesRectanglesLargerThanATile) {
  const std::int64_t from_rows = 150, columns = 70, first = 37, rows = 101;
  std::vector<std::uint16_t> from(static_cast<std::size_t>(from_rows * columns)),
      to(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < from.size(); ++i)
    from[i] = static_cast<std::uint16_t>(i);

  transpose_rows(2, std::as_bytes(std::span(from)), from_rows, first, rows, columns,
                 std::as_writable_bytes(std::span(to)));

  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      ASSERT_EQ(to[static_cast<std::size_t>(r * columns + c)], c * from_rows + first + r);
}

}  // namespace
}  // namespace tetrarch::hf
