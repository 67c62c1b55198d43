"""INT, TERM and USR1: what is in flight is finished and committed, exit code 85; a second one ends at once.

Other subcommands end at the first one and leave no unfinished files.
"""
# SPDX-License-Identifier: Apache-2.0

import json
import os
import re
import signal
import time

import h5py

import support
from resume_test import parts, sequences_in

INT, TERM, USR1 = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1
NUM_SEQUENCES = 150
NUM_PARTS = 3  # committed before the signal
LAUNCHER = "the launcher"
OPTIONS = ("--commit-interval", 0, "--outputs", "logprobs,hidden")
SMALL_STEPS = ("--tokens-per-microbatch", 400)


def start(test, model, out, num_ranks, *options):
    weights, inputs = support.files_of(model)
    return test.start_ranks(num_ranks, "run", "--weights", weights, "--inputs", inputs, "--out",
                            out, *OPTIONS, *options)


def wait_for(job, holds, what):
    deadline = time.monotonic() + 60
    while not holds():
        if job.process.poll() is not None or time.monotonic() > deadline:
            raise support.Failed(f"{what}: did not come\n{job.text()}")
        time.sleep(0.002)


def rank_of(pid):
    for word in open(f"/proc/{pid}/environ", "rb").read().split(b"\0"):
        if word.startswith(b"OMPI_COMM_WORLD_RANK="):
            return int(word.split(b"=")[1])
    return 0


def ranks_of(test, job):
    """Also of a job without a launcher."""
    pid = job.process.pid
    return [pid] if support.is_program(pid, test.program) else job.ranks(test.program)


def whom(test, job, who):
    """The processes that `who` names: a rank, all of them, or the launcher."""
    if who == LAUNCHER:
        return [pid for pid in support.descendants(job.process.pid)
                if open(f"/proc/{pid}/comm").read().strip() in ("mpirun", "prterun")]
    ranks = ranks_of(test, job)
    return ranks if who == "all" else [pid for pid in ranks if rank_of(pid) == who]


def strike(test, job, number, who):
    found = whom(test, job, who)
    test.check(bool(found), f"nobody to send a signal to ({who})")
    for pid in found:
        os.kill(pid, number)


def check_stopped(test, result, name, out, what):
    """One line that says what is committed, and that is right."""
    lines = [line for line in result.text.splitlines() if line.startswith("stopped ")]
    test.equal(len(lines), 1, f"{what}: lines that say so\n{result.text}")
    found = re.fullmatch(rf"stopped  by {name}: ([\d,]+) of {NUM_SEQUENCES} sequences are committed "
                         rf"in {re.escape(str(out))}\. The same command does the rest\.", lines[0])
    test.check(bool(found), f"{what}: {lines[0]}")
    test.equal(int(found[1].replace(",", "")), sequences_in(test, parts(out)), f"{what}: committed")
    test.equal(result.messages(), [], f"{what}: messages")
    return int(found[1].replace(",", ""))


def finish(test, model, out, whole, what):
    committed = sequences_in(test, parts(out))
    text = test.run(2, model, out, *OPTIONS).text
    test.equal(int(text.split(" done already")[0].split()[-1]), committed, f"{what}: done before")
    test.same(whole, out, what)


def stopped(test, model, whole):
    for number, who, num_ranks, grid in (
            (INT, 0, 0, ()),                       # no launcher
            (USR1, LAUNCHER, 4, (1, 1, 2, 2)),
            (TERM, "all", 4, (2, 1, 1, 2)),
            (USR1, 3, 4, (2, 1, 2, 1)),            # the last rank of the second instance
            (INT, 1, 4, (1, 1, 1, 4)),
            (TERM, 3, 4, (2, 2, 1, 1)),            # of the second stage
            (USR1, 2, 3, (1, 3, 1, 1))):
        name = signal.Signals(number).name
        what = f"{name} to {who} of {num_ranks}"
        out = model / what.replace(" ", "-")
        job = start(test, model, out, num_ranks, *SMALL_STEPS,
                    *(support.grid_options(grid) if grid else ()))
        wait_for(job, lambda: len(parts(out)) >= NUM_PARTS, what)
        strike(test, job, number, who)
        committed = check_stopped(test, test.expect(job.wait(60), 85, what), name, out, what)
        test.check(0 < committed < NUM_SEQUENCES, f"{what}: {committed} are committed")
        finish(test, model, out, whole, what)


def launcher_ends(test, model, whole):
    """mpirun passes TERM on and kills its ranks a second later: what is committed stays."""
    for number in (TERM, INT):
        what = f"{signal.Signals(number).name} to the launcher"
        out = model / what.replace(" ", "-")
        # a microbatch for each sequence, so that many are left when mpirun comes to it
        job = start(test, model, out, 4, "--ep", 4, "--tokens-per-microbatch", 1)
        wait_for(job, lambda: len(parts(out)) >= NUM_PARTS, what)
        strike(test, job, number, LAUNCHER)
        result = job.wait(60)
        test.check(result.code not in (0, 8), f"{what}: exit code {result.code}\n{result.text}")
        test.check(not (out / "results.h5").exists(), f"{what}: there are results")
        finish(test, model, out, whole, what)


