"""Under a limit on addresses (ulimit -v) a run ends well or with exit code 5 and a line that says so.

Limits grow in steps from where the program lets MPI begin to where all goes well. With several
ranks Open MPI needs more than alone: where it has too little it ends the job itself, in
MPI_Init_thread and with exit code 1.
"""
# SPDX-License-Identifier: Apache-2.0

import re

import support

RANKS = (0, 2)  # alone, and by the launcher
STEPS = 6
FIRST_STEP_MIB, GROWTH = 8, 2  # beyond the least with which MPI begins: 8 MiB to 256 MiB
MPI_FAILED, MOST_OF_MPI_MIB = "An error occurred in MPI_Init_thread", 150
OWN_LINE = re.compile(r"^tetrarch: .*(memory|address space|thread)", re.MULTILINE)


def run_with(test, num_ranks, model, mib, name):
    """Exit code and text of a run whose processes have so many MiB of addresses."""
    weights, inputs = support.files_of(model)
    # the limit is that of the ranks alone: the launcher has its own needs
    limited = ["bash", "-c", f"ulimit -v {mib * 1024}; exec \"$0\" \"$@\"", test.program]
    job = test.start_ranks(num_ranks, *limited[1:], "run", "--weights", weights, "--inputs", inputs,
                           "--out", test.folder / name, threads=2, program=limited[0])
    result = job.wait(120)
    return result.code, result.text


def least_for_mpi(test, model):
    """MiB below which the program says that MPI cannot start, or its libraries do not load."""
    low, high = 8, 4096
    while high - low > 4:
        middle = (low + high) // 2
        code, text = run_with(test, 0, model, middle, f"probe-{middle}")
        if "MPI cannot start" not in text and "shared libraries" not in text:
            high = middle
        else:
            low = middle
    return high


def body(test):
    model = test.synth("model", "--preset", "tiny", "--sequences", 8, "--tokens", 64)
    least = least_for_mpi(test, model)
    print(f"MPI begins with {least} MiB", flush=True)
    code, text = run_with(test, 0, model, least - 24, "below")
    test.check(code == 5 and "MPI cannot start" in text,
               f"{least - 24} MiB: exit code {code}\n{text[-1000:]}")
    seen = {code}
    for num_ranks in RANKS:
        for step in range(STEPS):
            mib = round(least + FIRST_STEP_MIB * GROWTH**step)
            code, text = run_with(test, num_ranks, model, mib, f"run-{num_ranks}-{step}")
            print(f"ran  {num_ranks} ranks  {mib} MiB  exit {code}", flush=True)
            if code == 1 and MPI_FAILED in text and mib < least + MOST_OF_MPI_MIB:
                print("     in MPI_Init_thread, by MPI itself", flush=True)
                continue
            seen.add(code)
            test.check(code in (0, 5), f"{num_ranks} ranks, {mib} MiB: exit code {code}\n"
                                       f"{text[-3000:]}")
            if code == 5:
                test.check(OWN_LINE.search(text), f"{num_ranks} ranks, {mib} MiB: no line of its "
                                                  f"own\n{text[-3000:]}")
    test.equal(seen, {0, 5}, "exit codes over all limits")


if __name__ == "__main__":
    support.main(body)
