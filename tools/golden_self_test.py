"""Results made of a golden itself must hold in tools/check_golden.py; each way to spoil them shows.

Rows in here are those of the goldens' sequences of 24, 1, 131, 2 and 31 tokens.
"""
# SPDX-License-Identifier: Apache-2.0

import h5py
import numpy

import reference_model


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
    return results


def scale_one(name, row, factor):
    """Spoils one number by a factor."""

    def spoil(results, _golden):
        place = (row, 3) if results[name].ndim == 2 else (row,)
        results[name][place] = results[name][place] * factor

    return spoil


def reverse_experts(results, _golden):
    results["experts/01"][40] = results["experts/01"][40][::-1]


def replace_experts(rows):
    """At some positions the second choice becomes expert 0 or 1."""

    def spoil(results, _golden):
        experts = results["experts/02"][()]
        experts[rows, 1] = numpy.where(experts[rows, 0] == 0, 1, 0)
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
        "other experts at a fifth of the positions": replace_experts(slice(118, 156)),
        "other experts at the start of the longest": replace_experts(slice(25, 26)),
        "a missing output": remove("logprobs/token"),
    },
}


def self_test(golden, check):
    """check(golden, results, quiet) is True when the results hold."""
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