def second(test, model, whole):
    """Ends at once, with one line. Both come while the rank is held, and so before it gets on."""
    for num_ranks, who, pair in ((0, "all", (USR1, TERM)), (2, "all", (USR1, TERM)),
                                 (2, 1, (INT, TERM))):
        what = f"two signals to {who} of {num_ranks}"
        out = model / what.replace(" ", "-")
        job = start(test, model, out, num_ranks, *SMALL_STEPS)
        wait_for(job, lambda: len(parts(out)) >= NUM_PARTS, what)
        for number in (signal.SIGSTOP, *pair, signal.SIGCONT):
            strike(test, job, number, who)
        result = job.wait(30)
        test.check(result.code not in (0, 8, 85), f"{what}: exit code {result.code}\n{result.text}")
        said = result.messages()
        test.check(len(said) == 1 and "ended at once by a second signal (SIG" in said[0],
                   f"{what}: {said}\n{result.text}")
        finish(test, model, out, whole, what)


def handles_signals(pid):
    """Whether the program has come so far as to catch USR1."""
    status = open(f"/proc/{pid}/status").read()
    return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (USR1 - 1) & 1 == 1


def before_the_first_microbatch(test, model, whole):
    """While MPI starts, inputs are read and weights are loaded: nothing is committed."""
    lines = model / "inputs.jsonl"
    write_jsonl(model / "inputs.h5", lines)
    for number, who, num_ranks, inputs in ((INT, 0, 0, lines), (TERM, 0, 2, lines),
                                           (USR1, 1, 2, lines), (USR1, "all", 4, None)):
        what = f"{signal.Signals(number).name} to {who} of {num_ranks} at the start"
        out = model / what.replace(" ", "-")
        files = (model / "weights.h5", inputs) if inputs else model
        job = start(test, files, out, num_ranks)
        wait_for(job, lambda: len(ranks_of(test, job)) >= max(1, num_ranks)
                 and all(map(handles_signals, ranks_of(test, job))), what)
        strike(test, job, number, who)
        result = test.expect(job.wait(60), 85, what)
        name = signal.Signals(number).name
        if result.messages():  # before the run folder is made
            test.equal(len(result.messages()), 1, f"{what}: messages\n{result.text}")
            test.check(f"stopped by {name} while the inputs were read" in result.messages()[0],
                       result.text)
        else:
            test.equal(check_stopped(test, result, name, out, what), 0, f"{what}: committed")
        test.run(2, files, out, *OPTIONS)
        if not inputs:
            test.same(whole, out, what)


def write_jsonl(inputs, path):
    with h5py.File(inputs) as file, open(path, "w") as stream:
        tokens, offsets = file["tokens"][()].tolist(), file["offsets"][()].tolist()
        for number, (begin, end) in enumerate(zip(offsets, offsets[1:])):
            stream.write(json.dumps({"id": number, "tokens": tokens[begin:end]}) + "\n")


def others(test, model):
    """Half-made files of other subcommands are removed, and what was there stays."""
    folder = model / "large"
    sizes = ("--layers", 16, "--hidden", 512, "--experts", 32, "--expert-ffn", 512)
    synth = [test.program, "synth", "--preset", "tiny", "--out", folder, *sizes]

    def half_made():
        return [path.name for path in folder.glob(".tmp-*")]

    def end(job, number, what):
        os.kill(job.process.pid, number)
        result = job.wait(30)
        test.equal(result.code, -number, f"{what}: how it ended\n{result.text}")
        test.equal(half_made(), [], f"{what}: temporary files")
        test.equal(len(result.messages()), 1, f"{what}: messages\n{result.text}")
        test.check("ended by " + signal.Signals(number).name in result.messages()[0], result.text)

    job = test.start(synth)
    wait_for(job, half_made, "a temporary file")
    end(job, INT, "synth")
    test.check(not (folder / "weights.h5").exists(), "there are weights")
    test.expect(test.start(synth).wait(120), 0, "synth again")
    job = test.start(synth)
    wait_for(job, half_made, "a temporary file")
    end(job, TERM, "synth over what is there")
    job = test.start([test.program, "verify", folder / "weights.h5"])
    wait_for(job, lambda: handles_signals(job.process.pid), "verify catches signals")
    end(job, INT, "verify")
    test.tetrarch("verify", folder / "weights.h5")


def body(test):
    model = test.synth("model", "--preset", "tiny", "--layers", 8, "--sequences", NUM_SEQUENCES,
                       "--min-tokens", 1, "--max-tokens", 300)
    whole = model / "whole"
    test.run(2, model, whole, *OPTIONS)
    for case in (stopped, launcher_ends, second, before_the_first_microbatch):
        case(test, model, whole)
    others(test, model)


if __name__ == "__main__":
    support.main(body)
