"""Checkpoints as transformers itself writes them are imported, and give its log-probs."""
# SPDX-License-Identifier: Apache-2.0

import json
import tarfile

import h5py

import support

WRITERS = support.SOURCE / "tests/data/writers"
TOLERANCE = 1e-4  # of the sum


def body(test):
    for archive in sorted(WRITERS.glob("transformers-*.tar.gz")):
        with tarfile.open(archive) as files:
            files.extractall(test.folder / archive.name.removesuffix(".tar.gz"))
    folders = sorted(path.parent for path in test.folder.glob("transformers-*/*/expected.json"))
    test.check(len(folders) >= 10, f"{len(folders)} checkpoints, expected 10 at least")
    for folder in folders:
        name = f"{folder.parent.name}-{folder.name}"
        expected = json.loads((folder / "expected.json").read_text())
        weights = test.folder / f"{name}.h5"
        test.tetrarch("import", "--from", folder, "--out", weights, "--dtype", "f32")
        inputs = support.write_inputs(test.folder / f"{name}-inputs.h5", expected["sequences"])
        test.run(1, (weights, inputs), test.folder / name)
        with h5py.File(test.folder / name / "results.h5", "r") as file:
            sums = file["logprobs/sum"][()]
        for found, right in zip(sums, expected["logprob_sums"], strict=True):
            test.check(abs(found - right) <= TOLERANCE * abs(right),
                       f"{name}: sum {found}, expected {right}")
        print(f"same {name}: {sums.tolist()}", flush=True)


if __name__ == "__main__":
    support.main(body)
