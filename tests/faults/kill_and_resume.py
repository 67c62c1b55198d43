"""Whatever is killed, whenever: nothing committed is lost, doubled or computed again.

kill_and_resume.py [PROGRAM] --trials 200    kills ranks or the launcher of runs on 4 to 8 ranks at
                                             random moments, and resumes on other grids
kill_and_resume.py [PROGRAM] --points 999    kills a run on one rank before each single call that
                                             changes a file or folder (--stride: every so many)
kill_and_resume.py [PROGRAM] --fences 20     a rank that survives its killed rank 0 commits nothing
                                             more once the next attempt has the folder
"""
# SPDX-License-Identifier: Apache-2.0

import collections
import math
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import faults
import support

# (dp, pp, ep, tp)
KILLED = [(1, 1, 4, 1), (2, 1, 2, 1), (1, 2, 2, 1), (1, 1, 2, 2), (4, 1, 1, 1), (2, 2, 1, 1),
          (1, 2, 1, 2), (1, 1, 4, 2), (2, 1, 2, 2), (1, 2, 2, 2), (2, 2, 2, 1), (1, 1, 8, 1),
          (1, 1, 2, 4)]
RESUMED = [(1, 1, 1, 1), (1, 1, 2, 1), (2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 1, 2), (1, 1, 4, 1),
           (2, 1, 2, 1), (1, 1, 2, 2)]
STRUCK = ["one rank", "rank 0", "the launcher", "all"]


def strike(ranks, job, rng):
    """Kills something of a running job; returns what."""
    what = rng.choice(STRUCK)
    if what == "all":
        job.kill()
    elif what == "the launcher" or not ranks:
        below = support.descendants(job.process.pid)
        support.kill(support.launchers(job.process.pid) or [job.process.pid, *below])
        what = "the launcher"
    else:
        support.kill([min(ranks) if what == "rank 0" else rng.choice(ranks)])
    return what


