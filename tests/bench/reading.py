#!/usr/bin/python3
"""Cost of reading and verifying weights: bytes compared with the file's size, speed compared with pread.

    /usr/bin/python3 tests/bench/reading.py [--build build/cpu-release] [--rounds 3] [--cold]
        [--weights FILE] [--folder FOLDER]

Needs the targets tetrarch and pread_bench. First a model of 1.2 GB is read on several grids. `file`:
bytes of weights.h5 that all ranks read while loading, as the program counts them. `all reads`: bytes
that all ranks read from start to end, as the system counts them; each rank also reads its program
file, libraries and inputs. Both are shares of the file's size.

Then one rank with one thread and with two takes turns with pread_bench (pread and XXH3 of the same
file, in the page cache): speed of reading and verifying, and of packing. --cold removes the file from
the page cache before each run. Nothing is checked here; the aims are: `file` at most 1.01, and reading
and verifying at least 80 % of the speed of pread_bench.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prefill import REPO, output_of

sys.path.insert(0, str(REPO / "tests/end_to_end"))
from support import descendants, environment, is_program  # noqa: E402

SIZES = ("--layers 8 --hidden 1024 --heads 16 --kv-heads 4 --head-dim 64 --experts 16 --top-k 2 "
         "--expert-ffn 1408 --vocab 32000")
GRIDS = ((1, 1, 1), (1, 4, 1), (1, 2, 2), (1, 1, 4), (2, 1, 1), (2, 2, 1), (4, 1, 1), (4, 1, 2))
LOADED = re.compile(r"loaded   ([\d,]+) bytes read by all ranks in .*")
STEP = r"{} [^(]*\(([\d.]+) GB/s\)"


def evict(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_read(pid):
    try:
        return int(re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text()).group(1))
    except (OSError, AttributeError):
        return 0


def load(args, out, dp, ep, tp, threads):
    """(bytes of the file, bytes that the ranks read by the system's count, the log's line)"""
    if args.cold:
        evict(args.weights)
    program = args.build / "app/tetrarch"
    command = ["bash", REPO / "tools/launch.sh", dp * ep * tp, program, "run", "--weights", args.weights,
               "--inputs", args.inputs, "--out", out, "--dp", dp, "--ep", ep, "--tp", tp]
    log = Path(f"{out}.txt")
    with open(log, "wb") as stream:
        process = subprocess.Popen(list(map(str, command)), stdout=stream, stderr=subprocess.STDOUT,
                                   env=environment(threads))
        counts = {}
        while process.poll() is None:
            time.sleep(0.02)
            for pid in descendants(process.pid):
                if is_program(pid, program):
                    counts[pid] = max(counts.get(pid, 0), bytes_read(pid))
    text = log.read_text()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{text}")
    line = LOADED.search(text)
    return int(line.group(1).replace(",", "")), sum(counts.values()), line.group(0)


def rate(name, line):
    return float(re.search(STEP.format(name), line).group(1))


def both(line):
    """GB/s of reading and verifying one after the other."""
    return 1 / (1 / rate("reading", line) + 1 / rate("verifying", line))


def shown(values):
    return f"{statistics.median(values):6.2f} [{min(values):.2f}..{max(values):.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=REPO / "build/cpu-release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only-speed", action="store_true")
    parser.add_argument("--only-bytes", action="store_true")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.weights is None:
            output_of([args.build / "app/tetrarch", "synth", "--preset", "tiny", "--out", folder,
                       "--sequences", 1, "--tokens", 4] + SIZES.split(), 2)
            args.weights = Path(folder, "weights.h5")
        args.inputs = args.weights.parent / "inputs.h5"
        size = args.weights.stat().st_size
        print(f"weights.h5 of {size:,} bytes")
        if not args.only_speed:
            print(f"{'dp':>3} {'ep':>3} {'tp':>3} {'file':>8} {'all reads':>10}")
            for dp, ep, tp in GRIDS:
                file, all_reads, _ = load(args, Path(folder, f"run-{dp}-{ep}-{tp}"), dp, ep, tp, 1)
                print(f"{dp:>3} {ep:>3} {tp:>3} {file / size:>8.5f} {all_reads / size:>10.5f}", flush=True)
        for threads in () if args.only_bytes else (1, 2):
            ceilings, reads, packs = [], [], []
            for number in range(args.rounds):
                if args.cold:
                    evict(args.weights)
                text = output_of([args.build / "tests/storage/pread_bench", args.weights, threads], threads)
                ceilings.append(float(re.search(r"([\d.]+) GB/s", text).group(1)))
                line = load(args, Path(folder, f"speed-{threads}-{number}"), 1, 1, 1, threads)[2]
                reads.append(both(line))
                packs.append(rate("packing", line))
            shares = [100 * a / b for a, b in zip(reads, ceilings)]
            print(f"{threads} thread{'s' * (threads > 1)}, GB/s: pread and XXH3 {shown(ceilings)}   "
                  f"reading and verifying {shown(reads)}, {shown(shares)} %   packing {shown(packs)}",
                  flush=True)


if __name__ == "__main__":
    main()
