"""tools/check_golden.py must accept results made of a golden itself, and detect each damage to them.

Rows in here are those of the goldens' sequences of 24, 1, 131, 2 and 31 tokens.
"""
# SPDX-License-Identifier: Apache-2.0

import h5py
import numpy

import reference_model
from reference_model import NO_EXPERT


def in_memory():
    return h5py.File("results.h5", "w", driver="core", backing_store=False)


def make_fake(golden, dtype):
    """The golden's own run of this dtype, as the results of a run."""
    results = in_memory()
    results.attrs["dtype"] = dtype
    results["sequences/id"] = golden["ids"][()]
    results["sequences/offsets"] = golden["offsets"][()]
    results["sequences/status"] = numpy.zeros(len(golden["ids"]), dtype=numpy.uint8)
    for name in golden[dtype]:
        golden.copy(f"{dtype}/{name}", results, name)
    chosen = [results["experts"][name][()] for name in sorted(results["experts"])]
    num_experts = 1 + max(int(rows[rows != NO_EXPERT].max(initial=0)) for rows in chosen)
    counts = [reference_model.expert_counts(rows, num_experts) for rows in chosen]
    results["routing/tokens_per_expert"] = numpy.asarray(counts, dtype=numpy.uint64)
    results["routing/dropped"] = numpy.zeros(len(chosen), dtype=numpy.uint64)
    return results


def scale_one(name, row, factor):
    """Spoils one number, in proportion to the largest of its row."""

    def spoil(results, _golden):
        place = (row, 3) if results[name].ndim == 2 else (row,)
        largest = numpy.abs(results[name][row]).max()
        results[name][place] = results[name][place] + (factor - 1) * largest

    return spoil


def last_routed(results):
    """The deepest layer that has experts; in a dense one nothing is chosen."""
    layers = results["experts"]
    return layers[max(name for name in layers if layers[name][0, 0] != NO_EXPERT)]


def reverse_experts(results, _golden):
    experts = last_routed(results)
    experts[40] = experts[40][::-1]


def replace_experts(rows):
    """At some positions the second choice becomes an expert that is none of the chosen."""

    def spoil(results, _golden):
        experts = last_routed(results)
        chosen = experts[()]
        for row in chosen[rows]:
            row[1] = min(set(range(len(row) + 1)) - set(row.tolist()))
        experts[...] = chosen

    return spoil


def another_expert(results, _golden):
    results["experts/00"][0, 0] = results["experts/00"][0, 0] ^ 1


def one_copy_more(results, _golden):
    results["routing/tokens_per_expert"][1, 2] += numpy.uint64(1)


def scale_heads(name, row, factor):
    def spoil(results, _golden):
        results[name][row] = results[name][row] * factor

    return spoil


def shift_rows(name):
    def spoil(results, _golden):
        results[name][...] = numpy.roll(results[name][()], 1, axis=0)

    return spoil


def widen_error(name, factor):
    """bf16: multiplies the rounding error against the float32 golden."""

    def spoil(results, golden):
        exact = golden["f32"][name][()]
        wider = exact + factor * (reference_model.values(results[name]) - exact)
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
        "one other expert": another_expert,
        "one key": scale_heads("kv/01/k", 60, 1.1),
        "values out of place": shift_rows("kv/00/v"),
        "keys of a missing layer": remove("kv/02/k"),
        "one other likely token": put("topk/ids", (7, 0), 0xFFFFFFFF),
        "one copy more": one_copy_more,
        "a dropped copy": put("routing/dropped", 2, 1),
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
        "keys out of place": shift_rows("kv/01/k"),
        "a log-prob that should be NaN": put("logprobs/token", 0, 0.0),
        "a NaN": put("hidden/01", slice(0, 20), 0x7FC0),
        "other experts at a fifth of the positions": replace_experts(slice(118, 156)),
        "other experts at the start of the longest": replace_experts(slice(25, 26)),
        "a missing output": remove("logprobs/token"),
    },
}


def self_test(golden, check):
    """check(golden, results, quiet) is True when the results agree with the golden."""
    failures = 0
    for dtype, spoils in SPOILS.items():
        with make_fake(golden, dtype) as results:
            if not check(golden, results, quiet=True):
                failures += 1
                print(f"self-test: {dtype}: undamaged results are not accepted")
        for name, spoil in spoils.items():
            with make_fake(golden, dtype) as results:
                spoil(results, golden)
                if check(golden, results, quiet=True):
                    failures += 1
                    print(f"self-test: {dtype}: not detected: {name}")
    print(f"self-test: {sum(map(len, SPOILS.values()))} damaged results, {failures} failures")
    return failures == 0
