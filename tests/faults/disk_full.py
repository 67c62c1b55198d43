"""A full disk ends a run with one message and exit code 5, and loses nothing: with room, the same
command does the rest, to the same bits.

disk_full.py [PROGRAM] --sizes 50     disks of growing size (--by tmpfs: mounted; shim: a preloaded
                                      library fails writes beyond so many bytes; auto: what works)
disk_full.py [PROGRAM] --calls 999    a run on one rank: each single call that writes fails once, or
                                      from then on, with ENOSPC, EIO or EDQUOT (--stride: every so
                                      many calls)
disk_full.py [PROGRAM] --shorts 999   the same with writes that do half of their work: no failure
disk_full.py [PROGRAM] --merges 999   the same of `tetrarch merge`
"""
# SPDX-License-Identifier: Apache-2.0

import collections
import itertools
import re
import subprocess

import h5py

import faults
import support

GRIDS = [(1, 1, 1, 1), (1, 1, 4, 1), (2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 2)]
ERRORS = ("ENOSPC", "EIO", "EDQUOT")
SPACE = re.compile(r"needs about [\d.,]+ \w+, and [\d.,]+ \w+ are free")


def one_message(test, result, out, what):
    """Exit code 5 and one error line, which names a path of the run; returns the line."""
    test.expect(result, 5, what)
    messages = result.messages()
    test.equal(len(messages), 1, f"{what}: error lines\n{result.text}\n")
    test.check(str(out) in messages[0], f"{what}: {out} is not named: {messages[0]}")
    return messages[0]


def check_state(test, out):
    """What claims to be there can be read, and verify says the same; returns what is committed."""
    before = test.verify(out)
    if (out / "results.h5").exists():
        with h5py.File(out / "results.h5") as file:
            test.equal(file.attrs["status"], "complete", "status of results")
            file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
        test.same_as_whole(out)
    return before


# -- disks of growing size --------------------------------------------------------------------


class Tmpfs:
    """A file system of so many bytes."""

    name = "tmpfs, mounted"

    def __init__(self, test):
        self.point = test.folder / "disk"
        self.point.mkdir()

    def begin(self, test, out, grid, size):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", self.point],
                       check=True)
        return test.begin(out, grid)

    def enlarge(self):
        subprocess.run(["mount", "-o", "remount,size=64m", self.point], check=True)

    def end(self):
        subprocess.run(["umount", self.point], check=True)


class Shim:
    """Writes fail after so many bytes; each rank counts its own, so that the disk is full at other
    moments on each."""

    name = "a preloaded library"

    def __init__(self, test):
        self.point = test.folder / "disk"
        self.point.mkdir()

    def begin(self, test, out, grid, size):
        return test.begin(out, grid, fault={"BYTES": size})

    def enlarge(self):
        pass

    def end(self):
        subprocess.run(["rm", "-rf", *self.point.iterdir()], check=True)


def disk(test):
    if test.options.by != "shim":
        probe = test.folder / "probe"
        probe.mkdir()
        command = ["mount", "-t", "tmpfs", "none", probe]
        if subprocess.run(command, capture_output=True).returncode == 0:
            subprocess.run(["umount", probe], check=True)
            return Tmpfs(test)
        test.check(test.options.by == "auto", "a tmpfs cannot be mounted here")
    return Shim(test)


def sizes(test):
    full = disk(test)
    print(f"disks: {full.name}", flush=True)
    found = collections.Counter()
    most = 4 * (test.whole / "results.h5").stat().st_size
    for trial in range(test.options.first, test.options.sizes, test.options.stride):
        size = int(4096 + (most - 4096) * trial / max(1, test.options.sizes - 1)) // 4096 * 4096
        grid = GRIDS[trial % len(GRIDS)]
        out = full.point / "run"
        try:
            result = full.begin(test, out, grid, size).wait(60)
            stage = (faults.stage_of(out, result.text, test.num_sequences) if out.exists()
                     else "start")
            if result.code != 0:
                message = one_message(test, result, out, f"{size} bytes")
                if (out / "log.txt").exists():  # else no file was begun whose size is known
                    test.check(SPACE.search(message), f"no needed and free bytes: {message}")
            before = check_state(test, out)
            said = "" if result.code == 0 else message
            print(f"{size:8} bytes  {'x'.join(map(str, grid))}  exit {result.code}  {stage:17} "
                  f"{len(before):3} committed  {said[-160:]}", flush=True)
            found[f"exit {result.code}, {stage}"] += 1
            full.enlarge()
            test.resume(out, test.random.choice(GRIDS), before)
        finally:
            full.end()
    print(f"sizes: {dict(found)}; 0 silent failures")


# -- single calls -----------------------------------------------------------------------------


