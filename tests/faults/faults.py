"""What the fault tests share: a small run with all outputs, faults put into it, and the proof that
nothing committed was lost.

Each test is a command, `NAME.py [PROGRAM] [--seed S] [its own numbers]`. It prints what it did and
found, and ends with exit code 1 at the first run that lost, doubled or changed something.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests" / "end_to_end"))
import support  # noqa: E402

PART = re.compile(r"d(\d+)-e(\d+)-a(\d+)-(\d+)-[0-9a-f]{16}\.h5")
ALL_CALLS = "write,sync,rename,remove,make,truncate"
OUTPUTS = ("--outputs", "logprobs,topk,last_logits,hidden,kv,experts,routing",
           "--hidden-layers", "all")
MODEL = ("--preset", "tiny", "--layers", 2, "--vocab", 96, "--hidden", 32, "--heads", 4,
         "--kv-heads", 2, "--head-dim", 8, "--experts", 8, "--expert-ffn", 16)
ONE_RANK = (1, 1, 1, 1)


class Faults(support.Test):
    """A small model, its undisturbed results, and what a run folder holds."""

    def __init__(self, options, folder):
        super().__init__(options, folder)
        self.random = random.Random(options.seed)
        self.shim = self.folder / "fault_shim.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self.shim,
                        Path(__file__).with_name("fault_shim.c"), "-ldl"], check=True)
        self.spare = self.folder / "spare"  # what a killed launcher leaves behind goes here
        self.spare.mkdir()
        self.num_models = self.num_traces = 0

    def prepare(self, *sizes, tokens_per_microbatch):
        self.num_models += 1
        self.model = self.synth(f"model-{self.num_models}", *MODEL, *sizes)
        self.words = ["run", "--weights", self.model / "weights.h5", "--inputs",
                      self.model / "inputs.h5", "--tokens-per-microbatch", tokens_per_microbatch,
                      "--commit-interval", 0, *OUTPUTS]
        self.whole = self.model / "whole"
        self.finish(self.whole, ONE_RANK)
        with h5py.File(self.whole / "results.h5") as file:
            self.num_sequences = len(file["sequences/id"])

    def begin(self, out, grid, *options, fault=None, prefix=()):
        """Starts a run; fault: settings of the shim, in capitals without FAULT_."""
        names = {**(fault or {}), "FOLDER": out}
        settings = [f"FAULT_{key}={value}" for key, value in names.items()] if fault else []
        preload = [f"LD_PRELOAD={self.shim}"] if fault else []
        num_ranks = math.prod(grid)
        program = [self.program, *self.words, "--out", out, *support.grid_options(grid), *options]
        launch = ["bash", self.launcher, num_ranks] if num_ranks > 1 else []
        own = self.spare / str(self.num_commands)  # two launchers at once may fail over one
        own.mkdir()
        spare = [f"OMPI_MCA_orte_tmpdir_base={own}",
                 f"OMPI_MCA_btl_vader_backing_directory={own}"]
        return self.start(["env", *spare, *prefix, *launch, "env", *preload, *settings, *program])

    def finish(self, out, grid, *options, seconds=120):
        result = self.begin(out, grid, *options).wait(seconds)
        return self.expect(result, 0, f"the run to its end on {math.prod(grid)} ranks")

    # -- what is committed ----------------------------------------------------------------------

    def committed(self, out):
        """sequence -> its part, read with h5py; none twice."""
        found = {}
        for path in sorted((out / "parts").glob("*.h5")):
            self.check(PART.fullmatch(path.name), f"{path} is no part by its name")
            with h5py.File(path) as file:
                for sequence in file["sequences/index"][()].tolist():
                    self.check(sequence not in found, f"sequence {sequence} is in two parts")
                    found[sequence] = path.name
                file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
        return found

    def verify(self, out):
        """`tetrarch verify` agrees with what is in the parts, which it returns."""
        result = self.start([self.program, "verify", out]).wait(60)
        if not (out / "run.json").exists():
            self.equal(result.code, 3, f"verify without run.json\n{result.text}")
            self.check(not list(out.glob("parts/*.h5")), "there are parts and no run.json")
            return {}
        found = self.committed(out)
        is_done = (out / "results.h5").exists()
        self.equal(result.code, 0 if is_done else 85, f"exit code of verify\n{result.text}")
        said = re.search(r"(\d+) parts? with (\d+) sequences?", result.text)
        self.check(bool(said), f"verify does not say how many:\n{result.text}")
        self.equal((int(said[1]), int(said[2])), (len(set(found.values()) | empty_parts(out)),
                                                  len(found)), "parts and sequences by verify")
        return found

    def resume(self, out, grid, before):
        """The same command on other ranks does exactly the rest. `before`: what was committed."""
        is_done = (out / "results.h5").exists()
        keep = self.random.random() < 0.5
        text = self.finish(out, grid, *(["--keep-parts"] if keep else [])).text
        if is_done:
            self.check("nothing is left to do" in text, f"a complete folder is not said so:\n{text}")
        else:
            said = re.search(r"(\d+) done already, (\d+) to do", text)
            self.check(bool(said), f"what is left is not said:\n{text}")
            self.equal((int(said[1]), int(said[2])),
                       (len(before), self.num_sequences - len(before)), "done already, to do")
        if keep and not is_done:
            self.all_there(out, before)
        self.no_leftovers(out, parts=keep)
        self.same_as_whole(out)

    def all_there(self, out, before):
        """Every sequence once; those of `before` still in the part that had them."""
        after = self.committed(out)
        self.equal(sorted(after), list(range(self.num_sequences)), "committed sequences")
        for sequence, part in before.items():
            self.check(after[sequence] == part, f"sequence {sequence} was committed in {part} and "
                                                f"computed again in {after[sequence]}")

    def no_leftovers(self, out, parts):
        left = {path.name for path in out.iterdir()} - {"run.json", "log.txt", "results.h5"}
        self.check(left <= ({"parts"} if parts else set()), f"left behind: {sorted(left)}")
        if parts and (out / "parts").exists():
            names = [path.name for path in (out / "parts").iterdir()]
            self.check(all(map(PART.fullmatch, names)), f"left behind in parts/: {names}")

    def same_as_whole(self, out):
        self.tool("same_results.py", self.whole / "results.h5", out / "results.h5")
        self.times_are_whole(out)
        result = self.start([self.program, "verify", out / "results.h5"]).wait(60)
        self.expect(result, 0, "verify of the results")

    def times_are_whole(self, out):
        """No row of /timing/phases is lost: each has a phase."""
        with h5py.File(out / "results.h5") as file:
            phases = file["timing/phases"]["phase"]
            self.check(len(phases) > 0 and all(phases != b""), f"{out}: rows of times are lost")

    def trace(self, calls=ALL_CALLS):
        """The calls of an undisturbed run on one rank, as (kind, path)."""
        self.num_traces += 1
        out = self.folder / f"traced-{self.num_traces}"
        path = self.folder / f"trace-{self.num_traces}.txt"
        job = self.begin(out, ONE_RANK, fault={"CALLS": calls, "TRACE": path})
        self.expect(job.wait(60), 0, "the traced run")
        return [line.split(" ", 2)[1:] for line in path.read_text().splitlines()]

    def remove(self, out):
        subprocess.run(["rm", "-rf", out], check=True)
        if len(list(self.spare.iterdir())) > 20:
            subprocess.run(f"rm -rf {self.spare}/*", shell=True, check=True)


def empty_parts(out):
    """Names of parts without sequences."""
    found = set()
    for path in (out / "parts").glob("d*.h5"):
        with h5py.File(path) as file:
            if len(file["sequences/index"]) == 0:
                found.add(path.name)
    return found


def stage_of(out, text, num_sequences=None):
    """Where in a run it was struck, from what is there; num_sequences: those of the whole run."""
    if (out / "results.h5").exists():
        return "after the results"
    if (out / ".tmp-results.h5").exists():
        return "merge"
    if "loaded   " not in text:
        return "start"
    count = 0
    for path in (out / "parts").glob("d*.h5") if num_sequences else ():
        with h5py.File(path) as file:
            count += len(file["sequences/index"])
    return "merge" if count and count == num_sequences else "loop"


def main(body, add_options):
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?", default=SOURCE / "build/cpu-release/app/tetrarch",
                        help="the tetrarch to be tested")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="of the trials, to do them in pieces")
    add_options(parser)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tetrarch-") as folder:
        test = Faults(options, folder)
        try:
            body(test)
        except support.Failed as finding:
            print(f"FAILED {finding}")
            if os.environ.get("KEEP"):
                subprocess.run(["cp", "-a", folder, os.environ["KEEP"]], check=True)
            sys.exit(1)
    if test.num_compared == 0:
        print("FAILED nothing was compared")
        sys.exit(1)
    print(f"held {test.num_compared} comparisons after {test.num_commands} commands, "
          f"{time.monotonic() - started:.0f} s")
