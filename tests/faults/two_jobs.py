"""Of two jobs on one run folder one wins and the other is told who holds it, whatever happens.

two_jobs.py [PROGRAM] --trials 100     in turn: two jobs started together on a fresh folder; the
                                       same with HDF5's own locks off; one started while another is
                                       dying; two that find the lock of a dead one
"""
# SPDX-License-Identifier: Apache-2.0

import json
import re
import time

import faults
import support

GRIDS = [(1, 1, 2, 1), (2, 1, 1, 1), (1, 1, 1, 2), (1, 2, 1, 1)]
REFUSED = re.compile(r"lock: the folder is in use \(locked by process (\d+) on host (\S+) since "
                     r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ), waited \d+ s\)")


def ended(test, jobs, out, is_waiting):
    """One has done it all. The other was refused by name, or, where it waited long enough
    (`is_waiting`), found everything done."""
    results = [job.wait(90) for job in jobs]
    codes = sorted(result.code for result in results)
    if is_waiting and codes == [0, 0]:
        said = ["nothing is left to do" in result.text for result in results]
        test.equal(sorted(said), [False, True], f"who found it done\n{results[0].text}\n"
                                                f"{results[1].text}")
        return "waited"
    test.equal(codes, [0, 5], f"exit codes\n{results[0].text}\n{results[1].text}\n")
    loser = next(result for result in results if result.code == 5)
    messages = loser.messages()
    test.equal(len(messages), 1, f"error lines\n{loser.text}\n")
    said = REFUSED.search(messages[0])
    test.check(said, f"holder, host and time are not named: {messages[0]}")
    test.check(str(out) in messages[0], f"{out} is not named: {messages[0]}")
    return "refused"


def together(test, out, rng, *prefix):
    """Both at once; a loser that waits its 10 s out finds a winner that is slower than that."""
    is_slow = rng.random() < 0.5
    fault = {"CALLS": "rename", "AT": 2, "DO": "sleep", "SECONDS": 13} if is_slow else None
    jobs = [test.begin(out, rng.choice(GRIDS), fault=fault, prefix=prefix) for _ in range(2)]
    return ended(test, jobs, out, is_waiting=not is_slow)


def while_dying(test, out, rng):
    """The first is killed at a random moment, rank by rank; the second starts at that moment."""
    first = test.begin(out, rng.choice(GRIDS))
    time.sleep(rng.uniform(0, 1.0))
    ranks = sorted(first.ranks(test.program))
    second = test.begin(out, rng.choice(GRIDS))
    support.kill(rng.sample(ranks, min(len(ranks), 1)))
    test.expect(second.wait(60), 0, "the job that came while another was dying")
    first.wait(60)
    return "took over" if ranks else "came first"


def dead_holder(test, out, rng):
    """The lock of a dead job is there; two jobs take it over at once."""
    first = test.begin(out, rng.choice(GRIDS))
    while not list(out.glob("parts/d*.h5")) and first.process.poll() is None:
        time.sleep(0.002)
    first.kill()
    first.wait(60)
    if (out / "lock").exists():
        test.check("pid" in json.loads((out / "lock").read_text()), "the lock names no holder")
    before = test.verify(out)
    jobs = [test.begin(out, rng.choice(GRIDS), "--keep-parts") for _ in range(2)]
    how = ended(test, jobs, out, is_waiting=True)
    test.all_there(out, before)
    return how


def body(test):
    test.prepare("--sequences", 16, "--min-tokens", 1, "--max-tokens", 40,
                 tokens_per_microbatch=60)
    kinds = {"together": together,
             "together, HDF5 locks off": lambda *a: together(*a, "HDF5_USE_FILE_LOCKING=FALSE"),
             "while dying": while_dying,
             "dead holder": dead_holder}
    found = {}
    for trial in range(test.options.first, test.options.first + test.options.trials):
        started = time.monotonic()
        kind = list(kinds)[trial % len(kinds)]
        out = test.folder / f"trial-{trial}"
        how = kinds[kind](test, out, test.random)
        if (out / "parts").exists():
            test.all_there(out, {})
        test.no_leftovers(out, parts=kind == "dead holder")
        test.same_as_whole(out)
        test.remove(out)
        found.setdefault(kind, {}).setdefault(how, 0)
        found[kind][how] += 1
        print(f"trial {trial:3}  {time.monotonic() - started:4.1f} s  {kind}: {how}", flush=True)
    print(f"{test.options.trials} trials: {found}")


if __name__ == "__main__":
    faults.main(body, lambda parser: parser.add_argument("--trials", type=int, default=100))
