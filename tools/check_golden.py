#!/usr/bin/python3
"""Holds results.h5 of a run against a golden, which tools/make_goldens.py made with transformers.

    tools/check_golden.py GOLDEN_DIR --make-inputs INPUTS.h5    the golden's sequences, to run on
    tools/check_golden.py GOLDEN_DIR RESULTS.h5                 a table; exit 0: holds, 1: does not
    tools/check_golden.py GOLDEN_DIR --reference                holds tools/reference.py instead
    tools/check_golden.py GOLDEN_DIR --self-test                spoilt results must be found out

The run needs --outputs logprobs,last_logits,hidden,experts --hidden-layers all; topk may be there.
f32: max|a-b| / max|b| <= 1e-4 per tensor and sequence, and the same experts in the same order.
bf16: RMS error against the float32 golden at most twice that of transformers' own bf16 run, on the
positions where all three chose the same experts in every layer, which must be at least 90 %.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import json
import sys
import tempfile
from pathlib import Path

import h5py
import numpy

import reference

F32_LIMIT = 1e-4  # max|a-b| / max|b|
REFERENCE_LIMIT = 1e-5  # the same, of the double-precision reference
BF16_RATIO = 2.0  # RMS error, against that of transformers' bf16 run
AGREEMENT = 0.9  # of the positions


class Table:
    """Rows of a comparison, printed at once; remembers whether each of them holds."""

    def __init__(self, quiet=False):
        self.quiet = quiet
        self.holds = True

    def say(self, line):
        if not self.quiet:
            print(line)

    def row(self, name, good, text):
        self.holds &= bool(good)
        self.say(f"{name:<18} {text}{'' if good else '  FAILS'}")


def datasets_below(group, prefix):
    """Full names below /hidden, /experts and so on, sorted."""
    return [f"{prefix}/{name}" for name in sorted(group.get(prefix, {}))]


def float_names(golden):
    return datasets_below(golden["f32"], "hidden") + ["logprobs/token", "last_logits"]


def rows_of(name, offsets, number):
    """The rows of one sequence."""
    if name == "last_logits":
        return slice(number, number + 1)
    return slice(int(offsets[number]), int(offsets[number + 1]))


def lay_out(golden, results, table):
    """True when the results hold the golden's sequences and each dataset in its shape."""
    problems = []
    if results["sequences/status"][()].any():
        problems.append("/sequences/status: some sequences are error records.")
    for ours, theirs in (("sequences/id", "ids"), ("sequences/offsets", "offsets")):
        if not numpy.array_equal(results[ours][()], golden[theirs][()]):
            problems.append(f"/{ours}: not the golden's sequences. Run on --make-inputs.")
    for name in float_names(golden) + datasets_below(golden["f32"], "experts"):
        expected = golden["f32"][name].shape
        if name not in results:
            problems.append(f"/{name}: missing. Run with all the outputs named in --help.")
        elif results[name].shape != expected:
            problems.append(f"/{name}: shape {results[name].shape}, expected {expected}.")
    for problem in problems:
        table.row(problem, False, "")
    return not problems


def positions_checked(found, expected, name):
    """Both, with 0 for the log-prob at a sequence's first position, which must be NaN in both."""
    if name != "logprobs/token":
        return found, expected
    undefined = numpy.isnan(expected)
    at_undefined = numpy.where(numpy.isnan(found), 0.0, numpy.inf)
    return numpy.where(undefined, at_undefined, found), numpy.where(undefined, 0.0, expected)


def relative_error(found, expected):
    """max|a-b| / max|b|; the plain maximum where the golden is all zero; NaN if a NaN is found."""
    error = float(numpy.abs(found - expected).max(initial=0.0))
    return error / (float(numpy.abs(expected).max(initial=0.0)) or 1.0)


def check_floats(golden, results, names, limit, table):
    offsets = golden["offsets"][()]
    for name in names:
        found, expected = positions_checked(
            reference.values(results[name]), reference.values(golden["f32"][name]), name
        )
        errors = []
        for number in range(len(offsets) - 1):
            rows = rows_of(name, offsets, number)
            errors.append(relative_error(found[rows], expected[rows]))
        worst = int(numpy.argmax(errors))  # a NaN counts as the largest
        table.row(name, errors[worst] <= limit, f"{errors[worst]:>12.2e} {worst:>9} {limit:>7.0e}")


def check_experts(golden, results, table):
    for name in datasets_below(golden["f32"], "experts"):
        different = (results[name][()] != golden["f32"][name][()]).any(axis=-1)
        count = int(different.sum())
        at = f", first at {int(numpy.argmax(different))}" if count else ""
        table.row(name, not count, f"{count:>12} positions differ{at}")


