"""The small random models that tools/make_goldens.py makes goldens of, and how they are filled."""
# SPDX-License-Identifier: Apache-2.0

import shutil

import torch
import transformers

MAX_SHARD_SIZE = "70KB"

MIXTRAL = dict(
    config=transformers.MixtralConfig, vocab_size=96, hidden_size=32, intermediate_size=32,
    num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    num_local_experts=8, num_experts_per_tok=2, rms_norm_eps=1e-5,
)  # fmt: skip
QWEN = dict(
    config=transformers.Qwen3MoeConfig, vocab_size=96, hidden_size=32, moe_intermediate_size=32,
    num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
    num_experts=8, num_experts_per_tok=2, rms_norm_eps=1e-6, decoder_sparse_step=1,
)  # fmt: skip

# rope: the parameters; every other key is one of the config's class
MODELS = {
    # grouped queries, 4 to 1; heads wider together than the hidden size
    "mixtral-gqa": MIXTRAL | dict(
        num_attention_heads=8, rope=dict(rope_type="default", rope_theta=1e6),
    ),
    # one key head per query head, head_dim left to the reader, a vocabulary that 4 does not divide
    "mixtral-mha": MIXTRAL | dict(
        vocab_size=99, intermediate_size=16, num_key_value_heads=4, head_dim=None,
        num_local_experts=16, num_experts_per_tok=3, rms_norm_eps=1e-6,
        rope=dict(rope_type="default", rope_theta=1e4),
    ),
    # a window that three of the five sequences exceed
    "mixtral-window": MIXTRAL | dict(
        sliding_window=8, rope=dict(rope_type="default", rope_theta=1e4),
    ),
    "mixtral-linear": MIXTRAL | dict(
        rope=dict(rope_type="linear", rope_theta=1e4, factor=2.5),
    ),
    # waves of 63 and 199 positions lie between the bounds 50 and 200, one is shorter, four longer
    "mixtral-llama3": MIXTRAL | dict(
        head_dim=16, rope=dict(
            rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=200,
        ),
    ),
    # heads normed, and four times as wide together as the hidden size
    "qwen3-moe-a": QWEN | dict(
        num_attention_heads=8, norm_topk_prob=True,
        rope=dict(rope_type="default", rope_theta=1e6),
    ),
    # gate weights as they are, a dense layer between two with experts, one matrix for both ends
    "qwen3-moe-b": QWEN | dict(
        num_attention_heads=4, num_key_value_heads=4, head_dim=8, moe_intermediate_size=16,
        num_experts=16, num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[1],
        intermediate_size=48, tie_word_embeddings=True,
        rope=dict(rope_type="default", rope_theta=1e4),
    ),
    # layers 0 and 2 dense; yarn mixes in the pairs 1 and 2
    "qwen3-moe-c": QWEN | dict(
        num_hidden_layers=4, norm_topk_prob=True, decoder_sparse_step=2, intermediate_size=64,
        rope=dict(
            rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=64,
        ),
    ),
}  # fmt: skip


def make_model(sizes, seed):
    """A float32 model whose parameters are random and representable in bf16."""
    keys = {key: value for key, value in sizes.items() if key not in ("config", "rope", "seed")}
    config = sizes["config"](
        **keys, rope_parameters=dict(sizes["rope"]), max_position_embeddings=512,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            if "norm" in name:
                noise = 1 + 0.2 * noise
            elif "embed" not in name:
                noise *= parameter.shape[-1] ** -0.5 * (
                    3 if name.endswith("mlp.gate.weight") else 1
                )
            parameter.copy_(noise.bfloat16())
    return model


def save_model(model, folder, **options):
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)


def load_model(folder, dtype):
    """The eager paths; from_pretrained keeps the rotary table in float32 at any dtype."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager"
    )
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    return model.eval()
