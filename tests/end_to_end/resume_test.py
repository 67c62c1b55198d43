"""Killed, stopped and damaged runs: the same command does the rest, and the bits are the same."""
# SPDX-License-Identifier: Apache-2.0

import time

import h5py

import support

NUM_SEQUENCES = 60
PARTS_BEFORE_THE_KILL = 3
COMMIT_ALL = ("--tokens-per-microbatch", 700, "--commit-interval", 0, *support.EVERYTHING)


def parts(run_folder, ep_rank="*"):
    return sorted((run_folder / "parts").glob(f"d[0-9]*-e{ep_rank}-*.h5"))


def sequences_in(test, part_files):
    """How many sequences are committed; none of them twice."""
    found = []
    for part in part_files:
        with h5py.File(part) as file:
            found += file["sequences/index"][()].tolist()
    test.equal(len(set(found)), len(found), "different sequences in parts")
    return len(found)


def wait_for_parts(job, run_folder, num_parts):
    """Until ep rank 0, which has some of each microbatch, has committed that many."""
    deadline = time.monotonic() + 60
    while len(parts(run_folder, "000")) < num_parts:
        if job.process.poll() is not None:
            raise support.Failed(f"ended before it could be killed:\n{job.text()}")
        if time.monotonic() > deadline:
            raise support.Failed(f"no {num_parts} parts after 60 s:\n{job.text()}")
        time.sleep(0.002)


def start(test, model, out, num_ranks, *grid):
    weights, inputs = support.files_of(model)
    return test.start_ranks(num_ranks, "run", "--weights", weights, "--inputs", inputs, "--out",
                            out, *grid, *COMMIT_ALL)


def interrupt(test, model, out, num_ranks, *grid, strike, num_parts=PARTS_BEFORE_THE_KILL):
    """Starts a run and strikes it half-way; returns the result."""
    job = start(test, model, out, num_ranks, *grid)
    wait_for_parts(job, out, num_parts)
    strike(job)
    result = job.wait(30)
    if (out / "results.h5").exists():
        raise support.Failed(f"was done before the kill:\n{result.text}")
    print(f"killed with {len(parts(out))} parts committed, exit {result.code}", flush=True)
    return result


def finish(test, model, out, whole, num_ranks, *grid, damaged_part=None, committed_parts=None):
    """The rest on other ranks; what was done is not done again. Returns the output."""
    if committed_parts is None:
        committed_parts = [part for part in parts(out) if part != damaged_part]
    committed = sequences_in(test, committed_parts)
    text = test.run(num_ranks, model, out, *grid, *COMMIT_ALL).text
    done = int(text.split(" done already")[0].split()[-1])
    test.equal(done, committed, "sequences that the log says were done already")
    test.check(0 < done < NUM_SEQUENCES, f"{done} of {NUM_SEQUENCES} sequences were done before")
    test.equal(parts(out), [], "parts that are still there")
    test.same(whole, out, f"{out.name}, the rest on {num_ranks} ranks, {done} done before")
    return text


def killed(test, model, whole):
    everything = model / "launcher and ranks killed"
    interrupt(test, model, everything, 8, "--ep", 4, "--tp", 2, strike=lambda job: job.kill())
    finish(test, model, everything, whole, 4, "--ep", 2, "--tp", 2)

    def kill_one(job):
        ranks = job.ranks(test.program)
        if len(ranks) != 8:
            raise support.Failed(f"{len(ranks)} ranks are running, expected 8")
        support.kill(ranks[-1:])

    one = model / "one rank killed"
    result = interrupt(test, model, one, 8, "--ep", 4, "--tp", 2, strike=kill_one)
    test.check(result.code == 137, f"exit code {result.code}, expected 137 (kill -9)")
    finish(test, model, one, whole, 1)


def killed_twice(test, model, whole):
    out = model / "killed twice"
    interrupt(test, model, out, 1, strike=lambda job: job.kill())
    before = len(parts(out))
    job = start(test, model, out, 3, "--ep", 1, "--tp", 1, "--dp", 1)
    test.expect(job.wait(60), 2, "a grid that does not fit the ranks")
    test.equal(len(parts(out)), before, "parts after a refused resume")
    job = start(test, model, out, 2, "--ep", 2)
    wait_for_parts(job, out, len(parts(out, "000")) + PARTS_BEFORE_THE_KILL)
    job.kill()
    job.wait(30)
    finish(test, model, out, whole, 2)


