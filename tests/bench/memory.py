#!/usr/bin/python3
"""Memory of a rank: planned, allocated for tensors, and largest resident memory.

    /usr/bin/python3 tests/bench/memory.py [--build build/cpu-release] [--grids 1x1,2x1,...]
        [--outputs logprobs | --everything] [--sequences 10000000 --ranks 8] [--check]
        [--folder FOLDER]

Needs the target tetrarch. Three modes:

- Default: a model of 1.2 GB (bf16; 0.3 GB per rank on 4 ranks), and one prompt of 4,096 tokens for
  each EP rank.
- --everything: a small model of 40 layers with all outputs of all layers, about 200 datasets.
- --sequences N: N prompts of one or two tokens, and a model of one layer. All ranks are measured
  together, because the ranks of a node share one copy of the labels: samples of the sum of their
  proportional shares of memory (Pss).

`base` is the resident memory before loading: program, libraries, MPI, labels of files. `beyond` is the
largest resident memory minus `base`, as a share of the plan. With --check the exit code is 1 if the
allocated bytes differ from the plan, or if the resident memory is neither within 5 % nor within 8 MiB
of the plan.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy

from prefill import REPO, output_of
from reading import SIZES

sys.path.insert(0, str(REPO / "tests/end_to_end"))
from support import EVERYTHING, descendants, environment, is_program  # noqa: E402

UNITS = {"B": 2**-20, "KiB": 2**-10, "MiB": 1.0, "GiB": 2**10}
MEMORY = re.compile(r"memory   per rank: planned (.*); tensors: planned (.*), allocated (.*) \((.*)\); "
                    r"resident: (.*) before loading, (.*) at most; open HDF5")
GRIDS = "1x1,2x1,1x2,4x1,2x2,1x4"
MANY_GRIDS = "1x1,2x1,1x2,4x1,2x2,1x4,8x1,4x2,2x4"
MANY_LAYERS = ("--layers 40 --hidden 128 --heads 8 --kv-heads 4 --head-dim 16 --experts 16 --top-k 2 "
               "--expert-ffn 64 --vocab 4096")
ONE_LAYER = ("--layers 1 --hidden 16 --heads 4 --kv-heads 4 --head-dim 4 --experts 8 --top-k 1 "
             "--expert-ffn 16 --vocab 256")
MOST_SHARE, MOST_MIB = 0.05, 8


def least_and_most(text):
    """"1.2 GiB" or "1.2 GiB to 1.4 GiB", in MiB."""
    values = [float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (\w*B)", text)]
    return min(values), max(values)


def is_close(grown, planned):
    return abs(grown / planned - 1) <= MOST_SHARE or abs(grown - planned) <= MOST_MIB


def run_grid(args, folder, grid, outputs, tokens):
    """(within bounds, a line of the table)"""
    ep, tp = map(int, grid.split("x"))
    text = output_of(
        ["bash", REPO / "tools/launch.sh", ep * tp, args.build / "app/tetrarch", "run",
         "--weights", Path(folder, "weights.h5"), "--inputs", Path(folder, "inputs.h5"),
         "--out", Path(folder, f"run-{grid}"), "--ep", ep, "--tp", tp, *outputs,
         "--tokens-per-microbatch", tokens * ep], 1, {0, 85})
    planned, tensors, allocated, alike, base, peak = MEMORY.search(text).groups()
    grown = least_and_most(peak)[1] - least_and_most(base)[1]
    most = least_and_most(planned)[1]
    line = (f"  {ep} x {tp}    {planned:<21} {tensors:<21} {allocated:<21} {alike:<24} {base:<21} "
            f"{peak:<23} {grown / most:.3f}   {grown - most:+.1f} MiB")
    return alike == "the same on every rank" and is_close(grown, most), line


def run_grids(args, folder):
    if args.everything:
        sizes, count, tokens, outputs = MANY_LAYERS, 32, 1024, EVERYTHING
    else:
        sizes, count, tokens, outputs = SIZES, 4, 4096, ("--outputs", args.outputs, "--stop-after", 1)
    output_of([args.build / "app/tetrarch", "synth", "--preset", "tiny", "--out", folder,
               "--sequences", count, "--tokens", tokens] + sizes.split(), 2)
    print("per rank, smallest to largest of the ranks\n  ep x tp  planned               tensors planned"
          "       allocated                                      base                  most resident"
          "           beyond")
    is_good = True
    for grid in (args.grids or (MANY_GRIDS if args.everything else GRIDS)).split(","):
        is_this_good, line = run_grid(args, folder, grid, outputs, tokens)
        is_good = is_good and is_this_good
        print(line, flush=True)
    return is_good


def share_mib(pid):
    """Of the memory that a process sees: pages that several see count in parts."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(r"Pss: +(\d+) kB", text).group(1)) / 1024
    except (OSError, AttributeError):
        return 0.0


