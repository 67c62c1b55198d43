"""Runs of imported checkpoints hold against goldens made with Hugging Face transformers.

One rank and four must also give the same bits.
"""
# SPDX-License-Identifier: Apache-2.0

import support

GRIDS = {1: (), 4: ("--ep", 2, "--tp", 2)}


def body(test):
    goldens = sorted((support.SOURCE / "tests/data/goldens").iterdir())
    test.check(len(goldens) >= 8, f"{len(goldens)} goldens, expected 8 at least")
    for golden in goldens:
        for mode in ("--self-test", "--reference"):
            test.tool("check_golden.py", golden, mode)
        folder = test.folder / golden.name
        folder.mkdir()
        test.tool("check_golden.py", golden, "--make-inputs", folder / "inputs.h5")
        for dtype in ("f32", "bf16"):
            weights = folder / f"{dtype}.h5"
            test.tetrarch("import", "--from", golden / "model", "--out", weights, "--dtype", dtype)
            for num_ranks, grid in GRIDS.items():
                out = folder / f"{dtype}-{num_ranks}"
                test.run(num_ranks, (weights, folder / "inputs.h5"), out, *grid,
                         *support.EVERYTHING)
                held = test.tool("check_golden.py", golden, out / "results.h5")
                print(f"{golden.name} {dtype}, {num_ranks} ranks: {held.text.strip()}")
            one, four = (folder / f"{dtype}-{num_ranks}" for num_ranks in GRIDS)
            test.same(one, four, f"{golden.name} {dtype}")


if __name__ == "__main__":
    support.main(body)
