#!/usr/bin/env python3
"""Writes small checkpoints by transformers' own save_pretrained, and what it computes with them.

    tools/fixtures_checkpoints.py OUT_DIR

Needs torch and transformers (4.5x or 5.x), see tools/make_fixtures.py. OUT_DIR/NAME is a checkpoint
folder; OUT_DIR/NAME/expected.json has the sequences, the sum of each one's log-probs as f32 run on
the stored values, and the versions.
"""
# SPDX-License-Identifier: Apache-2.0

import json
import shutil
import sys
from pathlib import Path

import safetensors
import torch
import transformers

SEED = 7
LENGTHS = [3, 17, 40]
IS_FIVE = int(transformers.__version__.split(".")[0]) >= 5
SIZES = dict(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, num_experts_per_tok=2, max_position_embeddings=64,
             bos_token_id=None, eos_token_id=None, pad_token_id=None)


def rope(**keys):
    """Keys of RoPE as this version's config classes take them."""
    if IS_FIVE:
        return {"rope_parameters": {"rope_type": "default", **keys}}
    theta = keys.pop("rope_theta")
    return {"rope_theta": theta, **({"rope_scaling": keys} if keys else {})}


def mixtral(**keys):
    return transformers.MixtralConfig(**{**SIZES, **dict(
        intermediate_size=24, num_local_experts=4, head_dim=8, **rope(rope_theta=1e6)), **keys})


def qwen(**keys):
    return transformers.Qwen3MoeConfig(**{**SIZES, **dict(
        moe_intermediate_size=12, num_experts=4, head_dim=8, norm_topk_prob=True,
        decoder_sparse_step=1, **rope(rope_theta=1e6)), **keys})


YARN = dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=16)
# name -> config, dtype, options of save_pretrained
MODELS = {
    "mixtral": (mixtral(), torch.float32, {}),
    "mixtral-sharded": (mixtral(sliding_window=8), torch.bfloat16, dict(max_shard_size="12KB")),
    "qwen3-moe-tied": (qwen(tie_word_embeddings=True, mlp_only_layers=[0], intermediate_size=20),
                       torch.bfloat16, {}),
    "qwen3-moe-yarn": (qwen(**rope(**YARN)), torch.float16, {}),
}
if IS_FIVE:
    fused = dict(save_original_format=False)
    MODELS |= {
        "mixtral-fused": (mixtral(), torch.float32, fused),
        "qwen3-moe-fused": (qwen(), torch.bfloat16, fused | dict(max_shard_size="12KB")),
    }


@torch.no_grad()
def make_model(config, dtype):
    torch.manual_seed(SEED)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape)
        parameter.copy_(1 + 0.1 * noise if "norm" in name else 0.3 * noise)
    return model.to(dtype)


@torch.no_grad()
def log_prob_sum(model, tokens):
    logprobs = model(tokens[None]).logits[0].double().log_softmax(-1)
    return logprobs[:-1].gather(1, tokens[1:, None]).sum().item()


def write(folder, config, dtype, options):
    shutil.rmtree(folder, ignore_errors=True)
    make_model(config, dtype).save_pretrained(folder, **options)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    random = torch.Generator().manual_seed(SEED)
    sequences = [torch.randint(config.vocab_size, (n,), generator=random) for n in LENGTHS]
    expected = {
        "transformers": transformers.__version__, "torch": str(torch.__version__),
        "safetensors": safetensors.__version__,
        "sequences": [tokens.tolist() for tokens in sequences],
        "logprob_sums": [log_prob_sum(model, tokens) for tokens in sequences],
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def main():
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for name, (config, dtype, options) in MODELS.items():
        write(out / name, config, dtype, options)


if __name__ == "__main__":
    main()
