#!/usr/bin/python3
"""Compares results.h5 of a run with a golden, which tools/make_goldens.py made with transformers.

    tools/check_golden.py GOLDEN_DIR --make-inputs INPUTS.h5    writes the golden's sequences as inputs
    tools/check_golden.py GOLDEN_DIR RESULTS.h5                 compares results; prints a table
    tools/check_golden.py GOLDEN_DIR --reference                compares tools/reference_model.py
    tools/check_golden.py GOLDEN_DIR --self-test                checks that damaged results are detected

Exit 0: they agree; 1: they do not.
The run needs --outputs logprobs,last_logits,hidden,experts --hidden-layers all. If the results have
topk, kv or routing, these are compared too; routing is compared with the experts of the run itself.
f32: max|a-b| / max|b| <= 1e-4 for each tensor and sequence, and the same experts in the same order.
bf16: the RMS error against the float32 golden is at most twice that of transformers' own bf16 run.
Only those positions count at which, and before which, all three runs chose the same experts in every
layer, because a position attends to earlier ones. They must be at least 90 % of all positions.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import sys
import tempfile
from pathlib import Path

import h5py
import numpy

import checkpoint_weights
import golden_self_test
import reference_model

F32_LIMIT = 1e-4  # max|a-b| / max|b|
REFERENCE_LIMIT = 1e-5  # the same, of the double-precision reference
BF16_RATIO = 2.0  # RMS error, against that of transformers' bf16 run
AGREEMENT = 0.9  # of the positions
VERDICT = {True: "agrees with the golden", False: "does not agree with the golden"}


class Table:
    """Rows of a comparison, printed at once; `holds` is true while each of them is within its limit."""

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


def kv_names(golden):
    layers = datasets_below(golden["f32"], "kv")
    return [f"{layer}/{kind}" for layer in layers for kind in ("k", "v")]


def float_names(golden, results):
    """Datasets of floats that are compared; keys and values only where the results have them."""
    names = datasets_below(golden["f32"], "hidden") + ["logprobs/token", "last_logits"]
    return names + (kv_names(golden) if "kv" in results else [])


def rows_of(name, offsets, number):
    """The rows of one sequence."""
    if name == "last_logits":
        return slice(number, number + 1)
    return slice(int(offsets[number]), int(offsets[number + 1]))


def lay_out(golden, results, table):
    """True when the results have the golden's sequences, and each dataset in its shape."""
    problems = []
    if results["sequences/status"][()].any():
        problems.append("/sequences/status: some sequences are error records.")
    for ours, theirs in (("sequences/id", "ids"), ("sequences/offsets", "offsets")):
        if not numpy.array_equal(results[ours][()], golden[theirs][()]):
            problems.append(f"/{ours}: other sequences than the golden's. Run on the inputs that "
                            "--make-inputs writes.")
    for name in float_names(golden, results) + datasets_below(golden["f32"], "experts"):
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
            reference_model.values(results[name]), reference_model.values(golden["f32"][name]), name
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
    expected = reference_model.values(golden["f32/topk/logprobs"])
    found = reference_model.values(results["topk/logprobs"])
    width = min(ids.shape[1], expected_ids.shape[1])
    expected, found = expected[:, :width], found[:, :width]
    error = relative_error(found, expected)
    table.row("topk/logprobs", error <= F32_LIMIT, f"{error:>12.2e} {'':>9} {F32_LIMIT:>7.0e}")
    step = -numpy.diff(reference_model.values(golden["f32/topk/logprobs"]), axis=-1)
    clear = numpy.ones_like(expected_ids, dtype=bool)
    clear[:, 1:] &= step > F32_LIMIT
    clear[:, :-1] &= step > F32_LIMIT
    clear[:, -1] = False  # the next one is not in the golden
    different = int(((ids[:, :width] != expected_ids[:, :width]) & clear[:, :width]).sum())
    table.row("topk/ids", not different, f"{different:>12} differ")


def check_routing(results, table):
    """What was sent to each expert is what the positions chose; nothing is dropped."""
    sent = results["routing/tokens_per_expert"][()]
    chosen = [results[name][()] for name in datasets_below(results, "experts")]
    expected = [reference_model.expert_counts(rows, sent.shape[1]) for rows in chosen]
    different = int((sent != numpy.asarray(expected)).any(axis=1).sum())
    table.row("routing", not different, f"{different:>12} layers differ")
    num_dropped = int(results["routing/dropped"][()].sum())
    table.row("routing/dropped", not num_dropped, f"{num_dropped:>12}")


def check_f32(golden, results, table):
    table.say(f"{'dataset':<18} {'rel. error':>12} {'sequence':>9} {'limit':>7}")
    check_floats(golden, results, float_names(golden, results), F32_LIMIT, table)
    check_experts(golden, results, table)
    if "topk/ids" in results:
        check_top_k(golden, results, table)


