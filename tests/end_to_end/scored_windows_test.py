"""Sequences of max_position + 1 tokens, whose last token is scored and never fed.

lm-eval's loglikelihood_rolling makes such windows. Their log-probs are those of a model that takes
one position more, for that has the same weights and rotates the positions alike.
"""
# SPDX-License-Identifier: Apache-2.0

import json
import math

import h5py
import numpy

import support

MOST = 48  # the model's max_position
LENGTHS = (MOST, MOST + 1, 1, 2, MOST + 1, MOST + 2, 17)

# grid; tokens of a microbatch, and of a chunk where it is not as many
CASES = (
    ((1, 1, 1, 1), ("--tokens-per-microbatch", 1)),
    ((1, 1, 2, 2), ("--tokens-per-microbatch", MOST)),
    ((2, 2, 1, 1), ("--tokens-per-microbatch", MOST + 1, "--chunk-tokens", MOST)),
    ((1, 2, 1, 2), ("--tokens-per-microbatch", 200, "--chunk-tokens", 13)),
    ((2, 1, 2, 1), ("--tokens-per-microbatch", 200, "--chunk-tokens", MOST - 1)),
)


def with_max_position(test, model, most):
    """The same weights under another limit."""
    folder = test.copy(model, f"most-{most}")
    golden = support.SOURCE / "tests/data/goldens/qwen3-moe-a/model/config.json"
    config = folder / "checkpoint/config.json"
    config.write_text(json.dumps({**json.loads(golden.read_text()),
                                  "max_position_embeddings": most}))
    (folder / "weights.h5").unlink()
    test.tetrarch("import", "--from", folder / "checkpoint", "--out", folder / "weights.h5",
                  "--dtype", "f32")
    return folder


def body(test):
    wide = test.imported("wide", "qwen3-moe-a", "f32")
    model = with_max_position(test, wide, MOST)
    sequences = support.random_sequences(LENGTHS, 96)
    score_from = [0, 30, 0, 0, MOST, 0, 0]
    inputs = support.write_inputs(test.folder / "inputs.h5", sequences, score_from=score_from)
    expected, found = test.folder / "expected", test.folder / "found"
    test.run(1, (wide / "weights.h5", inputs), expected)

    result = test.run(1, (model / "weights.h5", inputs), found, code=8)

    fed = sum(min(length, MOST) for length in LENGTHS if length < MOST + 2)
    test.check(f"{fed} tokens" in result.text, f"tokens that pass the layers: {result.text}")
    with h5py.File(found / "results.h5") as ours, h5py.File(expected / "results.h5") as theirs:
        offsets = theirs["sequences/offsets"][()].astype(int)
        test.equal(ours["sequences/offsets"][()].tolist(), offsets.tolist(), "offsets")
        test.equal(ours["sequences/status"][()].tolist(), [0, 0, 0, 0, 0, 3, 0], "status")
        test.equal(ours["logprobs/count"][1:5].tolist(), [MOST + 1 - 30, 0, 1, 1], "count")
        good = [i for i in range(len(LENGTHS)) if i != 5]
        for name in ("sum", "count", "is_greedy"):
            test.check((ours[f"logprobs/{name}"][()] == theirs[f"logprobs/{name}"][()])[good].all(),
                       f"{name}: {ours[f'logprobs/{name}'][()]}")
        for i in good:
            mine, other = (file["logprobs/token"][offsets[i]:offsets[i + 1]]
                           for file in (ours, theirs))
            test.check(numpy.array_equal(mine, other, equal_nan=True), f"log-probs of sequence {i}")
    test.tetrarch("verify", found)

    for grid, sizes in CASES:
        out = test.folder / f"run-{test.num_commands}"
        test.run(math.prod(grid), (model / "weights.h5", inputs), out,
                 *support.grid_options(grid), *sizes, code=8)
        test.same(found, out, f"{grid}, {' '.join(map(str, sizes))}")

    # stopped and resumed, and merged without the command
    out = test.folder / "resumed"
    halves = ("--tokens-per-microbatch", 1, "--commit-interval", 0)
    test.run(1, (model / "weights.h5", inputs), out, *halves, "--stop-after", "1e-6", code=85)
    test.run(2, (model / "weights.h5", inputs), out, *halves, "--keep-parts", code=8)
    test.same(found, out, "resumed")
    (out / "results.h5").unlink()
    test.tetrarch("merge", out)
    test.same(found, out, "merged from the folder alone")

    # whoever wants more than log-probs needs the last row as well
    for outputs in ("logprobs,topk", "logprobs,hidden", "last_logits", "logprobs,routing"):
        out = test.folder / outputs
        test.run(1, (model / "weights.h5", inputs), out, "--outputs", outputs, code=8)
        with h5py.File(out / "results.h5") as file:
            test.equal(file["sequences/status"][()].tolist(), [0, 3, 0, 0, 3, 3, 0], outputs)
            error = file["sequences/error"][1].decode()
            test.check(f"{MOST + 1} tokens, max_position is {MOST}" in error
                       and f"set max_length to {MOST - 1}" in error, error)
            test.equal(file["sequences/error"][5].decode(),
                       f"{MOST + 2} tokens, max_position is {MOST}", "the error of one longer")


if __name__ == "__main__":
    support.main(body)
