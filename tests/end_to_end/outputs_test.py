"""Only what is asked for is computed and written, and it has the bits of a run with everything."""
# SPDX-License-Identifier: Apache-2.0

import math

import h5py

import support
from same_bits_grids_test import CAPACITY, dense_and_window, make, synthetic

GRIDS = ((1, 1, 1, 1), (1, 2, 2, 2))
CHUNKED = ("--tokens-per-microbatch", 300, "--chunk-tokens", 128)

# outputs and layers of hidden -> the datasets, or groups of them, that there must be
LOGPROBS = ("logprobs/token", "logprobs/sum", "logprobs/count", "logprobs/is_greedy")
SINGLE = {
    "logprobs": LOGPROBS,
    "topk": ("topk/ids", "topk/logprobs"),
    "last_logits": ("last_logits",),
    "hidden": ("hidden/final",),
    "hidden 1": ("hidden/01",),
    "hidden embed": ("hidden/embed",),
    "kv": ("kv",),
    "routing": ("routing/tokens_per_expert", "routing/dropped"),
    "experts": ("experts",),
}
PAIRS = {
    "logprobs,last_logits": (*LOGPROBS, "last_logits"),
    "routing,last_logits": ("routing/tokens_per_expert", "routing/dropped", "last_logits"),
    "kv,hidden 0,final": ("kv", "hidden/00", "hidden/final"),
    "topk,experts": ("topk/ids", "topk/logprobs", "experts"),
    "last_logits,hidden embed": ("last_logits", "hidden/embed"),
}
WITH_CAPACITY = ("last_logits", "routing", "hidden 1")


def output_datasets(file):
    """Path -> dataset, for all that is an output."""
    found = {}

    def visit(path, thing):
        if isinstance(thing, h5py.Dataset) and path.split("/")[0] not in ("timing", "sequences",
                                                                          "inputs"):
            found[path] = thing

    file.visititems(visit)
    return found


def is_of(path, wanted):
    return any(path == name or path.startswith(name + "/") for name in wanted)


def compare(test, whole, out, wanted, what):
    """The results have what is wanted of those with everything, bit for bit, and nothing else."""
    with h5py.File(whole / "results.h5") as left, h5py.File(out / "results.h5") as right:
        everything, found = output_datasets(left), output_datasets(right)
        test.check(found, f"{what}: no datasets")
        test.equal(sorted(found), sorted(path for path in everything if is_of(path, wanted)),
                   f"{what}: datasets")
        for path, dataset in found.items():
            mine, its = dataset[()], everything[path][()]
            test.check((mine.dtype, mine.shape) == (its.dtype, its.shape)
                       and mine.tobytes() == its.tobytes(), f"{what}: {path} differs")
    print(f"same {what}: {len(found)} datasets", flush=True)


def ask(test, model, whole, grid, asked, wanted, *arguments):
    outputs, _, layers = asked.partition(" ")
    out = model / f"run-{test.num_commands}"
    test.run(math.prod(grid), model, out, *support.grid_options(grid), "--outputs", outputs,
             *(("--hidden-layers", layers) if layers else ()), *arguments)
    compare(test, whole, out, wanted, f"{model.name} {asked}, {grid}")


def pooled(test, model):
    """Pooling of one layer alone, and of the rest with it."""
    for pooling in ("last", "mean"):
        whole = model / pooling
        test.run(1, model, whole, *support.EVERYTHING, "--hidden-pooling", pooling)
        for grid in GRIDS:
            for asked in ("hidden", "hidden 1"):
                ask(test, model, whole, grid, asked, SINGLE[asked], *CHUNKED, "--hidden-pooling",
                    pooling)
    with h5py.File(model / "whole/results.h5") as every, h5py.File(whole.parent /
                                                                   "last/results.h5") as last:
        ends = every["sequences/offsets"][1:].astype(int) - 1
        rows = every["hidden/final"][()].astype("<u4")[ends] << 16  # bf16 is half a float32
        test.check((last["hidden/final"][()].view("<u4") == rows).all(),
                   "the last rows are not what is pooled")


def body(test):
    model = make(test, dense_and_window, "bf16")
    for grid in GRIDS:
        for asked, wanted in {**SINGLE, **PAIRS}.items():
            ask(test, model, model / "whole", grid, asked, wanted, *CHUNKED)
    pooled(test, model)
    model = make(test, synthetic, "f32")
    whole = model / "capacity"
    test.run(1, model, whole, *CAPACITY, *support.EVERYTHING)
    for asked in WITH_CAPACITY:
        ask(test, model, whole, GRIDS[1], asked, SINGLE[asked], *CAPACITY)


if __name__ == "__main__":
    support.main(body)
