#!/usr/bin/env python3
"""Lists the tests that were skipped, each with its reason, from the logs of ctest.

    tests/skips.py LOG ... [--left-out 'STEP: REASON' ...]

LOG is a LastTest.log of ctest. --left-out names a step of the gate that did not run. Two kinds of
output say that a test was skipped: that of GoogleTest's GTEST_SKIP, and in any other program a line
"skipped: REASON".

exit  0 each reason is allowed; 1 one is not, or a log is not there
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import re
import sys
from pathlib import Path

# Only what tools/setup.sh cannot install is a reason. The first word or words of each:
ALLOWED = (
    "this CPU ",
    "this CPU's ",  # its instructions, and what the kernel lets programs use of them
    "this root user cannot become another user",  # containers with one user
    "there is no nvcc",  # the CUDA toolkit is not a package of Debian's main archive
)

TEST = re.compile(r"^\d+/\d+ Testing: (.*)$")
RUN = re.compile(r"^\[ RUN +\] (\S+)")
SKIPPED = re.compile(r"^\[ +SKIPPED +\] (\S+) \(")
REASON = re.compile(r"^\S+:\d+: Skipped$")
LINE = re.compile(r"^skipped: (.*)$")
DISABLED = re.compile(r"^ *YOU HAVE (\d+ DISABLED TESTS?)")
COLOUR = re.compile("\x1b" + r"\[[0-9;]*[mK]")


def skips_in(text):
    """(test, reason) of each skip in the log, in its order."""
    test = case = reason = ""
    wants_reason = False
    for line in COLOUR.sub("", text).splitlines():
        if wants_reason:
            reason, wants_reason = line.strip(), False
        elif found := TEST.match(line):
            test = found[1]
        elif found := RUN.match(line):
            case, reason = found[1], ""
        elif REASON.match(line):
            wants_reason = True
        elif (found := SKIPPED.match(line)) and found[1] == case:
            yield f"{test} {case}", reason or "no reason was given"
        elif found := LINE.match(line) or DISABLED.match(line):
            yield test, found[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="*", metavar="LOG", type=Path)
    parser.add_argument("--left-out", action="append", default=[], metavar="'STEP: REASON'")
    args = parser.parse_args()

    skips = {}  # reason -> names
    for log in args.logs:
        for name, reason in skips_in(log.read_text(errors="replace")):
            skips.setdefault(reason, {})[name] = None
    for step in args.left_out:
        name, _, reason = step.partition(": ")
        skips.setdefault(reason, {})[f"the step {name}"] = None

    is_allowed = True
    for reason, names in sorted(skips.items()):
        allowed = reason.startswith(ALLOWED)
        is_allowed = is_allowed and allowed
        print(f"skipped: {reason}" if allowed else f"skipped and NOT ALLOWED: {reason}")
        for name in names:
            print(f"  {name}")
    if not is_allowed:
        print("Only what tools/setup.sh cannot install may be skipped (ALLOWED in tests/skips.py).")
        return 1
    if not skips:
        print("Nothing was skipped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
