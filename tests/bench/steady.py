#!/usr/bin/python3
"""Checks that a long run does not grow: resident memory over the number of finished microbatches.

    /usr/bin/python3 tests/bench/steady.py [PROGRAM] [--ranks 1,4] [--microbatches 10000]
        [--warm-up 2000] [--limit BYTES] [--threads 1] [--folder FOLDER]

A tiny model, with microbatches of a few short sequences of many lengths. /proc/PID/statm of every rank
is sampled. A straight line through the samples after the warm-up gives the growth in bytes per
microbatch; the rank that grows most is shown. The numbers of open HDF5 objects after the first and
after the last commit are those in the log. With --limit the exit code is 1 if memory grows faster, or
if the two numbers of objects differ.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests/end_to_end"))
from support import descendants, environment, is_program, write_inputs  # noqa: E402

TOKENS = 64       # of a microbatch
DONE = re.compile(r"([\d,]+)/[\d,]+ sequences")
OBJECTS = re.compile(r"open HDF5 objects of all ranks: (\d+) after the first commit, "
                     r"(\d+) after the last")


def short_sequences(microbatches):
    """Sequences of 3 to 30 tokens that fill about as many microbatches."""
    random = numpy.random.default_rng(1)
    sequences, filled = [], 0
    while filled < microbatches * TOKENS * 0.9:
        length = int(random.integers(3, 31))
        sequences.append(random.integers(0, 512, length).tolist())
        filled += length
    return sequences


def resident_bytes(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def sample(program, command, threads, log):
    """[(sequences done, [resident bytes of each rank])], by reading the growing log."""
    samples = []
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT,
                                   env=environment(threads))
        ranks = []
        while process.poll() is None:
            time.sleep(0.05)
            done = DONE.findall(Path(log).read_text(errors="replace"))
            if not done:
                continue
            ranks = ranks or sorted(p for p in descendants(process.pid) if is_program(p, program))
            resident = [resident_bytes(pid) for pid in ranks]
            number = int(done[-1].replace(",", ""))
            if all(resident) and (not samples or samples[-1][0] != number):
                samples.append((number, resident))
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{Path(log).read_text()}")
    return samples


def measure(args, ranks, model, inputs, num_sequences, folder):
    """(bytes per microbatch of the rank that grows most, a line about it, are the objects as before)"""
    command = ["bash", REPO / "tools/launch.sh", ranks, args.program, "run", "--weights",
               model / "weights.h5", "--inputs", inputs, "--out", folder / f"run-{ranks}",
               "--tokens-per-microbatch", TOKENS, "--progress-interval", 0.05, "--commit-interval", 1,
               "--outputs", args.outputs, "--ep", min(ranks, 2), "--tp", max(1, ranks // 2)]
    log = folder / f"log-{ranks}.txt"
    samples = sample(args.program, list(map(str, command)), args.threads, log)
    text = log.read_text()
    microbatches = int(re.search(r"([\d,]+) microbatches", text).group(1).replace(",", ""))
    at = numpy.array([number for number, _ in samples]) * microbatches / num_sequences
    resident = numpy.array([bytes_ for _, bytes_ in samples])
    late = at > args.warm_up
    if late.sum() < 5:
        raise SystemExit(f"only {late.sum()} samples after the warm-up. Use a larger --microbatches.")
    slopes = [numpy.polyfit(at[late], column, 1)[0] for column in resident[late].T]
    begin, end = map(int, OBJECTS.search(text).groups())
    line = (f"{ranks:>5} {microbatches:>12} {late.sum():>8} {resident[late][0].max() / 2**20:>10.1f} "
            f"{resident.max() / 2**20:>10.1f} {max(slopes):>18.0f} {begin:>8} {end:>6}")
    return max(slopes), line, begin == end


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path, nargs="?",
                        default=REPO / "build/cpu-release/app/tetrarch")
    parser.add_argument("--ranks", default="1,4")
    parser.add_argument("--microbatches", type=int, default=10000)
    parser.add_argument("--warm-up", type=int, default=2000,
                        help="microbatches at the start that do not count")
    parser.add_argument("--outputs", default="logprobs,hidden")
    parser.add_argument("--limit", type=float, help="largest growth in bytes per microbatch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    is_steady = True
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        subprocess.run([args.program, "synth", "--preset", "tiny", "--out", folder / "model",
                        "--layers", "2"], check=True, stdout=subprocess.DEVNULL)
        sequences = short_sequences(args.microbatches)
        inputs = write_inputs(folder / "inputs.h5", sequences)
        print(f"{'ranks':>5} {'microbatches':>12} {'samples':>8} {'warm MiB':>10} {'most MiB':>10} "
              f"{'bytes a microbatch':>18} {'objects':>8} {'end':>6}")
        for ranks in map(int, args.ranks.split(",")):
            slope, line, has_same_objects = measure(args, ranks, folder / "model", inputs,
                                                    len(sequences), folder)
            print(line, flush=True)
            is_steady = is_steady and has_same_objects and slope <= (args.limit or numpy.inf)
    if args.limit and not is_steady:
        raise SystemExit(f"FAILED: memory grows by more than {args.limit:.0f} bytes per microbatch, or "
                         "HDF5 objects were left open")


if __name__ == "__main__":
    main()