def check_top_k(golden, results, table):
    """Ids may differ only between tokens as likely as each other to float32 accuracy."""
    expected_ids, ids = golden["f32/topk/ids"][()], results["topk/ids"][()]
    expected = reference.values(golden["f32/topk/logprobs"])
    found = reference.values(results["topk/logprobs"])
    width = min(ids.shape[1], expected_ids.shape[1])
    expected, found = expected[:, :width], found[:, :width]
    error = relative_error(found, expected)
    table.row("topk/logprobs", error <= F32_LIMIT, f"{error:>12.2e} {'':>9} {F32_LIMIT:>7.0e}")
    step = -numpy.diff(reference.values(golden["f32/topk/logprobs"]), axis=-1)
    clear = numpy.ones_like(expected_ids, dtype=bool)
    clear[:, 1:] &= step > F32_LIMIT
    clear[:, :-1] &= step > F32_LIMIT
    clear[:, -1] = False  # the next one is not in the golden
    different = int(((ids[:, :width] != expected_ids[:, :width]) & clear[:, :width]).sum())
    table.row("topk/ids", not different, f"{different:>12} differ")


def check_f32(golden, results, table):
    table.say(f"{'dataset':<18} {'rel. error':>12} {'sequence':>9} {'limit':>7}")
    check_floats(golden, results, float_names(golden), F32_LIMIT, table)
    check_experts(golden, results, table)
    if "topk/ids" in results:
        check_top_k(golden, results, table)


def same_experts(golden, results):
    """Positions at which all three runs choose the same set of experts in every layer."""
    same = numpy.ones(len(golden["tokens"]), dtype=bool)
    for name in datasets_below(golden["f32"], "experts"):
        exact = numpy.sort(golden["f32"][name][()], axis=-1)
        for other in (golden["bf16"][name], results[name]):
            same &= (numpy.sort(other[()], axis=-1) == exact).all(axis=-1)
    return same


def root_mean_square(found, expected):
    return float(numpy.sqrt(numpy.mean((found - expected) ** 2))) if found.size else numpy.nan


def check_bf16(golden, results, table):
    same = same_experts(golden, results)
    last = golden["offsets"][1:].astype(numpy.int64) - 1
    table.say(f"{'dataset':<18} {'RMS error':>11} {'transformers':>13} {'ratio':>6} {'limit':>6}")
    for name in float_names(golden):
        rows = same[last] if name == "last_logits" else same
        exact = reference.values(golden["f32"][name])
        ours, theirs = (
            root_mean_square(*(part[rows] for part in positions_checked(side, exact, name)))
            for side in (reference.values(results[name]), reference.values(golden["bf16"][name]))
        )
        ratio = ours / theirs if theirs else float(ours != 0)
        text = f"{ours:>11.3e} {theirs:>13.3e} {ratio:>6.2f} {BF16_RATIO:>6.1f}"
        table.row(name, ours <= BF16_RATIO * theirs, text)
    share = float(same.mean())
    text = f"in every layer, all three runs: {share:.1%} of positions, at least {AGREEMENT:.0%}"
    table.row("same experts", share >= AGREEMENT, text)


def check(golden, results, quiet=False):
    """True when the results hold."""
    table = Table(quiet)
    dtype = reference.text_attribute(results.attrs, "dtype")
    if dtype not in ("f32", "bf16"):
        table.row("attribute dtype", False, f"{dtype!r} is neither f32 nor bf16.")
    elif lay_out(golden, results, table):
        (check_bf16 if dtype == "bf16" else check_f32)(golden, results, table)
    table.say("holds" if table.holds else "does not hold")
    return table.holds


def make_inputs(golden, path):
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "tetrarch-inputs"
        file.attrs["format_version"] = numpy.array([1, 0], dtype=numpy.uint32)
        for name in ("tokens", "offsets", "ids"):
            file[name] = golden[name][()]


# --- tools/reference.py, on weights read straight from the checkpoint ----------------------------


