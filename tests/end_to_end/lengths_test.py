"""The shortest and the longest prompts, and longer ones, whole and in chunks."""
# SPDX-License-Identifier: Apache-2.0

import math

import support
from bad_input_test import check_records

VOCAB = 96
GOOD = {1: 1, 2: 512, 3: 2, 4: 129, 5: 1}  # id -> length
BAD = {90: 513, 91: 5000}  # the model takes 512
ORDER = (90, 1, 2, 91, 3, 4, 5)

# grid; tokens of a microbatch, and of a chunk where it is not as many
CASES = (
    ((1, 1, 1, 1), ("--tokens-per-microbatch", 1)),
    ((2, 2, 2, 1), ("--tokens-per-microbatch", 16)),
    ((1, 2, 1, 2), ("--tokens-per-microbatch", 3, "--chunk-tokens", 100)),
    ((2, 1, 4, 1), ("--tokens-per-microbatch", 700, "--chunk-tokens", 511)),
)


def make_inputs(path, names):
    lengths = {**GOOD, **BAD}
    return support.write_inputs(path, [
        support.random_sequences([lengths[name]], VOCAB, name)[0] for name in names
    ], ids=names)


def check_good(test, clean, out, what):
    """The good prompts have the bits that they have without the others."""
    expected, found = support.by_id(clean), support.by_id(out)
    for name in GOOD:
        for path, bits in expected[name].items():
            if not path.startswith("sequences/"):
                test.check(found[name][path] == bits, f"{what}: {path} of {name} differs")
    for ours, theirs in zip(support.routing(out), support.routing(clean)):
        test.check((ours == theirs).all(), f"{what}: routing counts {ours}, expected {theirs}")


def body(test):
    model = test.imported("model", "qwen3-moe-c", "f32")
    clean, whole = model / "clean", model / "whole"
    weights = model / "weights.h5"
    inputs = make_inputs(model / "inputs.h5", ORDER)
    test.run(1, (weights, make_inputs(model / "good.h5", list(GOOD))), clean, *support.EVERYTHING)
    test.run(1, model, whole, *support.EVERYTHING, code=8)
    check_good(test, clean, whole, "with records")
    bad = {name: (None, 0, 3, str(length)) for name, length in BAD.items()}
    check_records(test, whole, bad)
    for grid, sizes in CASES:
        out = model / f"run-{test.num_commands}"
        test.run(math.prod(grid), (weights, inputs), out, *support.grid_options(grid), *sizes,
                 *support.EVERYTHING, code=8)
        test.same(whole, out, f"{grid}, {' '.join(map(str, sizes))}")
        check_records(test, out, bad)
    ones = make_inputs(model / "ones.h5", [1])
    test.run(1, (weights, ones), model / "one", *support.EVERYTHING)
    test.run(4, (weights, ones), model / "one of four", "--tp", 2, "--pp", 2, *support.EVERYTHING)
    test.same(model / "one", model / "one of four", "one token alone")


if __name__ == "__main__":
    support.main(body)
