"""A broken weight is named where it first shows, alike on every grid; other sequences are unharmed.

Every case breaks one element of one weight. The clean run on one rank says which sequences it can
reach, and from which position on.
"""
# SPDX-License-Identifier: Apache-2.0

import itertools
import math
import sys

import h5py
import numpy

import support

sys.path.insert(0, str(support.TOOLS))
from edit_weights import edit  # noqa: E402

NAN, INF = float("nan"), float("inf")
LENGTHS = (40, 1, 9, 130, 3, 17, 2, 66, 5, 12)
NUM_LAYERS, TOKEN, NOT_FINITE = 4, 17, 4
# (dp, pp, ep, tp), and how tokens pass; a case takes the next one
LAYOUTS = itertools.cycle((((1, 1, 2, 2), ()),
                           ((1, 2, 2, 1), ("--tokens-per-microbatch", 64)),
                           ((1, 2, 1, 2), ("--tokens-per-microbatch", 150, "--chunk-tokens", 7))))

# dataset, element, value, what the error record says of the place
EXPERTS = (("layers/00/up", (0, 5, 9), NAN, "layer 0, expert 0"),
           ("layers/01/gate", (3, 31, 0), INF, "layer 1, expert 3"),
           ("layers/02/down", (7, 20, 63), NAN, "layer 2, expert 7"),
           ("layers/03/down", (15, 0, 0), -INF, "layer 3, expert 15"))
OTHERS = (("layers/02/attn_norm", 5, NAN, "layer 2, attention"),
          ("layers/03/k", (0, 0), INF, "layer 3, attention"),
          ("layers/03/o", (33, 3), -INF, "layer 3, attention"),
          ("layers/02/moe_norm", 1, INF, "layer 2, the norm after attention"),
          ("layers/03/router", (9, 63), NAN, "layer 3, router"),
          ("final_norm", 63, NAN, "the final norm"),
          ("head", (511, 0), NAN, "the head"))
# what alone is asked for, and a weight that shows in nothing else
ALONE = (("kv", "layers/03/v", (0, 0), NAN, "layer 3, attention"),
         ("experts", "layers/03/router", (2, 2), NAN, "layer 3, router"),
         ("last_logits", "head", (100, 3), INF, "the head"),
         ("topk", "head", (0, 63), NAN, "the head"))


def broken(test, model, name, dataset, element, value):
    folder = test.copy(model, name)
    edit(folder / "weights.h5", dataset, element, value)
    return folder


def errors(out):
    """(status, text) of each sequence."""
    with h5py.File(out / "results.h5") as file:
        texts = [text.decode() for text in file["sequences/error"][()]]
        return list(zip(file["sequences/status"][()].tolist(), texts))


def check(test, out, log, place, positions, clean):
    """positions: of each sequence the first that the weight reaches; None: it is unharmed."""
    found, left = errors(out), support.by_id(out)
    for number, ((status, text), position) in enumerate(zip(found, positions)):
        what = f"{out}: sequence {number}: {status} \"{text}\""
        if position is None:
            test.equal((status, text), (0, ""), what)
            test.check(left[number] == clean[number], f"{what} has other bits")
            continue
        test.equal(status, NOT_FINITE, what)
        test.check(text.startswith(f"non-finite values first at {place}, position {position} ("),
                   f"{what}: expected {place}, position {position}")
        test.check(text.endswith(" in the weights file."), f"{what} is cut off")
    num_failed = sum(position is not None for position in positions)
    line = f"failed   {num_failed} sequence{'s' if num_failed != 1 else ''} with non-finite " \
           f"values first at {place} ("
    test.equal(log.count("failed   "), 1, f"{out}: lines of places")
    test.check(line in log, f"{out}: no line \"{line}\"")
    print(f"held {place}: {num_failed} of {len(found)} sequences", flush=True)