def read_checkpoint(folder):
    """Tensor name -> u16 array, from bf16 safetensors: header length u64, JSON header, bytes."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:start]).items():
            if name != "__metadata__":
                begin, end = (start + offset for offset in entry["data_offsets"])
                stored = numpy.frombuffer(content[begin:end], dtype="<u2")
                tensors[name] = stored.reshape(entry["shape"])
    return tensors


def config_from_hf(hf):
    """The config_json of weights.h5 for a Mixtral config.json."""
    num_layers, num_heads = hf["num_hidden_layers"], hf["num_attention_heads"]
    head_dim = hf.get("head_dim") or hf["hidden_size"] // num_heads
    attention = {
        "kind": "gqa", "num_heads": num_heads, "num_kv_heads": hf["num_key_value_heads"],
        "head_dim": head_dim, "scale": head_dim**-0.5, "qkv_bias": False, "o_bias": False,
        "qk_norm": "none", "window": [0] * num_layers,
    }  # fmt: skip
    theta = hf["rope_parameters"]["rope_theta"]
    moe = {
        "is_moe": [True] * num_layers, "num_experts": hf["num_local_experts"],
        "top_k": hf["num_experts_per_tok"], "expert_ffn": hf["intermediate_size"], "dense_ffn": 0,
        "router": {"score": "softmax_all", "renorm": "sum", "scale": 1.0},
        "expert": {"kind": "glu", "act": "silu"},
    }  # fmt: skip
    return {
        "family": "mixtral", "dtype": "bf16", "vocab_size": hf["vocab_size"],
        "num_layers": num_layers, "hidden_size": hf["hidden_size"],
        "max_position": hf["max_position_embeddings"], "tied_embeddings": False,
        "norm": {"kind": "rms", "eps": hf["rms_norm_eps"]}, "attention": attention,
        "rope": {"style": "half", "dim": head_dim, "theta": theta, "type": "default"}, "moe": moe,
    }  # fmt: skip


def weights_from_hf(folder, path):
    """Writes what reference.py reads of a weights.h5; without checksums, so not for a run."""
    config = config_from_hf(json.loads((folder / "config.json").read_text()))
    tensors = read_checkpoint(folder)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "tetrarch-weights"
        file.attrs["dtype"] = "bf16"
        file.attrs["config_json"] = json.dumps(config)

        def put(name, stored):
            file[name] = stored
            file[name].attrs["dtype"] = "bf16"

        put("embed", tensors["model.embed_tokens.weight"])
        put("head", tensors["lm_head.weight"])
        put("final_norm", tensors["model.norm.weight"])
        for layer in range(config["num_layers"]):
            theirs, ours = f"model.layers.{layer}.", f"layers/{layer:02d}/"
            put(ours + "attn_norm", tensors[theirs + "input_layernorm.weight"])
            put(ours + "moe_norm", tensors[theirs + "post_attention_layernorm.weight"])
            for name in "qkv":
                put(ours + name, tensors[f"{theirs}self_attn.{name}_proj.weight"])
            put(ours + "o", tensors[theirs + "self_attn.o_proj.weight"].T)
            put(ours + "router", tensors[theirs + "block_sparse_moe.gate.weight"])
            for name, part in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
                experts = [
                    tensors[f"{theirs}block_sparse_moe.experts.{expert}.{part}.weight"]
                    for expert in range(config["moe"]["num_experts"])
                ]
                put(ours + name, numpy.stack([e.T if name == "down" else e for e in experts]))


def in_memory():
    return h5py.File("results.h5", "w", driver="core", backing_store=False)


def write_run(results, golden, dtype, parts):
    """A results.h5 with the golden's sequences; parts: dataset name -> what to store."""
    results.attrs["dtype"] = dtype
    results["sequences/id"] = golden["ids"][()]
    results["sequences/offsets"] = golden["offsets"][()]
    results["sequences/status"] = numpy.zeros(len(golden["ids"]), dtype=numpy.uint8)
    for name, stored in parts.items():
        results[name] = stored


def reference_results(golden, weights, results):
    """What reference.py computes for the golden's sequences, as results of a run."""
    model, offsets = reference.Model(weights), golden["offsets"][()].astype(int)
    parts = {}
    for begin, end in zip(offsets[:-1], offsets[1:]):
        out = reference.forward(model, golden["tokens"][begin:end])
        names = reference.hidden_names(len(out["experts"]))
        for name, hidden in zip(names, out["hidden"]):
            parts.setdefault(f"hidden/{name}", []).append(hidden)
        for layer, experts in enumerate(out["experts"]):
            parts.setdefault(f"experts/{layer:02d}", []).append(experts)
        parts.setdefault("logprobs/token", []).append(out["logprobs"])
        parts.setdefault("last_logits", []).append(out["logits"][-1:])
    write_run(results, golden, "f32", {name: numpy.concatenate(p) for name, p in parts.items()})


def check_reference(golden, folder):
    table = Table()
    with tempfile.TemporaryDirectory() as scratch, in_memory() as results:
        weights = Path(scratch) / "weights.h5"
        weights_from_hf(folder / "model", weights)
        reference_results(golden, weights, results)
        table.say(f"{'dataset':<18} {'rel. error':>12} {'sequence':>9} {'limit':>7}")
        check_floats(golden, results, float_names(golden), REFERENCE_LIMIT, table)
        check_experts(golden, results, table)
    table.say("holds" if table.holds else "does not hold")
    return table.holds


# --- self-test: results made of the golden itself hold, and each way to spoil them shows ---------


