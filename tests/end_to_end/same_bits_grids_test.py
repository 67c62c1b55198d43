"""Instances, pipeline stages, chunks and capacities give the bits of one rank as well."""
# SPDX-License-Identifier: Apache-2.0

import math

import support

GRIDS = ((1, 2, 1, 1), (1, 4, 2, 1), (1, 2, 2, 2), (2, 1, 2, 2), (2, 2, 2, 2), (4, 1, 1, 2))
# Around the key blocks of 128 and the window; at most what the imported models take.
LENGTHS = (1, 257, 3, 127, 385, 128, 2, 129, 5, 63, 1, 300)
TOKENS_PER_MICROBATCH = (1, 300, 8192)  # each sequence alone, some together, all together
CHUNK_TOKENS = (37, 128, 8192)  # across key blocks, at their ends, not at all
CAPACITY = ("--capacity-factor", 1.0, "--tokens-per-microbatch", 300)
VOCAB = 96

SIZES = ("--preset", "tiny", "--layers", 4, "--head-dim", 64, "--vocab", VOCAB)
WINDOW = {"use_sliding_window": True, "sliding_window": 40}


def synthetic(test, dtype):
    return test.synth(f"tiny {dtype}", *SIZES, "--dtype", dtype)


def dense_and_window(test, dtype):
    """Dense layers, norms of queries and keys, a window, scaled rotation, 2 key-value heads."""
    return test.imported(f"dense-and-window {dtype}", "qwen3-moe-c", dtype, **WINDOW)


def tied(test, dtype):
    """Three layers, one of them dense; the first and the last stage both hold the embedding."""
    return test.imported(f"tied {dtype}", "qwen3-moe-b", dtype, **WINDOW)


def make(test, maker, dtype):
    """A model folder with inputs, and the results of one rank."""
    model = maker(test, dtype)
    sequences = support.random_sequences(LENGTHS, VOCAB)
    support.write_inputs(model / "inputs.h5", sequences,
                         score_from=[len(sequence) // 3 for sequence in sequences])
    test.run(1, model, model / "whole", *support.EVERYTHING, threads=2)
    return model


def hold(test, model, whole, grid, *arguments):
    """One run against the one-rank result `whole`."""
    out = model / f"run-{test.num_commands}"
    test.run(math.prod(grid), model, out, *support.grid_options(grid), *arguments,
             *support.EVERYTHING)
    test.same(whole, out, f"{model.name}, {grid}, {' '.join(map(str, arguments))}")


def pairs(number):
    """For each grid a microbatch size and a chunk size; in four numbers four pairs for each."""
    for at, grid in enumerate(GRIDS):
        tokens = TOKENS_PER_MICROBATCH[(at + number) % 3]
        chunk = CHUNK_TOKENS[(at + 2 * number + number // 3) % 3]
        yield grid, ("--tokens-per-microbatch", tokens, "--chunk-tokens", chunk)


def capacity(test, model, grids):
    """Copies are dropped, and the same ones on every grid."""
    whole = model / "capacity"
    test.run(1, model, whole, *CAPACITY, *support.EVERYTHING)
    sent, dropped = support.routing(whole)
    all_sent, none = support.routing(model / "whole")
    test.check(not none.any(), f"{model.name}: {none} copies dropped without a capacity")
    test.check((dropped[all_sent.any(axis=1)] > 0).all(), f"{model.name}: dropped {dropped}")
    test.check((sent.sum(axis=1) + dropped == all_sent.sum(axis=1)).all(),
               f"{model.name}: {sent.sum(axis=1)} sent + {dropped} dropped copies, expected "
               f"{all_sent.sum(axis=1)}")
    test.differ(model / "whole", whole, f"{model.name}, with and without a capacity")
    for grid in grids:
        hold(test, model, whole, grid, *CAPACITY)


def body(test):
    number = 0
    for dtype in ("bf16", "f32"):
        for maker in (synthetic, dense_and_window):
            model = make(test, maker, dtype)
            for grid, sizes in pairs(number):
                hold(test, model, model / "whole", grid, *sizes)
            capacity(test, model, GRIDS if number in (0, 3) else ())
            number += 1
    model = make(test, tied, "bf16")
    for grid, sizes in list(pairs(0))[2:5]:
        hold(test, model, model / "whole", grid, *sizes)


if __name__ == "__main__":
    support.main(body)
