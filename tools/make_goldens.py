#!/usr/bin/env python3
"""Makes the goldens: small random models and what Hugging Face transformers computes.

    tools/make_goldens.py tests/data/goldens [--only NAME] [--keep-checkpoints DIR]

Needs torch, transformers, safetensors, h5py. Writes OUT_DIR/NAME/model (a checkpoint folder, bf16,
sharded) and OUT_DIR/NAME/golden.h5, in which datasets are named as in results.h5 below /f32 (the
float32 run on the same values) and /bf16 (transformers' own bf16 run):

    /tokens u32 [total], /offsets u64 [n+1], /ids u64 [n]    the sequences
    /f32/hidden/{embed,NN,final} [total, D], /f32/experts/NN u16 [total, k] best first (0xFFFF in
    dense layers), /f32/kv/NN/{k,v} [total, K, d] as in the cache, after RoPE,
    /f32/logprobs/token [total], /f32/last_logits [n, W]; only f32: /f32/topk/{ids,logprobs}
    [total, 5]

OUT_DIR/qwen3-moe-a/loglikelihood.h5 is described in tools/golden_loglikelihood.py.

The sequences are random, and are made token by token. A token is taken only if the router of every
layer of the float32 run chooses the experts at its position by a gap that is large compared with bf16
rounding. If bf16 chose other experts at one position, all later positions would differ too, because
they attend to it.

Attributes: versions; seed; the smallest gap between the router logits of the last chosen expert and
the best other one; the smallest gap between those of two chosen experts; the standard deviation of the
bf16 error of the first gap, largest of the layers; the share of positions at which, and before which,
both runs choose the same experts in every layer.
--keep-checkpoints also writes each model as f32 and in the fused layout.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import json
from pathlib import Path

import h5py
import numpy
import torch
import transformers

import golden_loglikelihood
from golden_models import MAX_SHARD_SIZE, MODELS, load_model, make_model, save_model

LENGTHS = [24, 1, 131, 2, 31]  # one longer than a key block of 128
# router logits, last chosen to first other: 5 standard deviations of its error in transformers'
# bf16 run, 0.018, 0.029 and 0.039 in the three layers (random sequences, before any other choice)
MIN_CHOICE_GAP = 0.2
MIN_ORDER_GAP = 0.01  # between the chosen ones; float32's error is below 1e-5
MIN_AGREEMENT = 0.97  # of the positions, transformers' bf16 run against its float32 run
SEED = 1
TOP_K_LOGPROBS = 5
NO_EXPERT = 0xFFFF  # of a dense layer
LOGLIKELIHOOD_OF = "qwen3-moe-a"


def record(found, name, value):
    found.setdefault(name, []).append(value)


def hook_outputs(model, found):
    """Hooks that record the residual stream and the routers' choices of each forward pass."""

    def hidden(name):
        return lambda _module, _input, output: record(found, f"hidden/{name}", output[0])

    def router(layer):
        def take(_module, _input, output):
            logits, _, experts = output
            record(found, f"experts/{layer:02d}", experts)
            record(found, f"router/{layer:02d}", logits.float())

        return take

    handles = [
        model.model.embed_tokens.register_forward_hook(hidden("embed")),
        model.model.norm.register_forward_hook(hidden("final")),
    ]
    for number, layer in enumerate(model.model.layers):
        handles.append(layer.register_forward_hook(hidden(f"{number:02d}")))
        if hasattr(layer.mlp, "gate"):
            handles.append(layer.mlp.gate.register_forward_hook(router(number)))
    return handles


def record_dense_layers(model, found, num_tokens):
    for number, layer in enumerate(model.model.layers):
        if not hasattr(layer.mlp, "gate"):
            none = torch.full((num_tokens, model.config.num_experts_per_tok), NO_EXPERT)
            record(found, f"experts/{number:02d}", none)


def record_cache(found, cache):
    for number, layer in enumerate(cache.layers):
        for name, heads in (("k", layer.keys), ("v", layer.values)):
            record(found, f"kv/{number:02d}/{name}", heads[0].transpose(0, 1))


@torch.no_grad()
def run_model(model, sequences):
    """All sequences, one at a time and unpadded. Dataset name -> tensor of the model's dtype."""
    found = {}
    handles = hook_outputs(model, found)
    for tokens in sequences:
        cache = transformers.DynamicCache()  # which keeps all keys, whatever the window
        logits = model(tokens[None], past_key_values=cache, use_cache=True).logits[0]
        record_dense_layers(model, found, len(tokens))
        record_cache(found, cache)
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


def steps(logits, top_k):
    """Gaps between each of the best top_k router logits and the next; the last is the choice's."""
    ranked = logits.sort(descending=True).values[..., : top_k + 1]
    return ranked[..., :-1] - ranked[..., 1:]