def on_layouts(test, model, place, positions, clean, outputs):
    """On one rank and on another grid, with the same records."""
    code = 8 if any(position is not None for position in positions) else 0
    test.equal(code, 8, f"{place}: the weight reaches a sequence")
    log = test.run(1, model, model / "one", *outputs, code=code).text
    check(test, model / "one", log, place, positions, clean)
    grid, passing = next(LAYOUTS)
    log = test.run(math.prod(grid), model, model / "many", *support.grid_options(grid), *passing,
                   *outputs, code=code).text
    check(test, model / "many", log, place, positions, clean)
    test.same(model / "one", model / "many", f"{place} on {grid}")


def first_choosing(whole, layer, expert):
    """Of each sequence the first position that chose an expert."""
    with h5py.File(whole / "results.h5") as file:
        chosen = (file[f"experts/{layer:02d}"][()] == expert).any(axis=1)
        offsets = file["sequences/offsets"][()].astype(int)
    rows = [numpy.flatnonzero(chosen[begin:end]) for begin, end in zip(offsets[:-1], offsets[1:])]
    return [int(row[0]) if len(row) else None for row in rows]


def resumed(test, model, place, positions, clean):
    """Stopped and done on another grid, and on many ranks at once: the records of one rank."""
    out = model / "resumed"
    test.run(2, model, out, "--ep", 2, "--tokens-per-microbatch", 16, "--stop-after", "1e-3",
             *support.EVERYTHING, code=85)
    test.run(4, model, out, "--tp", 4, *support.EVERYTHING, code=8)
    test.same(model / "one", out, f"{place}, resumed")
    test.run(16, model, model / "wide", "--ep", 8, "--tp", 2, *support.EVERYTHING, code=8)
    test.same(model / "one", model / "wide", f"{place} on 16 ranks")


def body(test):
    sequences = support.random_sequences(LENGTHS, 512)
    for sequence, position in ((0, 33), (3, 128), (5, 0)):
        sequences[sequence][position] = TOKEN
    cases = 0
    for dtype, some in (("bf16", slice(None)), ("f32", slice(0, None, 4))):
        model = test.synth(dtype, "--preset", "tiny", "--dtype", dtype)
        support.write_inputs(model / "inputs.h5", sequences)
        test.run(1, model, model / "whole", *support.EVERYTHING)
        clean = support.by_id(model / "whole")
        for dataset, element, value, place in EXPERTS[some]:
            cases += 1
            folder = broken(test, model, f"case-{cases}", dataset, element, value)
            positions = first_choosing(model / "whole", int(dataset[7:9]), element[0])
            on_layouts(test, folder, place, positions, clean, support.EVERYTHING)
        if dtype == "bf16":
            resumed(test, folder, place, positions, clean)
        for dataset, element, value, place in OTHERS[some]:
            cases += 1
            folder = broken(test, model, f"case-{cases}", dataset, element, value)
            on_layouts(test, folder, place, [0] * len(LENGTHS), clean, support.EVERYTHING)

    places = [numpy.flatnonzero(numpy.asarray(sequence) == TOKEN) for sequence in sequences]
    positions = [int(place[0]) if len(place) else None for place in places]
    for outputs in (support.EVERYTHING, ("--outputs", "hidden", "--hidden-layers", "embed")):
        cases += 1
        folder = broken(test, model, f"case-{cases}", "embed", (TOKEN, 5), NAN)
        test.run(1, model, folder / "clean", *outputs)
        on_layouts(test, folder, f"the embedding of token id {TOKEN}", positions,
                   support.by_id(folder / "clean"), outputs)
    for outputs, dataset, element, value, place in ALONE:
        cases += 1
        folder = broken(test, model, f"case-{cases}", dataset, element, value)
        last = [length - 1 if outputs == "last_logits" else 0 for length in LENGTHS]
        on_layouts(test, folder, place, last, {}, ("--outputs", outputs))


if __name__ == "__main__":
    support.main(body)