def make_fake(golden, dtype):
    results, source = in_memory(), golden[dtype]
    names = float_names(golden) + datasets_below(source, "experts")
    if dtype == "f32":
        names += ["topk/ids", "topk/logprobs"]
    write_run(results, golden, dtype, {name: source[name][()] for name in names})
    for name in names:
        for key, value in source[name].attrs.items():
            results[name].attrs[key] = value
    return results


def scale_one(name, row, factor):
    """Spoils one number by a factor."""

    def spoil(results, _golden):
        place = (row, 3) if results[name].ndim == 2 else (row,)
        results[name][place] = results[name][place] * factor

    return spoil


def reverse_experts(results, _golden):
    results["experts/01"][40] = results["experts/01"][40][::-1]


def replace_experts(share):
    """At a share of the positions the second choice becomes the first one's neighbour's."""

    def spoil(results, _golden):
        experts = results["experts/02"][()]
        count = int(share * len(experts))
        experts[:count, 1] = numpy.where(experts[:count, 0] == 0, 1, 0)
        results["experts/02"][...] = experts

    return spoil


def shift_rows(name):
    def spoil(results, _golden):
        results[name][...] = numpy.roll(results[name][()], 1, axis=0)

    return spoil


def widen_error(name, factor):
    """bf16: multiplies the rounding error against the float32 golden."""

    def spoil(results, golden):
        exact = golden["f32"][name][()]
        wider = exact + factor * (reference.values(results[name]) - exact)
        bits = wider.astype(numpy.float32).view(numpy.uint32)
        results[name][...] = ((bits + 0x8000) >> 16).astype(numpy.uint16)

    return spoil


def put(name, place, value):
    def spoil(results, _golden):
        results[name][place] = value

    return spoil


def remove(name):
    def spoil(results, _golden):
        del results[name]

    return spoil


SPOILS = {
    "f32": {
        "one hidden value": scale_one("hidden/01", 33, 1.1),
        "one value of a sequence of one token": scale_one("hidden/final", 24, 1.01),
        "one logit": scale_one("last_logits", 2, 1.01),
        "one log-prob": scale_one("logprobs/token", 100, 1.001),
        "a NaN in the hidden states": put("hidden/00", (5, 5), numpy.nan),
        "a log-prob that should be NaN": put("logprobs/token", 24, 0.0),
        "a NaN that should be a log-prob": put("logprobs/token", 3, numpy.nan),
        "order of a token's experts": reverse_experts,
        "one other expert": put("experts/00", (0, 0), 0xFFFF),
        "one other likely token": put("topk/ids", (7, 0), 0xFFFFFFFF),
        "rows out of place": shift_rows("hidden/02"),
        "an error record": put("sequences/status", 1, 4),
        "sequences in another order": put("sequences/id", 0, 101),
        "other lengths": put("sequences/offsets", 1, 23),
        "a missing output": remove("experts/02"),
    },
    "bf16": {
        "three times the rounding error": widen_error("hidden/02", 3),
        "three times the error at the end": widen_error("last_logits", 3),
        "another embedding": put("hidden/embed", slice(None, None, 5), 0x3F80),
        "rows out of place": shift_rows("hidden/final"),
        "a log-prob that should be NaN": put("logprobs/token", 0, 0.0),
        "a NaN": put("hidden/01", slice(0, 20), 0x7FC0),
        "other experts at 15 % of the positions": replace_experts(0.15),
        "a missing output": remove("logprobs/token"),
    },
}


def self_test(golden):
    failures = 0
    for dtype, spoils in SPOILS.items():
        with make_fake(golden, dtype) as results:
            if not check(golden, results, quiet=True):
                failures += 1
                print(f"self-test: {dtype}: intact results do not hold")
        for name, spoil in spoils.items():
            with make_fake(golden, dtype) as results:
                spoil(results, golden)
                if check(golden, results, quiet=True):
                    failures += 1
                    print(f"self-test: {dtype}: not found out: {name}")
    print(f"self-test: {sum(map(len, SPOILS.values()))} spoilt results, {failures} failures")
    return failures == 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("golden", metavar="GOLDEN_DIR", type=Path)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("results", metavar="RESULTS.h5", nargs="?")
    what.add_argument("--make-inputs", metavar="INPUTS.h5")
    what.add_argument("--reference", action="store_true")
    what.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    try:
        with h5py.File(args.golden / "golden.h5", "r") as golden:
            if args.make_inputs:
                make_inputs(golden, args.make_inputs)
                return 0
            if args.reference:
                return 0 if check_reference(golden, args.golden) else 1
            if args.self_test:
                return 0 if self_test(golden) else 1
            with h5py.File(args.results, "r") as results:
                return 0 if check(golden, results) else 1
    except (OSError, KeyError) as error:
        print(f"check_golden: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
