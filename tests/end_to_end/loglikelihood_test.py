"""Sums of log-probs from score_from on are transformers' loglikelihood of the continuations."""
# SPDX-License-Identifier: Apache-2.0

import h5py
import numpy

import support

GOLDEN = support.SOURCE / "tests/data/goldens/qwen3-moe-a"
GRIDS = {1: (), 4: ("--ep", 2, "--tp", 2)}
# A log-prob of the float32 engine is held to 1e-4 of the largest of its sequence
# (tools/check_golden.py); of a sum of them, likewise relative to the sum, and never below 1e-4.
LIMIT = 1e-4


def check_scores(test, pairs, results, what):
    found, expected = results["logprobs/sum"][()], pairs["sum"][()]
    errors = numpy.abs(found - expected) / numpy.maximum(1.0, numpy.abs(expected))
    worst = int(numpy.argmax(errors))
    test.check(errors[worst] <= LIMIT, f"{what}: sum of pair {worst} is {found[worst]}, expected "
                                       f"{expected[worst]}")
    for name in ("count", "is_greedy"):
        different = numpy.nonzero(results[f"logprobs/{name}"][()] != pairs[name][()])[0]
        test.check(len(different) == 0, f"{what}: {name} differs for the pairs {different}")
    print(f"{what}: {len(expected)} pairs, largest error of a sum {errors[worst]:.1e}")


def body(test):
    weights = test.folder / "weights.h5"
    test.tetrarch("import", "--from", GOLDEN / "model", "--out", weights, "--dtype", "f32")
    with h5py.File(GOLDEN / "loglikelihood.h5", "r") as pairs:
        offsets, tokens = pairs["offsets"][()].astype(int), pairs["tokens"][()]
        sequences = [tokens[begin:end] for begin, end in zip(offsets[:-1], offsets[1:])]
        greedy = pairs["is_greedy"][()].mean()
        test.check(len(sequences) == 200 and 0.3 < greedy < 0.7,
                   f"{len(sequences)} pairs, {greedy:.0%} of them greedy, expected 200 and half")
        inputs = support.write_inputs(test.folder / "inputs.h5", sequences,
                                      score_from=pairs["score_from"][()])
        for num_ranks, grid in GRIDS.items():
            out = test.folder / f"run-{num_ranks}"
            test.run(num_ranks, (weights, inputs), out, *grid, "--tokens-per-microbatch", 512)
            with h5py.File(out / "results.h5", "r") as results:
                check_scores(test, pairs, results, f"{num_ranks} ranks")


if __name__ == "__main__":
    support.main(body)