def same_experts(golden, results):
    """Positions at which, and before which, all three runs choose the same experts everywhere."""
    same = numpy.ones(len(golden["tokens"]), dtype=bool)
    for name in datasets_below(golden["f32"], "experts"):
        exact = numpy.sort(golden["f32"][name][()], axis=-1)
        for other in (golden["bf16"][name], results[name]):
            same &= (numpy.sort(other[()], axis=-1) == exact).all(axis=-1)
    offsets = golden["offsets"][()].astype(numpy.int64)
    for begin, end in zip(offsets[:-1], offsets[1:]):
        same[begin:end] = numpy.logical_and.accumulate(same[begin:end])
    return same


def root_mean_square(found, expected):
    return float(numpy.sqrt(numpy.mean((found - expected) ** 2))) if found.size else numpy.nan


def check_bf16(golden, results, table):
    same = same_experts(golden, results)
    last = golden["offsets"][1:].astype(numpy.int64) - 1
    table.say(f"{'dataset':<18} {'RMS error':>11} {'transformers':>13} {'ratio':>6} {'limit':>6}")
    for name in float_names(golden, results):
        rows = same[last] if name == "last_logits" else same
        exact, own_bf16, found = (
            reference_model.values(run[name]) for run in (golden["f32"], golden["bf16"], results)
        )
        ours, theirs = (
            root_mean_square(*(part[rows] for part in positions_checked(side, exact, name)))
            for side in (found, own_bf16)
        )
        ratio = ours / theirs if theirs else float(ours != 0)
        text = f"{ours:>11.3e} {theirs:>13.3e} {ratio:>6.2f} {BF16_RATIO:>6.1f}"
        table.row(name, ours <= BF16_RATIO * theirs, text)
    share = float(same.mean())
    text = f"and at all earlier positions: {share:.1%} of positions, at least {AGREEMENT:.0%}"
    table.row("same experts", share >= AGREEMENT, text)


def check(golden, results, quiet=False):
    """True when the results agree with the golden."""
    table = Table(quiet)
    dtype = reference_model.text_attribute(results.attrs, "dtype")
    if dtype not in ("f32", "bf16"):
        table.row("attribute dtype", False, f"{dtype!r} is neither f32 nor bf16.")
    elif lay_out(golden, results, table):
        (check_bf16 if dtype == "bf16" else check_f32)(golden, results, table)
        if "routing" in results:
            check_routing(results, table)
    table.say(VERDICT[table.holds])
    return table.holds


def make_inputs(golden, path):
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "tetrarch-inputs"
        file.attrs["format_version"] = numpy.array([1, 0], dtype=numpy.uint32)
        for name in ("tokens", "offsets", "ids"):
            file[name] = golden[name][()]


def reference_results(golden, weights, results):
    """Writes what the reference computes for the golden's sequences, named as in results.h5."""
    model, offsets = reference_model.Model(weights), golden["offsets"][()].astype(int)
    parts = {}
    for begin, end in zip(offsets[:-1], offsets[1:]):
        out = reference_model.forward(model, golden["tokens"][begin:end])
        names = reference_model.hidden_names(len(out["experts"]))
        for name, hidden in zip(names, out["hidden"]):
            parts.setdefault(f"hidden/{name}", []).append(hidden)
        none = numpy.full((end - begin, model.config["moe"]["top_k"]), reference_model.NO_EXPERT)
        for layer, experts in enumerate(out["experts"]):
            chosen = none if experts is None else experts
            parts.setdefault(f"experts/{layer:02d}", []).append(chosen)
        for layer, (keys, values) in enumerate(zip(out["keys"], out["values"])):
            parts.setdefault(f"kv/{layer:02d}/k", []).append(keys)
            parts.setdefault(f"kv/{layer:02d}/v", []).append(values)
        parts.setdefault("logprobs/token", []).append(out["logprobs"])
        parts.setdefault("last_logits", []).append(out["logits"][-1:])
    for name, rows in parts.items():
        results[name] = numpy.concatenate(rows)


def check_reference(golden, folder):
    """Compares the independent forward pass with the golden, on weights from the checkpoint."""
    table = Table()
    with tempfile.TemporaryDirectory() as scratch, golden_self_test.in_memory() as results:
        weights = Path(scratch) / "weights.h5"
        checkpoint_weights.write(folder / "model", weights)
        reference_results(golden, weights, results)
        table.say(f"{'dataset':<18} {'rel. error':>12} {'sequence':>9} {'limit':>7}")
        check_floats(golden, results, float_names(golden, results), REFERENCE_LIMIT, table)
        check_experts(golden, results, table)
    table.say(VERDICT[table.holds])
    return table.holds


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
                return 0 if golden_self_test.self_test(golden, check) else 1
            with h5py.File(args.results, "r") as results:
                return 0 if check(golden, results) else 1
    except (OSError, KeyError) as error:
        print(f"check_golden: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
