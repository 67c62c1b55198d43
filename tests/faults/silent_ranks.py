"""A dead, silent or misled rank ends the whole job; after the first two, the same command does the
rest.

silent_ranks.py PROGRAM --faulty FAULTY [--trials 100] [--kinds killed,launcher,stopped,left-out]

killed     SIGKILL of a rank at a random moment: all are gone within 30 s
launcher   SIGKILL of mpirun at a random moment: all are gone within 30 s
stopped    SIGSTOP of a rank at a random moment: the watchdog ends the job, in one line that names it
left-out   a rank leaves out a collective: the same
"""
# SPDX-License-Identifier: Apache-2.0

import collections
import concurrent.futures
import math
import os
import random
import re
import signal
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))
import support  # noqa: E402

KINDS = ("killed", "launcher", "stopped", "left-out")
GRIDS = [(1, 1, 4, 1), (1, 1, 2, 2), (1, 1, 1, 4), (2, 1, 2, 1), (1, 2, 1, 2), (4, 1, 1, 1)]
# Of a grid with ep and tp above 1: collectives of tensors in each phase.
LEFT_OUT_GRID = (1, 1, 2, 2)
LEFT_OUT_PHASES = ("tp_gather", "tp_reduce", "dispatch", "combine")
WATCHDOG_S = 3
MOST_GONE_S = 30
MOST_SILENT_S = 60  # a few watchdogs' time, on a machine that does other things as well
OPTIONS = ("--tokens-per-microbatch", 64, "--commit-interval", 0, "--keep-parts",
           "--outputs", "logprobs,hidden")
NOT_STARTED = "MPI has not started on all ranks"


def environment_of(pid, name):
    for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if word.startswith(name.encode() + b"="):
            return word.split(b"=")[1].decode()
    return None


def is_gone(pid, program):
    """Also when its parent has yet to hear of its end."""
    try:
        return not os.path.samefile(f"/proc/{pid}/exe", program)
    except OSError:
        return True


class Trial:
    """One run, and what is done to it."""

    def __init__(self, test, kind, number):
        folder = test.folder / f"{kind}-{number}"
        folder.mkdir()
        self.test, self.kind = support.Test(test.options, folder), kind  # trials run side by side
        self.model, self.whole, self.whole_seconds = test.model, test.whole, test.whole_seconds
        self.random = random.Random(f"{test.options.seed} {kind} {number}")
        self.out = folder / "run"
        self.grid = LEFT_OUT_GRID if kind == "left-out" else self.random.choice(GRIDS)
        self.rank = self.random.randrange(math.prod(self.grid))
        self.program = [test.program]
        if kind == "left-out":
            self.rank = self.random.randrange(4)
            self.fault = f"left-out:{self.rank}:{self.random.choice(LEFT_OUT_PHASES)}:" \
                         f"{self.random.randint(1, 40)}"
            self.program = [test.options.faulty, self.fault]
        self.ended = f"{kind} rank {self.rank} of {self.grid}"

    def run(self):
        """How it ended, and after how many seconds; None: the run was over before."""
        test, weights, inputs = self.test, *support.files_of(self.model)
        self.job = test.start_ranks(math.prod(self.grid), *self.program[1:], "run", "--weights",
                                    weights, "--inputs", inputs, "--out", self.out, *OPTIONS,
                                    "--watchdog", WATCHDOG_S, *support.grid_options(self.grid),
                                    program=self.program[0])
        self.ranks = self.wait_for_ranks()
        struck = time.monotonic()
        if self.kind != "left-out":
            time.sleep(self.random.uniform(0, self.whole_seconds))
            if self.job.process.poll() is not None or not self.strike():
                self.job.wait(60)
                return None
            struck = time.monotonic()
        how = self.wait_for_the_end()
        seconds = time.monotonic() - struck
        test.check(seconds < (MOST_GONE_S if self.kind in ("killed", "launcher")
                              else MOST_SILENT_S), f"{self.ended}: gone after {seconds:.0f} s")
        return how, seconds

    def wait_for_ranks(self):
        until = time.monotonic() + 60
        while time.monotonic() < until and self.job.process.poll() is None:
            ranks = self.job.ranks(self.program[0])
            if len(ranks) == math.prod(self.grid):
                return ranks
            time.sleep(0.01)
        raise support.Failed(f"{self.ended}: not started\n{self.job.text()}")

    def strike(self):
        """False when there is nothing left to strike."""
        try:
            if self.kind == "launcher":
                pids = support.launchers(self.job.process.pid)
                support.kill(pids)
                return bool(pids)
            pid = next(pid for pid in self.ranks
                       if environment_of(pid, "OMPI_COMM_WORLD_RANK") == str(self.rank))
            os.kill(pid, signal.SIGKILL if self.kind == "killed" else signal.SIGSTOP)
            self.struck = pid
            return True
        except (OSError, StopIteration):
            return False

    def wait_for_the_end(self):
        """How it ended; a failure when it did not, or said the wrong thing."""
        until = time.monotonic() + MOST_SILENT_S
        while time.monotonic() < until and self.job.process.poll() is None:
            if self.kind == "stopped" and self.only_the_stopped_is_left():
                os.kill(self.struck, signal.SIGCONT)
                self.test.expect(self.job.wait(30), 0, self.ended)
                return "stopped after its last exchange"
            time.sleep(0.05)
        result = self.job.wait(1)
        while not all(is_gone(pid, self.program[0]) for pid in self.ranks):
            if time.monotonic() > until:
                raise support.Failed(f"{self.ended}: ranks are left\n{result.text}")
            time.sleep(0.05)
        if self.kind == "stopped" and result.code == 0:
            return "stopped after its last exchange"
        self.test.check(result.code != 0, f"{self.ended}: exit code 0\n{result.text}")
        if self.kind in ("killed", "launcher"):
            return "ended"
        return self.what_was_said(result)

    def only_the_stopped_is_left(self):
        """The others have done their part, and none has complained."""
        if "tetrarch: " in self.job.text():
            return False
        left = [pid for pid in self.ranks if not is_gone(pid, self.program[0])]
        return left == [self.struck]

    def what_was_said(self, result):
        test, messages = self.test, result.messages()
        test.check(bool(messages), f"{self.ended}: nothing said\n{result.text}")
        is_started = NOT_STARTED not in messages[0]
        if is_started or result.code != 139:  # mpirun 4.1 may crash over ranks that were in MPI_Init
            test.equal(result.code, 6, f"{self.ended}: exit code\n{result.text}")
        # messages that do not fit may be met on several ranks at once, each of which says so
        found_by_mpi = [re.search(r"\] MPI_\w+ failed: .* \(phase \w+", line) for line in messages]
        test.check(len(messages) == 1 or all(found_by_mpi),
                   f"{self.ended}: not one line\n{result.text}")
        if all(found_by_mpi):
            test.equal(self.kind, "left-out", messages[0])
            return "MPI itself found messages that do not fit"
        if not is_started:
            test.check(self.kind == "stopped", result.text)
            return "said that MPI has not started"
        found = re.search(r"\] rank (\d+) \(host (\S+)\) (does not answer|is out of step) \(.*"
                          r"rank \d+ has waited .* on \S+ .*, phase \w+", messages[0])
        test.check(bool(found), f"{self.ended}: {messages[0]}")
        test.equal(int(found[1]), self.rank, f"{self.ended}: rank named\n{messages[0]}")
        self.check_dumps(messages[0])
        return f"said who {found[3]}"

    def check_dumps(self, message):
        """Of every rank but the silent one, with the operations that led there."""
        folder = Path(re.search(r"each rank: (.*)\)\.$", message)[1])
        silent = {self.rank} if self.kind == "stopped" else set()
        for rank in set(range(math.prod(self.grid))) - silent:
            path = folder / f"rank-{rank:05}.txt"
            self.test.check(path.exists() and "running" in path.read_text().splitlines()[-1]
                            or "not in an exchange" in path.read_text(),
                            f"{self.ended}: dump of rank {rank}")

    def resume(self):
        """The same command, without a fault: the same bits."""
        self.test.run(math.prod(self.grid), self.model, self.out, *OPTIONS,
                      *support.grid_options(self.grid))
        self.test.same(self.whole, self.out, self.ended)


