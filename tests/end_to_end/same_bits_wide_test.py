"""Same bits at real widths, where experts get many tokens, one, or none.

    same_bits_wide_test.py PROGRAM [--layers 2] [--vocab 4000] [--full]

--full holds every case in both dtypes on every grid; --layers 8 --vocab 32000 is the whole model.
"""
# SPDX-License-Identifier: Apache-2.0

import h5py
import numpy

import support

import edit_weights  # of tools/

SIZES = ("--hidden", 1024, "--heads", 16, "--kv-heads", 4, "--head-dim", 64, "--experts", 16,
         "--expert-ffn", 1792)
NUM_EXPERTS = 16
LENGTHS = (257, 1, 67, 130, 33)
RARE = 0  # token id that stands once in the inputs
GRIDS = ((4, 2), (1, 4), (16, 4))
MICROBATCH = ("--tokens-per-microbatch", 256)

# routing -> grids of a run that is not --full
CASES = {
    "bf16": {"skewed": ((4, 2), (16, 4)), "rare": ((4, 2),), "one-expert": ((4, 2),)},
    "f32": {"skewed": ((1, 4),), "rare": ((4, 2),), "one-expert": ((1, 4),)},
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
    for ep, tp in grids:
        out = model / f"{routing} {ep} {tp}"
        texts.append(test.run(ep * tp, model, out, "--ep", ep, "--tp", tp, *MICROBATCH,
                              *support.EVERYTHING, seconds=1200).text)
        test.same(whole, out, f"{model.name} {routing} ep {ep} x tp {tp}")
    return texts


def top_one(test, sizes):
    """Every copy goes to one expert: the rank that has it receives all, the others nothing."""
    model = test.synth("top-1", *SIZES, *sizes, "--dtype", "bf16", "--top-k", 1, "--layers", 1)
    make_inputs(model / "inputs.h5", test.options.vocab)
    text = hold(test, model, "one-expert", ((4, 2),))[0]
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
    top_one(test, ("--vocab", test.options.vocab))


def add_options(parser):
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4000)
    parser.add_argument("--full", action="store_true")


if __name__ == "__main__":
    support.main(body, add_options)