def damaged(test, model, whole):
    """A part with one bit turned is moved away, said, and its sequences are done again."""
    out = model / "damaged part"
    interrupt(test, model, out, 8, "--ep", 4, "--tp", 2, strike=lambda job: job.kill())
    victim = parts(out, "000")[1]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(content)
    (out / "parts" / ".tmp-left-behind.h5").write_bytes(b"half a file")
    text = finish(test, model, out, whole, 4, damaged_part=victim)
    test.check(f"damaged-{victim.name}" in text, f"{victim.name} is not named:\n{text}")
    left = [path.name for path in (out / "parts").iterdir()]
    test.equal(left, [f"damaged-{victim.name}"], "what is left of the parts")


def results_lost(test, model, whole):
    """With the parts kept, damaged results are made again, and nothing is computed."""
    out = model / "results lost"
    arguments = ("--tokens-per-microbatch", 5000, "--keep-parts", *support.EVERYTHING)
    test.run(2, model, out, *arguments)
    results = out / "results.h5"
    results.write_bytes(results.read_bytes()[:5000])
    text = test.run(1, model, out, *arguments).text
    test.check(f"{NUM_SEQUENCES} done already, 0 to do" in text, f"done again:\n{text}")
    test.same(whole, out, "results made again from the parts")


def no_space(test, model, whole):
    """A full disk, played by a limit on the size of files: what is committed is not lost."""
    out = model / "no space"
    # the file behind the shared memory of Open MPI 5 would have 16 MiB
    limited = ["env", "--ignore-signal=XFSZ", f"OMPI_MCA_btl_sm_segment_size={4 << 20}",
               "prlimit", f"--fsize={12 << 20}", test.program]
    arguments = ("--tokens-per-microbatch", 5000, *support.EVERYTHING)
    for num_ranks, committed in ((1, 0), (8, NUM_SEQUENCES)):  # in a part; in results.h5
        result = test.run(num_ranks, model, out, *arguments, "--ep", num_ranks, code=5,
                          program=limited)
        test.equal(len(result.messages()), 1, f"messages\n{result.text}\n")
        test.check(str(out) in result.text, f"{out} is not named:\n{result.text}")
        test.equal(sequences_in(test, parts(out)), committed, "committed sequences")
        test.check(not (out / "results.h5").exists(), "there are results")
        print(f"     {result.messages()[0]}")
    text = test.run(2, model, out, *arguments).text
    test.check(f"{NUM_SEQUENCES} done already, 0 to do" in text, f"done again:\n{text}")
    test.same(whole, out, "results made again when there was space")


def stopped(test, model, whole):
    """Exit code 85 with everything committed; again and again until it is done."""
    out, code, attempts = model / "stopped", 85, 0
    while code == 85 and attempts < 4:
        job = start(test, model, out, 4, "--stop-after", "1e-3")
        code, attempts = job.wait(60).code, attempts + 1
    test.equal((code, attempts), (85, 4), "exit code and attempts with --stop-after")
    job = start(test, model, out, 8, "--tp", 4)
    wait_for_parts(job, out, len(parts(out, "000")) + 1)
    (out / "stop").touch()
    result = test.expect(job.wait(60), 85, "the file stop")
    test.check("stopped  early on request" in result.text, "the log does not say why it stopped")
    finish(test, model, out, whole, 2, "--tp", 2)
    test.check(not (out / "stop").exists(), "the file stop is still there")


def complete(test, model, whole):
    before = (whole / "results.h5").read_bytes()
    text = test.run(4, model, whole, *COMMIT_ALL).text
    test.check("nothing is left to do" in text, f"a complete folder is not said to be:\n{text}")
    test.check((whole / "results.h5").read_bytes() == before, "results.h5 was written again")


def body(test):
    model = test.synth("model", "--preset", "tiny", "--layers", 8, "--sequences", NUM_SEQUENCES,
                       "--min-tokens", 1, "--max-tokens", 600)
    whole = model / "whole"
    test.run(2, model, whole, *support.EVERYTHING)
    for case in (killed, killed_twice, damaged, results_lost, no_space, stopped, complete):
        case(test, model, whole)


if __name__ == "__main__":
    support.main(body)
