#!/usr/bin/python3
"""Shows in which phases more ranks need more core-seconds than one rank, for the same prompts.

    /usr/bin/python3 tests/bench/overhead.py [--build build/cpu-release] [--grids 2x1,2x2,4x4,16x4]
        [--preset tetrarch-64-mini] [--sequences 64] [--tokens 128] [--folder FOLDER]

Needs the target tetrarch. Grids are ep x tp; one rank (1x1) is always measured too. One rank has one
thread per core; each of N ranks has cores / N threads, at least one.

The log of each run ends with a table of phases. The CPU seconds of all ranks by phase, and "idle", add
up to cores x wall time of the run. "idle" is the time of cores that nobody used or that other programs
used. The rows show the difference from the run on one rank. They add up to the difference of
cores x wall time. A run whose own table does not add up is an error.

All runs have --timing layers: ranks meet before each exchange, so that waiting for the last rank and
moving bytes are counted separately. A waiting rank polls and yields its core between the polls; this
counts as CPU time.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import math
import os
import re
import subprocess
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ROUNDING = 0.0005  # of a number in the table of a run


def output_of(command, threads=1):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(word) for word in command], env=environment, text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


class Run:
    """The table in the log of one run: seconds of the average rank by phase, and the sums."""

    def __init__(self, num_ranks, cores, text):
        self.num_ranks, self.cores = num_ranks, cores
        table = text[text.index("\nsection "):].splitlines()[2:]
        self.rows, self.percent = {}, 0.0
        for line in table:
            name, *numbers = line.replace("%", "").split()
            if name == "sum":
                self.wall, self.percent = float(numbers[0]), float(numbers[1])
                break
            _, average, _, _, _, cpu, waiting, moving = map(float, numbers)
            self.rows[name] = {"seconds": average, "cpu": cpu * num_ranks, "wait": waiting,
                               "move": moving}
        self.doing = {name: float(number) for number, name in re.findall(
            r"([\d.]+) s (working|waiting|moving)", text)}
        self.prove(num_ranks)

    def prove(self, num_ranks):
        seconds = sum(row["seconds"] for row in self.rows.values())
        cpu = sum(row["cpu"] for row in self.rows.values())
        slack = ROUNDING * (len(self.rows) + 1)
        if abs(seconds - self.wall) > slack + 0.01 * self.wall or abs(self.percent - 100) > 0.15:
            raise SystemExit(f"{num_ranks} ranks: the phases add up to {seconds:.3f} s, but the wall time "
                             f"is {self.wall:.3f} s")
        if abs(cpu - sum(self.doing.values())) > slack * num_ranks:
            raise SystemExit(f"{num_ranks} ranks: CPU time is {cpu:.3f} s by phase, but {self.doing} by "
                             "activity")

    def parts(self):
        """Core-seconds by phase; with `idle` they are cores x wall."""
        found = {name: row["cpu"] for name, row in self.rows.items()}
        found["idle"] = self.total() - sum(found.values())
        return found

    def total(self):
        return self.cores * self.wall


def measure(args, model, grid, cores):
    ep, tp = map(int, grid.split("x"))
    text = output_of(
        ["bash", REPO / "tools/launch.sh", ep * tp, args.build / "app/tetrarch", "run",
         "--weights", model / "weights.h5", "--inputs", model / "inputs.h5", "--out",
         model / f"run-{grid}", "--ep", ep, "--tp", tp, "--timing", "layers"],
        max(1, cores // (ep * tp)))
    return Run(ep * tp, cores, text)


def show(runs):
    one, others = runs[0], runs[1:]
    names = list(dict.fromkeys(name for run in runs for name in run.parts()))
    names.sort(key=lambda name: -max(run.parts().get(name, 0) for run in runs))
    print(f"{'core-seconds':<14}{'1 rank':>10}" +
          "".join(f"{f'+ at {run.num_ranks}':>12}" for run in others))
    for name in names:
        base = one.parts().get(name, 0.0)
        print(f"{name:<14}{base:>10.2f}" +
              "".join(f"{run.parts().get(name, 0.0) - base:>12.2f}" for run in others))
    print(f"{'cores x wall':<14}{one.total():>10.2f}" +
          "".join(f"{run.total() - one.total():>12.2f}" for run in others))
    print("\nCPU seconds of all ranks, by activity")
    for name in ("working", "waiting", "moving"):
        print(f"{name:<14}{one.doing[name]:>10.2f}" +
              "".join(f"{run.doing[name] - one.doing[name]:>12.2f}" for run in others))
    print("\naverage rank, % of its wall time")
    for name, key in (("waits", "wait"), ("moves bytes", "move")):
        shares = [100 * sum(row[key] for row in run.rows.values()) / run.wall for run in runs]
        print(f"{name:<14}{shares[0]:>10.1f}" + "".join(f"{share:>12.1f}" for share in shares[1:]))
    for run in others:
        added = sum(run.parts().get(name, 0.0) - one.parts().get(name, 0.0) for name in names)
        if not math.isclose(added, run.total() - one.total(), abs_tol=1e-6):
            raise SystemExit(f"{run.num_ranks} ranks: the rows add up to {added}, not to the difference "
                             "of cores x wall time")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=REPO / "build/cpu-release")
    parser.add_argument("--grids", default="2x1,2x2,4x4,16x4")
    parser.add_argument("--preset", default="tetrarch-64-mini")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="tetrarch-", dir=args.folder) as folder:
        model = Path(folder) / "model"
        output_of([args.build / "app/tetrarch", "synth", "--preset", args.preset, "--out", model,
                   "--sequences", args.sequences, "--tokens", args.tokens])
        runs = [measure(args, model, grid, cores) for grid in ["1x1", *args.grids.split(",")]]
    print(f"{args.preset}, {args.sequences} prompts of {args.tokens}, {cores} cores, 1x1 and {args.grids}\n")
    show(runs)


if __name__ == "__main__":
    main()