def tried(test, kind, number):
    """A trial that struck."""
    for attempt in range(20):
        trial = Trial(test, kind, f"{number}.{attempt}")
        ended = trial.run()
        if ended:
            # a rank that leaves out a collective may have made garbage of what was committed last
            if number % test.options.resume_every == 0 and kind != "left-out":
                trial.resume()
            test.num_compared += trial.test.num_compared
            return kind, *ended
    raise support.Failed(f"{kind}: 20 runs ended before they were struck")


def body(test):
    options = test.options
    test.model = test.synth("model", "--preset", "tiny", "--sequences", 64, "--tokens", 32)
    test.whole = test.folder / "whole"
    test.run(1, test.model, test.whole, *OPTIONS)
    test.whole_seconds = test.run(4, test.model, test.folder / "four", *OPTIONS,
                                  *support.grid_options(LEFT_OUT_GRID)).seconds
    kinds = options.kinds.split(",")
    with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
        trials = [pool.submit(tried, test, kind, number)
                  for number in range(options.trials) for kind in kinds]
        try:
            ended = [trial.result() for trial in concurrent.futures.as_completed(trials)]
        except support.Failed:
            pool.shutdown(cancel_futures=True)
            raise
    for kind in kinds:
        seconds = sorted(s for k, _, s in ended if k == kind)
        how = collections.Counter(h for k, h, _ in ended if k == kind)
        print(f"{kind:9} {len(seconds)} trials, ended after {statistics.median(seconds):.1f} s "
              f"(median), {seconds[-1]:.1f} s (most): "
              + ", ".join(f"{count} {words}" for words, count in how.most_common()))


def add_options(parser):
    parser.add_argument("--faulty", type=os.path.abspath, required=True, help="the program with faults to switch on")
    parser.add_argument("--trials", type=int, default=100, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=3, help="runs side by side")
    parser.add_argument("--resume-every", type=int, default=1, help="of so many trials one")


if __name__ == "__main__":
    support.main(body, add_options)
