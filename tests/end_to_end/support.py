"""What the end-to-end tests share: ranks are launched, files made, results compared.

A test is a script `NAME_test.py PROGRAM [its own options]` whose body(test) runs in a scratch
folder. It ends with exit code 1 on the first difference, and also when it compared nothing.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy

SOURCE = Path(__file__).resolve().parents[2]
TOOLS = SOURCE / "tools"
sys.path.insert(0, str(TOOLS))
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "SLURM_")
CRASH = re.compile(r"terminate called|Traceback|egmentation|core dumped|received signal|Assert|"
                   r"Backtrace|AddressSanitizer|runtime error|internal defect")
EVERYTHING = ("--outputs", "logprobs,topk,last_logits,hidden,kv,routing,experts",
              "--hidden-layers", "all")


def grid_options(grid):
    """What `run` is told of a grid (dp, pp, ep, tp); it has math.prod(grid) ranks."""
    return tuple(itertools.chain(*zip(("--dp", "--pp", "--ep", "--tp"), grid)))


def files_of(model):
    """Weights and inputs: of a model folder, or a pair of them as it is."""
    return model if isinstance(model, tuple) else (model / "weights.h5", model / "inputs.h5")


class Failed(Exception):
    """A test's finding."""


class Result:
    """What a command gave: code, text (both streams), seconds."""

    def __init__(self, command, code, text, seconds):
        self.command, self.code, self.seconds = command, code, seconds
        self.text = text.replace("\0", "")  # Open MPI 5 ends some of its own lines with a zero byte

    def messages(self):
        """The program's own error lines, each with the lines that belong to it."""
        return [line for line in self.text.splitlines() if line.startswith("tetrarch:")]


# Runs of `run` compute on this backend; the default is that of the program.
BACKEND = tuple(f"--backend {os.environ['TETRARCH_TEST_BACKEND']}".split()
                if "TETRARCH_TEST_BACKEND" in os.environ else ())


def environment(threads):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    # Threads of ranks that share cores must not spin.
    return {**kept, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}


def descendants(pid):
    """Processes below pid; ranks have process groups of their own, so a group would miss them."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def launchers(pid):
    """mpirun below pid; that of Open MPI 5 goes by another name once it runs."""
    return [below for below in descendants(pid) if name_of(below) in ("mpirun", "prterun")]


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Job:
    """A command that is running; ranks() are the processes of the program itself."""

    def __init__(self, command, threads, output, prefix=()):
        self.command, self.output, self.started = command, output, time.monotonic()
        with open(output, "wb") as stream:
            self.process = subprocess.Popen([*prefix, *map(str, command)], stdout=stream,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            env=environment(threads), cwd="/")

    def ranks(self, program):
        return [pid for pid in descendants(self.process.pid) if is_program(pid, program)]

    def kill(self):
        """Kills launcher and ranks alike, as a lost node would."""
        kill([self.process.pid, *descendants(self.process.pid)])

    def wait(self, seconds):
        """The result; a command that takes longer is killed, and a failure."""
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
            raise Failed(f"not ended after {seconds:.0f} s: {self.shown()}\n"
                         f"{self.text()}") from None
        return Result(self.command, code, self.text(), time.monotonic() - self.started)

    def text(self):
        return Path(self.output).read_text(errors="replace")

    def shown(self):
        return " ".join(map(str, self.command))


def is_program(pid, program):
    try:
        return os.path.samefile(f"/proc/{pid}/exe", program)
    except OSError:
        return False


class Test:
    """The program under test, a scratch folder, and the count of what was compared."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        self.program = Path(options.program).resolve()
        self.launcher = TOOLS / "launch.sh"
        self.num_compared = self.num_commands = 0

    # -- running ------------------------------------------------------------------------------

    def start(self, command, threads=1, prefix=()):
        self.num_commands += 1
        return Job(command, threads, self.folder / f"output-{self.num_commands}.txt", prefix)

    def start_ranks(self, num_ranks, *arguments, threads=1, program=None, prefix=()):
        """With 0 ranks the program is started alone, without a launcher."""
        launch = ["bash", self.launcher, num_ranks] if num_ranks else []
        return self.start([*launch, program or self.program, *arguments], threads, prefix)

    def expect(self, result, code, what):
        if result.code != code:
            command = " ".join(map(str, result.command))
            raise Failed(f"{what}: exit code {result.code}, expected {code}\n  {command}\n"
                         f"{result.text[-4000:]}")
        if crash := CRASH.search(result.text):
            raise Failed(f"{what}: \"{crash[0]}\" in the output\n{result.text[-4000:]}")
        return result

    def tetrarch(self, *arguments, code=0):
        """A subcommand that needs no ranks."""
        result = self.start([self.program, *arguments]).wait(120)
        return self.expect(result, code, arguments[0])

    def run(self, num_ranks, model, out, *arguments, threads=1, code=0, program=None, seconds=240,
            prefix=()):
        """`tetrarch run` on a folder with weights.h5 and inputs.h5, or on (weights, inputs)."""
        weights, inputs = files_of(model)
        arguments += BACKEND
        words = program if isinstance(program, list) else [program or self.program]
        job = self.start_ranks(num_ranks, *words[1:], "run", "--weights", weights, "--inputs",
                               inputs, "--out", out, *arguments, threads=threads,
                               program=words[0], prefix=prefix)
        result = self.expect(job.wait(seconds), code, f"run on {num_ranks} ranks")
        shown = " ".join(map(str, arguments))
        print(f"ran  {num_ranks:>2} ranks x {threads} threads  {result.seconds:5.1f} s  "
              f"exit {result.code}  {shown}", flush=True)
        return result

    def tool(self, name, *arguments, code=0):
        """A tool that compares."""
        result = self.start([sys.executable, TOOLS / name, *arguments]).wait(240)
        self.expect(result, code, name)
        self.num_compared += 1
        return result

    # -- files --------------------------------------------------------------------------------

    def synth(self, name, *arguments):
        """A folder with a random model of these sizes, and inputs that a test may replace."""
        folder = self.folder / name
        if "--sequences" not in arguments:
            arguments += ("--sequences", 4, "--tokens", 16)
        self.tetrarch("synth", "--out", folder, *arguments)
        return folder

    def imported(self, name, golden, dtype, **keys):
        """A folder with the weights of a golden's checkpoint, keys of its config.json replaced."""
        folder = self.folder / name
        checkpoint = shutil.copytree(SOURCE / "tests/data/goldens" / golden / "model",
                                     folder / "checkpoint")
        config = checkpoint / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **keys}))
        self.tetrarch("import", "--from", checkpoint, "--out", folder / "weights.h5", "--dtype",
                      dtype)
        return folder

    def copy(self, folder, name):
        return Path(shutil.copytree(folder, self.folder / name))

    # -- comparing ----------------------------------------------------------------------------

    def same(self, left, right, what):
        """Two run folders, bit for bit."""
        result = self.tool("same_results.py", left / "results.h5", right / "results.h5",
                           code=0)
        print(f"same {what}: {result.text.strip()}", flush=True)

    def differ(self, left, right, what):
        """The comparison must find a difference, and say so with exit code 1."""
        result = self.tool("same_results.py", left / "results.h5", right / "results.h5", code=1)
        self.check("elements differ" in result.text, f"{what}: {result.text}")
        print(f"diff {what}: {result.text.strip().splitlines()[-1]}", flush=True)

    def check(self, holds, what):
        self.num_compared += 1
        if not holds:
            raise Failed(what)

    def equal(self, found, expected, what):
        self.check(found == expected, f"{what}: {found}, expected {expected}")