def users_of(out):
    """Launchers and ranks that were told of a folder, orphans too."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and bytes(out) in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until_gone(test, out, job):
    """Until launcher and ranks have ended; seconds, and a remark where that took help."""
    started, remark = time.monotonic(), ""
    try:
        job.process.wait(30)
    except subprocess.TimeoutExpired:
        # Open MPI 4.1 may wait for ever for ranks that were in MPI_Init when another one died
        test.check("tetrarch " not in job.text(), f"alive 30 s after the kill:\n{job.text()}")
        remark = " (hung in MPI_Init)"
        job.kill()
        job.process.wait()
    while users := users_of(out):
        if time.monotonic() - started > 60:
            support.kill(users)
            raise support.Failed("ranks live on a minute after the kill")
        time.sleep(0.02)
    return f"gone in {time.monotonic() - started:.1f} s{remark}"


def wait_for_moment(job, out, duration, rng):
    """A random moment of the run, or one of those at which most could go wrong."""
    moments = {"a moment": lambda: False,
               "a part": lambda: len(list(out.glob("parts/d*.h5"))) >= num_parts,
               "the merge": (out / ".tmp-results.h5").exists,
               "the results": (out / "results.h5").exists}
    moment = rng.choices(list(moments), (4, 4, 1, 1))[0]
    num_parts = rng.randint(1, 20)
    if moment == "a moment":
        time.sleep(rng.uniform(0, duration))
        return
    while job.process.poll() is None and not moments[moment]():
        time.sleep(0.001)
    time.sleep(rng.choice((0, rng.uniform(0, 0.02))))


def kill_once(test, out, grid, duration, rng):
    """One attempt that is struck; returns (where, what, seconds when it was done before)."""
    job = test.begin(out, grid)
    wait_for_moment(job, out, duration, rng)
    while job.process.poll() is None and not job.ranks(test.program):
        time.sleep(0.001)  # before there are ranks, the launcher that is killed may be the wrong one
    if job.process.poll() is not None:
        seconds = test.expect(job.wait(1), 0, "a run that was done before it could be killed").seconds
        return "done before the kill", "", min(duration, seconds)
    ranks = job.ranks(test.program)
    place = faults.stage_of(out, job.text())
    what = strike(ranks, job, rng)
    ended = wait_until_gone(test, out, job)
    return place, f"{what}, {ended}", duration


def random_kills(test):
    durations = {}
    places = collections.Counter()
    for trial in range(test.options.first, test.options.first + test.options.trials):
        rng = random.Random(f"{test.options.seed} {trial}")
        started = time.monotonic()
        out = test.folder / f"trial-{trial}"
        before, struck = {}, []
        for _ in range(2 if rng.random() < 0.3 else 1):
            grid = rng.choice(KILLED)
            if grid not in durations:
                durations[grid] = test.finish(test.folder / "timed", grid).seconds
                test.remove(test.folder / "timed")
            place, what, durations[grid] = kill_once(test, out, grid, durations[grid], rng)
            places[place] += 1
            found = test.verify(out)
            if not (out / "results.h5").exists():
                test.check(before.items() <= found.items(), "committed sequences have vanished")
            before = found
            struck.append(f"{'x'.join(map(str, grid))} {place} ({what}) {len(found)} committed")
        grid = rng.choice(RESUMED)
        test.resume(out, grid, before)
        test.remove(out)
        print(f"trial {trial:3}  {time.monotonic() - started:4.1f} s  {'; '.join(struck)}; rest on "
              f"{'x'.join(map(str, grid))}", flush=True)
    print(f"{test.options.trials} trials, kills: {dict(places)}; 0 lost, 0 doubled, 0 done again")


def crash_points(test):
    """Kills before each call that changes a file; --first and --stride choose among them."""
    calls = test.trace()
    places = collections.Counter()
    chosen = range(test.options.first + 1, len(calls) + 1, test.options.stride)
    chosen = chosen[:test.options.points]
    for at in chosen:
        kind, path = calls[at - 1]
        out = test.folder / "point"
        job = test.begin(out, faults.ONE_RANK,
                         fault={"CALLS": faults.ALL_CALLS, "AT": at, "DO": "kill"})
        code = job.wait(60).code
        test.check(code in (-9, 137), f"not killed at call {at} ({kind} {path}): exit {code}\n"
                                      f"{job.text()}")
        place = faults.stage_of(out, job.text(), test.num_sequences) if out.exists() else "start"
        places[f"{place}: {kind}"] += 1
        before = test.verify(out) if out.exists() else {}
        test.resume(out, test.random.choice(RESUMED[:3]), before)
        test.remove(out)
    print(f"{len(chosen)} of {len(calls)} points: {dict(sorted(places.items()))}; "
          "0 lost, 0 doubled, 0 done again")


def fences(test):
    """Rank 0 is killed while another writer is stopped; the next attempt begins; the old writer
    wakes, and may no more commit."""
    for trial in range(test.options.fences):
        out = test.folder / f"fence-{trial}"
        job = test.begin(out, (1, 1, 4, 1))
        deadline = time.monotonic() + 30
        while not list(out.glob("parts/d*.h5")):
            test.check(job.process.poll() is None and time.monotonic() < deadline, "no part came")
            time.sleep(0.002)
        time.sleep(test.random.uniform(0, 0.05))
        ranks = sorted(job.ranks(test.program))
        launchers = support.launchers(job.process.pid)
        for pid in ranks[1:] + launchers:
            os.kill(pid, signal.SIGSTOP)
        support.kill(ranks[:1])
        before = test.verify(out)
        second = test.begin(out, (1, 1, 2, 1), "--keep-parts")
        while "done already" not in second.text() and second.process.poll() is None:
            time.sleep(0.002)
        for pid in ranks[1:] + launchers:
            os.kill(pid, signal.SIGCONT)
        test.expect(second.wait(60), 0, "the attempt that took over")
        wait_until_gone(test, out, job)
        test.all_there(out, before)
        test.no_leftovers(out, parts=True)
        test.same_as_whole(out)
        test.remove(out)
        print(f"fence {trial}: {len(before)} committed before, nothing by the old ranks after",
              flush=True)


def add_options(parser):
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--points", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1, help="of the points")
    parser.add_argument("--fences", type=int, default=0)


def body(test):
    if test.options.trials or test.options.fences:
        test.prepare("--sequences", 60, "--min-tokens", 1, "--max-tokens", 60,
                     tokens_per_microbatch=60)
        random_kills(test)
        fences(test)
    if test.options.points:
        test.prepare("--sequences", 12, "--min-tokens", 1, "--max-tokens", 40,
                     tokens_per_microbatch=100)
        crash_points(test)


if __name__ == "__main__":
    faults.main(body, add_options)
