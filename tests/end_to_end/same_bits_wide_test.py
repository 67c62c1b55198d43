"""Same bits at real widths, where experts get many tokens, one, or none.

    same_bits_wide_test.py PROGRAM [--layers 2] [--vocab 4000] [--full]

--full holds every case in both dtypes on every grid (dp, pp, ep, tp); --layers 8 --vocab 32000 is
the whole model.
"""
# SPDX-License-Identifier: Apache-2.0

import math

import h5py
import numpy

import support

import edit_weights  # of tools/

SIZES = ("--hidden", 1024, "--heads", 16, "--kv-heads", 4, "--head-dim", 64, "--experts", 16,
         "--expert-ffn", 1792)
NUM_EXPERTS = 16
LENGTHS = (257, 1, 67, 130, 33)
RARE = 0  # token id that stands once in the inputs
EP, TP, MAIN, ALL_FOUR = (1, 1, 4, 2), (1, 1, 1, 4), (1, 1, 16, 4), (2, 2, 4, 4)
GRIDS = (EP, TP, MAIN, ALL_FOUR)
MICROBATCH = ("--tokens-per-microbatch", 256)
CAPACITY = ("--capacity-factor", 1.0)

# routing -> grids of a run that is not --full
CASES = {
    "bf16": {"skewed": (EP, MAIN, ALL_FOUR), "rare": (EP,), "one-expert": (EP,)},
    "f32": {"skewed": (TP,), "rare": (EP,), "one-expert": (TP,)},
}


def make_inputs(path, vocab):
    sequences = support.random_sequences(LENGTHS, vocab - 1)
    sequences = [[token + 1 for token in sequence] for sequence in sequences]
    sequences[3][70] = RARE
    support.write_inputs(path, sequences)


def rows_per_expert(run_folder):
    """[layers, slots, E]: how many tokens chose each expert in each top-k slot."""
    with h5py.File(run_folder / "results.h5") as file:
        return numpy.array([
            [numpy.bincount(slot, minlength=NUM_EXPERTS) for slot in file[f"experts/{name}"][()].T]
            for name in sorted(file["experts"])
        ])


def check_routing(test, routing, run_folder):
    """The case is what it is meant to be."""
    slots = rows_per_expert(run_folder)
    rows = slots.sum(axis=1)
    print(f"{routing}: rows per expert, layer by layer: {rows.tolist()}")
    if routing == "skewed":
        uneven = rows.max(axis=1) >= 3 * rows.mean(axis=1)
        test.check(uneven.any(), "no layer has an expert with 3 times the mean")
    elif routing == "one-expert":
        test.check((slots[:, 0, 0] == sum(LENGTHS)).all(), "not all first choices are expert 0")
    else:
        test.check((rows[:, -1] == 0).all(), "the last expert has rows")
        test.check((rows[:, -2] == 1).all(), "the last but one has not exactly one row")


def hold(test, model, routing, grids):
    """Steers the model, and holds each grid against one rank. Returns the output of each."""
    edit_weights.steer(model / "weights.h5", routing, RARE)
    whole = model / f"{routing} whole"
    test.run(1, model, whole, *support.EVERYTHING, threads=2)
    check_routing(test, routing, whole)
    texts = []
    for grid in grids:
        texts.append(one_grid(test, model, whole, grid, *MICROBATCH))
    return texts


def one_grid(test, model, whole, grid, *arguments):
    out = model / f"run-{test.num_commands}"
    text = test.run(math.prod(grid), model, out, *support.grid_options(grid), *arguments,
                    *support.EVERYTHING, seconds=1200).text
    test.same(whole, out, f"{model.name} {whole.name}, {grid}")
    return text


def all_four(test, model):
    """Small microbatches in chunks, and a capacity; of the model as it was last steered."""
    whole = model / "skewed whole"
    one_grid(test, model, whole, ALL_FOUR, "--tokens-per-microbatch", 64, "--chunk-tokens", 50)
    capped = model / "skewed capacity"
    test.run(1, model, capped, *MICROBATCH, *CAPACITY, *support.EVERYTHING, threads=2)
    _, dropped = support.routing(capped)
    test.check((dropped > 0).all(), f"dropped copies: {dropped}")
    test.differ(whole, capped, "with and without a capacity")
    one_grid(test, model, capped, ALL_FOUR, *MICROBATCH, *CAPACITY)


def top_one(test, sizes):
    """Every copy goes to one expert: the rank that has it receives all, the others nothing."""
    model = test.synth("top-1", *SIZES, *sizes, "--dtype", "bf16", "--top-k", 1, "--layers", 1)
    make_inputs(model / "inputs.h5", test.options.vocab)
    text = hold(test, model, "one-expert", (EP,))[0]
    test.check("extra exchange rounds" in text, f"one round was enough:\n{text}")
    rows = rows_per_expert(model / "one-expert whole")
    test.check((rows[:, 0, 1:] == 0).all(), "another expert has rows")


def body(test):
    sizes = ("--top-k", 2, "--layers", test.options.layers, "--vocab", test.options.vocab)
    for dtype, cases in CASES.items():
        model = test.synth(dtype, *SIZES, *sizes, "--dtype", dtype)
        make_inputs(model / "inputs.h5", test.options.vocab)
        for routing, grids in cases.items():
            hold(test, model, routing, GRIDS if test.options.full else grids)
            if (dtype, routing) == ("bf16", "skewed"):
                all_four(test, model)
    top_one(test, ("--vocab", test.options.vocab))


def add_options(parser):
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4000)
    parser.add_argument("--full", action="store_true")


if __name__ == "__main__":
    support.main(body, add_options)
