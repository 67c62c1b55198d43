"""What `run` looks at before it loads: another vocabulary, a folder of something else, top-k."""
# SPDX-License-Identifier: Apache-2.0

import json

import h5py
import numpy

import support
from bad_input_test import SECONDS, VOCAB, refused


def another_vocabulary(test, model):
    """Of which no sequence fits the model; one that does makes records of the others."""
    weights = model / "weights.h5"
    foreign = [[1, 2, 151643], [600], []]
    path = support.write_inputs(test.folder / "foreign.h5", foreign)
    lines = test.folder / "foreign.jsonl"
    lines.write_text("".join(json.dumps({"id": i, "tokens": tokens}) + "\n"
                             for i, tokens in enumerate(foreign[:2])))
    for inputs in (path, lines):
        for num_ranks, more in ((0, ()), (4, ()), (0, ("--dry-run",))):
            out = test.folder / f"foreign-{test.num_commands}"
            refused(test, "another vocabulary", 3, num_ranks, (weights, inputs), *more, out=out,
                    words=("every sequence", "the largest id is 151643", f"vocab_size is {VOCAB}"))
            test.check(not out.exists(), "a run folder for inputs of another vocabulary")
    path = support.write_inputs(test.folder / "nearly.h5", [*foreign, [1, 2]])
    test.run(1, (weights, path), test.folder / "nearly", code=8, seconds=SECONDS)


def foreign_folder(test, model):
    """--out names a folder of something else: nothing is written there."""
    for number, names in enumerate((("config.json",), ("model.safetensors", "log.txt", "a", "b"),
                                    (".hidden",))):
        out = test.folder / f"checkpoint-{number}"
        out.mkdir()
        for name in names:
            (out / name).write_text("mine")
        for num_ranks, more in ((0, ()), (4, ()), (0, ("--dry-run",))):
            refused(test, "a folder that is not empty", 2, num_ranks, model, *more, out=out,
                    words=(out, "no run folder", sorted(names)[0], "--out"))
        test.equal(sorted(entry.name for entry in out.iterdir()), sorted(names), "the folder")
    refused(test, "a preset into such a folder", 2, 0, ("synth:tiny", model / "inputs.h5"),
            out=out, words=("no run folder",))
    empty = test.folder / "empty-out"
    empty.mkdir()
    test.run(4, model, empty, seconds=SECONDS)
    test.run(4, model, empty, seconds=SECONDS)  # it is a run folder now


def whole_vocabulary(test, model):
    """--top-k-logprobs of all tokens: the same bits on any grid, a distribution in each row."""
    inputs = support.write_inputs(test.folder / "few.h5",
                                  support.random_sequences((5, 1, 30), VOCAB))
    most = ("--outputs", "topk,logprobs", "--top-k-logprobs", VOCAB)
    whole = test.folder / "topk-1"
    test.run(1, (model / "weights.h5", inputs), whole, *most)
    for grid in ((1, 1, 1, 4), (1, 1, 4, 1), (2, 2, 1, 1)):
        out = test.folder / f"topk-{test.num_commands}"
        test.run(4, (model / "weights.h5", inputs), out, *support.grid_options(grid), *most)
        test.same(whole, out, f"all of the vocabulary, {grid}")
    test.tetrarch("verify", whole)
    with h5py.File(whole / "results.h5") as file:
        ids, logprobs = file["topk/ids"][()], file["topk/logprobs"][()]
        test.check((numpy.sort(ids, axis=1) == numpy.arange(VOCAB)).all(), "each token once")
        sums = numpy.exp(logprobs.astype(float)).sum(axis=1)
        test.check(abs(sums - 1).max() < 1e-5, f"probabilities add up to {sums}")
    refused(test, "more than the vocabulary", 2, 0, model, "--outputs", "topk",
            "--top-k-logprobs", VOCAB + 1, words=(VOCAB + 1, f"Use 1 to {VOCAB}"))


def body(test):
    model = test.synth("model", "--preset", "tiny", "--layers", 2, "--dtype", "f32")
    for case in (another_vocabulary, foreign_folder, whole_vocabulary):
        case(test, model)


if __name__ == "__main__":
    support.main(body)
