#!/usr/bin/env python3
"""Speed of Hugging Face transformers on a random Mixtral of a given shape; prints one line of JSON.

    PYTHON transformers_prefill.py --layers 8 --hidden 1024 --heads 16 --kv-heads 4 --head-dim 64
        --experts 16 --top-k 2 --expert-ffn 1792 --vocab 32000 --tokens 512 --prompts 1
        --threads 2 --dtype bf16 [--experts-by NAME] [--repeats 3]

The prompts pass as one batch, without a cache. Logits are computed of the last position only, attention
by sdpa. Without --experts-by, each implementation of the experts in this version is tried once.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import json
import statistics
import time

import torch
import transformers
from transformers import MixtralConfig, MixtralForCausalLM

SIZES = ("layers", "hidden", "heads", "kv-heads", "head-dim", "experts", "top-k", "expert-ffn", "vocab",
         "tokens", "prompts", "threads")
AS_IT_IS = "as it is"


@torch.no_grad()
def make_model(args):
    config = MixtralConfig(
        vocab_size=args.vocab, hidden_size=args.hidden, intermediate_size=args.expert_ffn,
        num_hidden_layers=args.layers, num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads, head_dim=args.head_dim,
        max_position_embeddings=8192, num_local_experts=args.experts,
        num_experts_per_tok=args.top_k, attn_implementation="sdpa", use_cache=False)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    torch.set_default_dtype(dtype)
    with torch.device("meta"):
        model = MixtralForCausalLM(config)
    model = model.to_empty(device="cpu").eval()
    torch.manual_seed(1)
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if "inv_freq" in name:
            steps = torch.arange(0, args.head_dim, 2, dtype=torch.float32) / args.head_dim
            values.copy_(10000.0 ** -steps)
        elif values.dim() == 1:
            values.fill_(1)
        else:
            values.uniform_(-1, 1).mul_((3 / values.shape[-1]) ** 0.5)
    return model


def seconds_of(model, tokens):
    started = time.perf_counter()
    logits = model(tokens, logits_to_keep=1).logits
    seconds = time.perf_counter() - started
    if not torch.isfinite(logits.float()).all():
        raise SystemExit("logits are not finite")
    return seconds


def implementations(model):
    """Those that run here: each is tried; what a version lacks it refuses. Not batched_mm: it copies
    an expert's weights for each token, gigabytes for a prompt."""
    if not hasattr(model, "set_experts_implementation"):
        return [AS_IT_IS]
    found = []
    for name in ("eager", "grouped_mm"):
        try:
            model.set_experts_implementation(name)
            model(torch.zeros(1, 8, dtype=torch.long))
            found.append(name)
        except (ValueError, KeyError, ImportError, RuntimeError, NotImplementedError):
            continue
    return found or [AS_IT_IS]


def fastest(model, tokens):
    best = None
    for name in implementations(model):
        if name != AS_IT_IS:
            model.set_experts_implementation(name)
        seconds_of(model, tokens)
        seconds = seconds_of(model, tokens)
        if best is None or seconds < best[0]:
            best = seconds, name
    return best[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for size in SIZES:
        parser.add_argument(f"--{size}", type=int, required=True)
    parser.add_argument("--dtype", choices=("bf16", "f32"), required=True)
    parser.add_argument("--experts-by")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = make_model(args)
    tokens = torch.randint(0, args.vocab, (args.prompts, args.tokens))
    with torch.inference_mode():
        experts = args.experts_by or fastest(model, tokens)
        if experts != AS_IT_IS:
            model.set_experts_implementation(experts)
        seconds_of(model, tokens)
        seconds = statistics.median(seconds_of(model, tokens) for _ in range(args.repeats))
    has_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    print(json.dumps({
        "tokens_per_second": args.prompts * args.tokens / seconds, "experts": experts,
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}, "
                    f"{torch.backends.cpu.get_cpu_capability()}, "
                    f"{'with' if has_bf16 else 'no'} bf16 products of its oneDNN"}))


if __name__ == "__main__":
    main()