@torch.no_grad()
def clear_tokens(model, prefix):
    """For each token of the vocabulary: is the routers' choice clear, if it follows the prefix?"""
    config = model.config
    tokens = torch.arange(config.vocab_size)
    batch = torch.cat([prefix.expand(len(tokens), -1), tokens[:, None]], dim=1)
    clear = torch.ones(len(tokens), dtype=torch.bool)
    outputs = model.model(batch, use_cache=False, output_router_logits=True)
    for logits in outputs.router_logits:
        last = logits.view(*batch.shape, -1)[:, -1]
        gaps = steps(last, config.num_experts_per_tok)
        clear &= (gaps >= MIN_ORDER_GAP).all(-1) & (gaps[:, -1] >= MIN_CHOICE_GAP)
    return clear


def grow_sequence(model, length):
    """Random tokens, each drawn from those that leave the routers a clear choice."""
    sequence = torch.empty(0, dtype=torch.int64)
    while len(sequence) < length:
        clear = clear_tokens(model, sequence)
        if not clear.any():
            raise SystemExit(f"position {len(sequence)}: after every token some router chooses by "
                             "too small a gap. Use another seed.")
        sequence = torch.cat([sequence, clear.float().multinomial(1)])
    return sequence


def same_experts(first, second):
    """Positions at which, and before which, both runs choose the same experts in every layer."""
    same = torch.ones(sum(LENGTHS), dtype=torch.bool)
    for name in first:
        if name.startswith("experts/"):
            same &= (first[name].sort(-1).values == second[name].sort(-1).values).all(-1)
    return torch.cat([part.cummin(0).values for part in same.split(LENGTHS)])


def choice_noise(exact, rounded, top_k):
    """Standard deviation of bf16's error of the gap at the choice, largest of the layers."""
    same = same_experts(exact, rounded)
    deviations = []
    for name in exact:
        if name.startswith("router/"):
            edge = exact[name].argsort(descending=True)[:, top_k - 1 : top_k + 1]
            error = (rounded[name] - exact[name]).gather(1, edge)[same]
            deviations.append((error[:, 0] - error[:, 1]).std().item())
    return max(deviations)


def write_run(group, run):
    rounded = run["last_logits"].dtype == torch.bfloat16
    for name, tensor in run.items():
        if name.startswith("router/") or (name.startswith("topk") and rounded):
            continue
        if name.startswith("experts/"):
            group[name] = tensor.numpy().astype(numpy.uint16)
        elif name == "topk/ids":
            group[name] = tensor.numpy().astype(numpy.uint32)
        elif tensor.dtype == torch.bfloat16:
            group[name] = tensor.contiguous().view(torch.int16).numpy().view(numpy.uint16)
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
    """Returns a line that tells how large the gaps of the routers are."""
    seed = sizes.get("seed", SEED)
    save_model(make_model(sizes, seed).bfloat16(), folder / "model", max_shard_size=MAX_SHARD_SIZE)
    model = load_model(folder / "model", torch.float32)
    sequences = [grow_sequence(model, length) for length in LENGTHS]
    exact = run_model(model, sequences)
    rounded = run_model(load_model(folder / "model", torch.bfloat16), sequences)
    top_k = sizes["num_experts_per_tok"]
    gaps = torch.cat([steps(exact[key], top_k) for key in exact if key.startswith("router/")])
    choice, order = gaps[:, -1].min().item(), gaps.min().item()
    noise = choice_noise(exact, rounded, top_k)
    share = same_experts(exact, rounded).float().mean().item()
    if share < MIN_AGREEMENT:
        raise SystemExit(f"{name}: bf16 chooses the same experts at only {share:.1%} of the positions. "
                         "Use another seed.")
    attributes = {
        "format": "tetrarch-golden", "format_version": numpy.array([1, 0], numpy.uint32),
        "description": "computed by tools/make_goldens.py",
        "config": json.dumps(sizes, default=lambda config: config.model_type),
        "transformers": transformers.__version__, "torch": str(torch.__version__), "seed": seed,
        "min_choice_gap": choice, "min_order_gap": order, "bf16_choice_noise": noise,
        "bf16_agreement": share,
    }  # fmt: skip
    write_golden(folder / "golden.h5", sequences, {"f32": exact, "bf16": rounded}, attributes)
    if name == LOGLIKELIHOOD_OF:
        golden_loglikelihood.write_pairs(model, folder / "loglikelihood.h5", seed)
    if checkpoints:
        save_model(model, checkpoints / f"{name}-f32")
        save_model(model, checkpoints / f"{name}-fused", save_original_format=False)
    return (
        f"{name}: router gaps >= {choice:.3f} at the choice (bf16 error {noise:.3f}) and >= "
        f"{order:.3f} between the chosen; bf16 agreement {share:.1%}"
    )


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
