"""Files of version 0.1.0 (tests/data/old): read, verified, resumed, with the identities of then."""
# SPDX-License-Identifier: Apache-2.0

import tarfile

import h5py

import support

WEIGHTS_XXH3 = "b88d09b0acf7cfca"
INPUTS_XXH3 = "fef572c0d4147c81"  # of inputs.h5 and lines.jsonl


def body(test):
    with tarfile.open(support.SOURCE / "tests/data/old/files.tar.gz") as files:
        files.extractall(test.folder / "old")
    old = test.folder / "old"
    inputs = (old / "inputs.h5", "--inputs", old / "lines.jsonl")

    for name in ("weights.h5", "inputs.h5", "results.h5"):
        test.tetrarch("verify", old / name)
        test.check("format version 1" in test.tetrarch("inspect", old / name).text, name)
    test.check(WEIGHTS_XXH3 in test.tetrarch("verify", old / "weights.h5").text, "weights_xxh3")
    with h5py.File(old / "results.h5") as file:
        test.equal(file.attrs["status"], b"complete", "status, as it was written then")
        expected = file["logprobs/sum"][()]

    # the same inputs again, from the start
    whole = test.folder / "whole"
    test.run(1, (old / "weights.h5", inputs[0]), whole, *inputs[1:], code=8)
    with h5py.File(whole / "results.h5") as file:
        test.equal(file.attrs["status"], "complete", "status")
        test.equal(file.attrs["weights_xxh3"], WEIGHTS_XXH3, "weights_xxh3")
        test.equal(file.attrs["inputs_xxh3"], INPUTS_XXH3, "inputs_xxh3")
        sums = file["logprobs/sum"][:len(expected)]
        test.check(abs(sums - expected).max() < 0.05, f"sums {sums}, were {expected}")

    # the folder that was left half done, perhaps on another CPU: what it lacks is done
    half = old / "half"
    resumed = test.run(2, (old / "weights.h5", inputs[0]), half, *inputs[1:], "--allow-mixed",
                       code=8)
    test.check("1 done already" in resumed.text, resumed.text)
    test.tetrarch("verify", half)
    with h5py.File(half / "results.h5") as file, h5py.File(whole / "results.h5") as again:
        test.equal(file["sequences/status"][()].tolist(), [0] * 8 + [3, 2, 5], "status")
        difference = abs(file["logprobs/sum"][:8] - again["logprobs/sum"][:8])
        test.check(difference.max() < 2, f"sums differ by {difference}")


if __name__ == "__main__":
    support.main(body)
