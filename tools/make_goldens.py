#!/usr/bin/env python3
"""Makes the goldens: small random Mixtral models and what Hugging Face transformers computes.

    tools/make_goldens.py tests/data/goldens [--only NAME] [--keep-checkpoints DIR]

Needs torch, transformers, safetensors, h5py. Writes OUT_DIR/NAME/model (a checkpoint folder, bf16,
sharded) and OUT_DIR/NAME/golden.h5, in which datasets are named as in results.h5 below /f32 (the
float32 run on the same values) and /bf16 (transformers' own bf16 run):

    /tokens u32 [total], /offsets u64 [n+1], /ids u64 [n]    the sequences
    /f32/hidden/{embed,NN,final} [total, D], /f32/experts/NN u16 [total, k] best first,
    /f32/logprobs/token [total], /f32/last_logits [n, W]; only f32: /f32/topk/{ids,logprobs}
    [total, 5]

Attributes: versions, seed, the smallest gap between the chosen and the next router probability, the
share of positions where both runs choose the same experts. Seeds are tried until the gaps are wide
and the share is large. --keep-checkpoints also writes each model as f32 and in the fused layout.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import json
import shutil
from pathlib import Path

import h5py
import numpy
import torch
import transformers

LENGTHS = [24, 1, 131, 2, 31]  # one longer than a key block of 128
MIN_GAP = 1e-4  # router probability, float32: below it a rounding may turn the choice
MIN_AGREEMENT = 0.97  # of the positions, transformers' bf16 run against its float32 run
TOP_K_LOGPROBS = 5
MAX_SHARD_SIZE = "70KB"

MODELS = {
    # grouped queries, 4 to 1; heads wider together than the hidden size
    "mixtral-gqa": dict(
        vocab_size=96, hidden_size=32, intermediate_size=32, num_hidden_layers=3,
        num_attention_heads=8, num_key_value_heads=2, head_dim=8, num_local_experts=8,
        num_experts_per_tok=2, rope_theta=1e6, rms_norm_eps=1e-5,
    ),
    # one key head per query head, head_dim left to the reader, a vocabulary that 4 does not divide
    "mixtral-mha": dict(
        vocab_size=99, hidden_size=32, intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, head_dim=None, num_local_experts=16,
        num_experts_per_tok=3, rope_theta=1e4, rms_norm_eps=1e-6,
    ),
}  # fmt: skip


def make_model(sizes, seed):
    """A float32 model whose parameters are random and representable in bf16."""
    config = transformers.MixtralConfig(
        **{key: value for key, value in sizes.items() if key != "rope_theta"},
        rope_parameters={"rope_type": "default", "rope_theta": sizes["rope_theta"]},
        max_position_embeddings=512, bos_token_id=None, eos_token_id=None,
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


def record(found, name, value):
    found.setdefault(name, []).append(value)


def hook_outputs(model, found):
    """Hooks that record the residual stream and the routers' choices of each forward pass."""

    def hidden(name):
        return lambda _module, _input, output: record(found, f"hidden/{name}", output[0])

    def router(layer):
        def take(_module, _input, output):
            logits, _, experts = output
            ranked = logits.float().softmax(-1).sort(descending=True).values
            record(found, f"experts/{layer:02d}", experts)
            # slots are recorded in order, so each step down to the first expert left out counts
            gaps = ranked[:, : experts.shape[1]] - ranked[:, 1 : experts.shape[1] + 1]
            record(found, "gap", gaps.min(-1).values)

        return take

    handles = [
        model.model.embed_tokens.register_forward_hook(hidden("embed")),
        model.model.norm.register_forward_hook(hidden("final")),
    ]
    for number, layer in enumerate(model.model.layers):
        handles.append(layer.register_forward_hook(hidden(f"{number:02d}")))
        handles.append(layer.mlp.gate.register_forward_hook(router(number)))
    return handles