def write_short_inputs(path, count):
    lengths = numpy.arange(count, dtype=numpy.uint64) % 2 + 1
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "tetrarch-inputs"
        file.attrs["format_version"] = numpy.array([1, 0], numpy.uint32)
        offsets = numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.uint64)
        file["offsets"] = offsets
        file["ids"] = numpy.arange(count, dtype=numpy.uint64)
        file["tokens"] = (numpy.arange(offsets[-1]) % 256).astype(numpy.uint32)


def most_of_all(args, folder, name):
    """(MiB of all ranks together at most, the log)"""
    program = args.build / "app/tetrarch"
    command = ["bash", REPO / "tools/launch.sh", args.ranks, program, "run", "--weights",
               Path(folder, "weights.h5"), "--inputs", Path(folder, f"{name}.h5"), "--out",
               Path(folder, f"run-{name}"), "--timing", "summary", "--tokens-per-microbatch", 65536]
    log, most = Path(folder, f"{name}.txt"), 0.0
    with open(log, "wb") as stream:
        process = subprocess.Popen(list(map(str, command)), stdout=stream,
                                   stderr=subprocess.STDOUT, env=environment(1))
        while process.poll() is None:
            ranks = [pid for pid in descendants(process.pid) if is_program(pid, program)]
            most = max(most, sum(map(share_mib, ranks)))
            time.sleep(0.1)
    text = log.read_text()
    if process.returncode != 0:
        raise SystemExit(text)
    return most, text


def run_labels(args, folder):
    output_of([args.build / "app/tetrarch", "synth", "--preset", "tiny", "--out", folder,
               "--sequences", 1, "--tokens", 4] + ONE_LAYER.split(), 2)
    most, plans = {}, {}
    for name, count in (("few", 70000), ("many", args.sequences)):
        write_short_inputs(Path(folder, f"{name}.h5"), count)
        most[name], text = most_of_all(args, folder, name)
        line = next(line for line in text.splitlines() if line.startswith("memory   "))
        planned = re.match(r"memory   ([\d.]+ \w+) per rank", line).group(1)
        plans[name] = least_and_most(planned)[1] * args.ranks
        print(f"{count:>11,} sequences on {args.ranks} ranks: at most {most[name]:.0f} MiB together\n"
              f"  {line}", flush=True)
    grown, planned = most["many"] - most["few"], plans["many"] - plans["few"]
    print(f"growth from the few to the many: {grown:.0f} MiB, planned {planned:.0f} MiB (the plan of "
          f"the rank that needs most, times the ranks): {grown / planned:.3f}")
    return grown <= planned * (1 + MOST_SHARE) + MOST_MIB


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=REPO / "build/cpu-release")
    parser.add_argument("--grids")
    parser.add_argument("--outputs", default="logprobs")
    parser.add_argument("--everything", action="store_true")
    parser.add_argument("--sequences", type=int)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        is_good = run_labels(args, folder) if args.sequences else run_grids(args, folder)
    if args.check and not is_good:
        raise SystemExit("FAILED: allocated bytes or resident memory differ from the plan")


if __name__ == "__main__":
    main()