def is_harmless(kind, path):
    """A failure of these may pass: the log goes on without the line; what is not removed is removed
    by the next attempt; HDF5 may write a buffer again later, and what it lost is found by reading
    back."""
    return (path.endswith("/log.txt") or kind in ("remove", "make")
            or kind == "write" and path.endswith(".h5"))


def fail_call(test, out, at, kind, path, error, forever):
    fault = {"CALLS": faults.ALL_CALLS, "AT": at, "DO": error, "FOREVER": int(forever)}
    result = test.begin(out, faults.ONE_RANK, fault=fault).wait(60)
    what = f"{error} {'from' if forever else 'at'} call {at} ({kind} {path})"
    if result.code == 0:
        test.check(is_harmless(kind, path), f"{what}: was not noticed")
        test.check(out.exists(), f"{what}: exit 0 without a folder")
        test.times_are_whole(out)
    else:
        one_message(test, result, out, what)
        test.check(kind != "write" or not path.endswith("log.txt") or forever,
                   f"{what}: a line of the log that cannot be written ended the run")
    before = check_state(test, out) if out.exists() else {}
    test.resume(out, faults.ONE_RANK, before)
    test.remove(out)
    return result


def chosen_calls(test, calls, count):
    return list(itertools.islice(enumerate(calls, 1), test.options.first, None,
                                 test.options.stride))[:count]


def single_calls(test):
    calls = test.trace()
    chosen = chosen_calls(test, calls, test.options.calls)
    found = collections.Counter()
    for number, (at, (kind, path)) in enumerate(chosen):
        error = ERRORS[(number + at) % 3]
        forever = test.random.random() < 0.5
        result = fail_call(test, test.folder / "call", at, kind, path, error, forever)
        found[f"{kind} {error}{' for ever' if forever else ''}: exit {result.code}"] += 1
    print(f"{len(chosen)} of {len(calls)} calls: {dict(sorted(found.items()))}")


def shorts(test):
    calls = test.trace("write")
    chosen = chosen_calls(test, calls, test.options.shorts)
    out = test.folder / "short"
    for at, (kind, path) in chosen:
        fault = {"CALLS": "write", "AT": at, "DO": "short"}
        result = test.begin(out, faults.ONE_RANK, fault=fault).wait(60)
        test.expect(result, 0, f"a short {kind} of {path}")
        test.no_leftovers(out, parts=False)
        test.same_as_whole(out)
        test.remove(out)
    fault = {"CALLS": "write", "AT": 1, "DO": "short", "FOREVER": 1}
    test.expect(test.begin(out, faults.ONE_RANK, fault=fault).wait(60), 0, "all writes short")
    test.same_as_whole(out)
    test.remove(out)
    print(f"{len(chosen)} of {len(calls)} writes, and all together, were short: same bits")


def merges(test):
    """`tetrarch merge` of a folder whose parts are all there; its writes fail."""
    parts = test.folder / "parts"
    test.finish(parts, faults.ONE_RANK, "--keep-parts")
    (parts / "results.h5").unlink()
    out, trace = test.folder / "merge", test.folder / "merge.txt"

    def merge(fault, code):
        subprocess.run(["cp", "-a", parts, out], check=True)
        settings = [f"FAULT_{k}={v}" for k, v in {**fault, "FOLDER": out}.items()]
        result = test.start(["env", f"LD_PRELOAD={test.shim}", *settings, test.program, "merge",
                             out]).wait(60)
        test.check(result.code in code, f"{fault}: exit {result.code}\n{result.text}")
        return result

    merge({"CALLS": faults.ALL_CALLS, "TRACE": trace}, (0,))
    test.remove(out)
    calls = [line.split(" ", 2)[1:] for line in trace.read_text().splitlines()]
    chosen = chosen_calls(test, calls, test.options.merges)
    for at, (kind, path) in chosen:
        result = merge({"CALLS": faults.ALL_CALLS, "AT": at, "DO": ERRORS[at % 3],
                        "FOREVER": at % 2}, (5,) if not is_harmless(kind, path) else (0, 5))
        if result.code != 0:
            one_message(test, result, out, f"merge, call {at} ({kind} {path})")
        before = check_state(test, out)
        test.resume(out, faults.ONE_RANK, before)
        test.remove(out)
    print(f"{len(chosen)} of {len(calls)} calls of merge failed: nothing was lost")


def add_options(parser):
    parser.add_argument("--sizes", type=int, default=0)
    parser.add_argument("--by", choices=("auto", "tmpfs", "shim"), default="auto")
    for name in ("calls", "shorts", "merges"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1)


def body(test):
    test.prepare("--sequences", 12, "--min-tokens", 1, "--max-tokens", 40,
                 tokens_per_microbatch=100)
    for name in ("sizes", "calls", "shorts", "merges"):
        if getattr(test.options, name):
            {"sizes": sizes, "calls": single_calls, "shorts": shorts, "merges": merges}[name](test)


if __name__ == "__main__":
    faults.main(body, add_options)