def write_inputs(path, sequences, ids=None, score_from=None):
    """inputs.h5 with these sequences (lists of token ids); ids: numbers (0, 1, ...) or bytes."""
    offsets = numpy.cumsum([0, *map(len, sequences)]).astype(numpy.uint64)
    tokens = numpy.concatenate([numpy.zeros(0), *map(numpy.asarray, sequences)])
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "tetrarch-inputs"
        file.attrs["format_version"] = numpy.array([1, 0], numpy.uint32)
        file["tokens"] = tokens.astype(numpy.uint32)
        file["offsets"] = offsets
        numbers = numpy.arange(len(sequences)) if ids is None else numpy.asarray(ids)
        file["ids"] = numbers if numbers.dtype.kind == "S" else numbers.astype(numpy.uint64)
        if score_from is not None:
            file["score_from"] = numpy.asarray(score_from, numpy.uint32)
    return path


def random_sequences(lengths, vocab_size, seed=1):
    random = numpy.random.default_rng(seed)
    return [random.integers(0, vocab_size, length).tolist() for length in lengths]


def by_id(run_folder):
    """id -> {dataset: bits}: everything the results say of one sequence, wherever it stands."""
    found = {}
    with h5py.File(run_folder / "results.h5", "r") as file:
        ids, offsets = file["sequences/id"][()].tolist(), file["sequences/offsets"][()].astype(int)
        datasets = []
        file.visititems(lambda path, thing: datasets.append(path)
                        if isinstance(thing, h5py.Dataset) else None)
        for path in datasets:
            if (path.split("/")[0] in ("timing", "inputs", "routing")
                    or path == "sequences/offsets"):
                continue
            data = file[path][()]
            per_token = len(data) == offsets[-1]
            for number, name in enumerate(ids):
                rows = slice(offsets[number], offsets[number + 1]) if per_token else number
                found.setdefault(name, {})[path] = numpy.asarray(data[rows]).tobytes()
    return found


def routing(run_folder):
    """[layers, E] copies sent to each expert, and [layers] copies dropped."""
    with h5py.File(run_folder / "results.h5", "r") as file:
        return file["routing/tokens_per_expert"][()], file["routing/dropped"][()]


def main(body, add_options=lambda parser: None):
    parser = argparse.ArgumentParser()
    parser.add_argument("program", help="the tetrarch to be tested")
    add_options(parser)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tetrarch-") as folder:
        test = Test(options, folder)
        try:
            body(test)
        except Failed as finding:
            print(f"FAILED {finding}")
            sys.exit(1)
    if test.num_compared == 0:
        print("FAILED nothing was compared")
        sys.exit(1)
    print(f"held {test.num_compared} comparisons after {test.num_commands} commands, "
          f"{time.monotonic() - started:.0f} s")