@torch.no_grad()
def run_model(model, sequences):
    """All sequences, one at a time and unpadded. Dataset name -> tensor of the model's dtype."""
    found = {}
    handles = hook_outputs(model, found)
    for tokens in sequences:
        logits = model(tokens[None], use_cache=False).logits[0]
        logprobs = logits.float().log_softmax(-1)
        token_logprobs = logprobs[:-1].gather(1, tokens[1:, None])[:, 0]
        best = logprobs.topk(TOP_K_LOGPROBS)
        record(found, "logprobs/token", torch.cat([torch.tensor([torch.nan]), token_logprobs]))
        record(found, "topk/ids", best.indices)
        record(found, "topk/logprobs", best.values)
        record(found, "last_logits", logits[-1:])
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def agreement(first, second):
    """Share of the positions at which both runs choose the same experts in every layer."""
    same = torch.ones(sum(LENGTHS), dtype=torch.bool)
    for name in first:
        if name.startswith("experts/"):
            same &= (first[name].sort(-1).values == second[name].sort(-1).values).all(-1)
    return same.float().mean().item()


def write_run(group, run):
    rounded = run["last_logits"].dtype == torch.bfloat16
    for name, tensor in run.items():
        if name == "gap" or (name.startswith("topk") and rounded):
            continue
        if name.startswith("experts/"):
            group[name] = tensor.numpy().astype(numpy.uint16)
        elif name == "topk/ids":
            group[name] = tensor.numpy().astype(numpy.uint32)
        elif tensor.dtype == torch.bfloat16:
            group[name] = tensor.view(torch.int16).numpy().view(numpy.uint16)
            group[name].attrs["dtype"] = "bf16"
        else:
            group[name] = tensor.numpy()


def write_golden(path, sequences, runs, attributes):
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        file["tokens"] = torch.cat(sequences).numpy().astype(numpy.uint32)
        file["offsets"] = numpy.cumsum([0] + LENGTHS, dtype=numpy.uint64)
        file["ids"] = numpy.arange(100, 100 + len(sequences), dtype=numpy.uint64)
        for name, run in runs.items():
            write_run(file.create_group(name), run)


def make_golden(name, sizes, folder, checkpoints):
    """Tries seeds until the choice of experts is robust; returns a line that tells of it."""
    for seed in range(1, 1000):
        model = make_model(sizes, seed)
        sequences = [torch.randint(sizes["vocab_size"], (length,)) for length in LENGTHS]
        save_model(model.bfloat16(), folder / "model", max_shard_size=MAX_SHARD_SIZE)
        exact = run_model(load_model(folder / "model", torch.float32), sequences)
        gap = exact["gap"].min().item()
        if gap < MIN_GAP:
            continue
        rounded = run_model(load_model(folder / "model", torch.bfloat16), sequences)
        share = agreement(exact, rounded)
        if share >= MIN_AGREEMENT:
            break
    else:
        raise SystemExit(f"{name}: no seed with gap >= {MIN_GAP} and agreement {MIN_AGREEMENT}.")
    attributes = {
        "format": "tetrarch-golden", "format_version": numpy.array([1, 0], numpy.uint32),
        "description": "computed by tools/make_goldens.py", "config": json.dumps(sizes),
        "transformers": transformers.__version__, "torch": str(torch.__version__), "seed": seed,
        "min_router_gap": gap, "bf16_agreement": share,
    }  # fmt: skip
    write_golden(folder / "golden.h5", sequences, {"f32": exact, "bf16": rounded}, attributes)
    if checkpoints:
        model = load_model(folder / "model", torch.float32)
        save_model(model, checkpoints / f"{name}-f32")
        save_model(model, checkpoints / f"{name}-fused", save_original_format=False)
    return f"{name}: seed {seed}, smallest router gap {gap:.1e}, bf16 agreement {share:.1%}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT_DIR", type=Path)
    parser.add_argument("--keep-checkpoints", metavar="DIR", type=Path)
    parser.add_argument("--only", choices=MODELS, help="one model instead of all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for name, sizes in MODELS.items():
        if args.only in (None, name):
            print(make_golden(name, sizes, args.out / name, args.keep_checkpoints))


if __name__ == "__main__":
    main()
