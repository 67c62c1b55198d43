#!/usr/bin/python3
"""Memory of a rank: tensors planned, tensors allocated, and the most that was resident.

    /usr/bin/python3 tests/bench/memory.py [--build build/cpu-release] [--grids 1x1,2x1,...]
        [--outputs logprobs] [--check] [--folder FOLDER]

Needs the target tetrarch. A model of 1.2 GB (bf16), or 0.3 GB a rank at 4 ranks, and one prompt of
4,096 tokens for each EP rank. The base is what is resident before loading: program, libraries, MPI,
labels of files. `beyond` is the largest resident memory without it, as a share of the plan. With
--check, other bytes than planned or more than 1.10 are exit code 1.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import re
import tempfile
from pathlib import Path

from prefill import REPO, output_of
from reading import SIZES

UNITS = {"B": 2**-20, "KiB": 2**-10, "MiB": 1.0, "GiB": 2**10}
MEMORY = re.compile(r"memory   of a rank: tensors planned (.*), allocated (.*) \((.*)\); resident "
                    r"(.*) before loading, at most (.*); HDF5")


def least_and_most(text):
    """"1.2 GiB" or "1.2 GiB to 1.4 GiB", in MiB."""
    values = [float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (\w*B)", text)]
    return min(values), max(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=REPO / "build/cpu-release")
    parser.add_argument("--grids", default="1x1,2x1,1x2,4x1,2x2,1x4")
    parser.add_argument("--outputs", default="logprobs")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    is_good = True
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        output_of([args.build / "app/tetrarch", "synth", "--preset", "tiny", "--out", folder,
                   "--sequences", 4, "--tokens", 4096] + SIZES.split(), 2)
        print("MiB a rank, least to most over the ranks\n  ep x tp  tensors planned       allocated"
              "                        base                  most resident         beyond")
        for grid in args.grids.split(","):
            ep, tp = map(int, grid.split("x"))
            text = output_of(
                ["bash", REPO / "tools/launch.sh", ep * tp, args.build / "app/tetrarch", "run",
                 "--weights", Path(folder, "weights.h5"), "--inputs", Path(folder, "inputs.h5"),
                 "--out", Path(folder, f"run-{grid}"), "--ep", ep, "--tp", tp, "--outputs",
                 args.outputs, "--tokens-per-microbatch", 4096 * ep, "--stop-after", 1], 1, {0, 85})
            planned, allocated, alike, base, peak = MEMORY.search(text).groups()
            beyond = ((least_and_most(peak)[1] - least_and_most(base)[1])
                      / least_and_most(planned)[1])
            is_good = is_good and alike == "the same on every rank" and beyond <= 1.10
            print(f"  {ep} x {tp}    {planned:<21} {allocated:<13} {alike:<24} {base:<21} {peak:<21} "
                  f"{beyond:.3f}", flush=True)
    if args.check and not is_good:
        raise SystemExit("FAILED other bytes than planned, or more than 1.10 of the plan")


if __name__ == "__main__":
    main()
