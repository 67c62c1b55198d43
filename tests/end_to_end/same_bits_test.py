"""One rank is the oracle: every grid, microbatch size and number of threads gives its bits."""
# SPDX-License-Identifier: Apache-2.0

import itertools

import support

# Lengths around the attention's key blocks of 128, prime to every tp but for two; the long ones,
# and wide heads, because bf16 rounds away most of what moved blocks change.
LENGTHS = (1, 257, 3, 127, 641, 128, 2, 129, 131, 385, 5, 63, 1, 511)
GRIDS = ((2, 1), (1, 2), (1, 4), (4, 2), (8, 1), (16, 4))
TOKENS_PER_MICROBATCH = (1, 700, 8192)  # each sequence alone, some together, all together
WHOLE = ("--chunk-tokens", 8192)  # same_bits_grids has the chunks; of one token each they take long
BASE = ("--preset", "tiny", "--layers", 2, "--head-dim", 64, "--vocab", 509)

# name: sizes, grids
OTHERS = {
    "fewer kv heads than tp": (("--kv-heads", 2), ((1, 4), (2, 2), (4, 4))),
    "one kv head": (("--kv-heads", 1), ((1, 4), (4, 2))),
    "two matrices, eight shards": (("--expert-kind", "mlp", "--reduction-shards", 8, "--kv-heads",
                                    8), ((1, 8), (2, 4))),
    "all experts of a token": (("--experts", 4, "--top-k", 4), ((4, 2), (2, 4))),
    "one expert": (("--experts", 1, "--top-k", 1), ((1, 4),)),
}


def make(test, name, dtype, *sizes):
    """A model folder with these inputs; the negative controls use it as well."""
    model = test.synth(name, *BASE, "--dtype", dtype, *sizes)
    sequences = support.random_sequences(LENGTHS, 509)
    score_from = [len(sequence) // 3 for sequence in sequences]
    support.write_inputs(model / "inputs.h5", sequences, score_from=score_from)
    return model


def hold(test, model, whole, grid, number, *arguments, threads=1):
    """One run against the one-rank result `whole`."""
    ep, tp = grid
    out = model / f"run-{number}"
    test.run(ep * tp, model, out, "--ep", ep, "--tp", tp, *arguments, threads=threads)
    test.same(whole, out, f"{model.name} ep {ep} x tp {tp}, {threads} threads")


def every_grid_and_microbatch(test, dtype):
    model = make(test, dtype, dtype)
    whole = model / "whole"
    test.run(1, model, whole, *support.EVERYTHING)
    cases = [(grid, tokens) for grid, tokens in itertools.product(GRIDS, TOKENS_PER_MICROBATCH)
             if grid != (16, 4) or tokens == 700]
    for number, (grid, tokens) in enumerate(cases):
        threads = 2 if grid[0] * grid[1] <= 4 and number % 2 else 1
        hold(test, model, whole, grid, number, "--tokens-per-microbatch", tokens,
             *WHOLE, *support.EVERYTHING, threads=threads)
    one_rank = ("--tokens-per-microbatch", 700, *support.EVERYTHING)
    hold(test, model, whole, (1, 1), "threads", *one_rank, threads=2)
    for pooling in ("mean", "last"):
        arguments = (*support.EVERYTHING, "--hidden-pooling", pooling)
        whole = model / pooling
        test.run(1, model, whole, *arguments, threads=2)
        hold(test, model, whole, (2, 4), pooling, *arguments, "--tokens-per-microbatch", 700)


def other_shapes(test):
    for dtype, (name, (sizes, grids)) in itertools.product(("f32", "bf16"), OTHERS.items()):
        model = make(test, f"{name} {dtype}", dtype, *sizes)
        test.run(1, model, model / "whole", *support.EVERYTHING)
        for number, grid in enumerate(grids):
            hold(test, model, model / "whole", grid, number, "--tokens-per-microbatch", 700,
                 *support.EVERYTHING)


def body(test):
    for dtype in ("f32", "bf16"):
        every_grid_and_microbatch(test, dtype)
    other_shapes(test)


if __name__ == "__main__":
    support.main(body)
