"""The watchdog leaves a slow exchange alone while anything moves in it, and ends one that stands still."""
# SPDX-License-Identifier: Apache-2.0

import re

import support

WATCHDOG_S = 2
GRID = (1, 1, 2, 2)
MODEL = ("--preset", "tiny", "--layers", 2, "--sequences", 2, "--tokens", 24)
PAUSE_MS = 500  # before each of some 20 rows: several times what the watchdog waits
FOR_EVER_MS = 1_000_000


def slow(test, model, phase, pause_ms, code):
    out = model / f"{phase} {pause_ms}"
    return out, test.run(4, model, out, *support.grid_options(GRID), "--watchdog", WATCHDOG_S,
                         "--outputs", "logprobs,hidden", code=code, seconds=60,
                         program=[test.options.faulty, f"slow-exchange:1:{phase}:{pause_ms}"])


def body(test):
    model = test.synth("model", *MODEL)
    whole = model / "whole"
    test.run(1, model, whole, "--outputs", "logprobs,hidden")
    for phase in ("tp_gather", "tp_reduce", "combine"):
        out, result = slow(test, model, phase, PAUSE_MS, code=0)
        test.check(result.seconds > 2 * WATCHDOG_S, f"{phase}: only {result.seconds:.1f} s")
        test.same(whole, out, f"a slow exchange in {phase}")
    for phase in ("tp_gather", "combine"):
        result = slow(test, model, phase, FOR_EVER_MS, code=6)[1]
        test.equal(len(result.messages()), 1, f"{phase}: messages\n{result.text}")
        said = result.messages()[0]  # who of a pair stands still cannot be seen
        test.check(re.search(r"rank [01] \(host .*(is out of step|wait for each other)", said), said)


if __name__ == "__main__":
    support.main(body, lambda parser: parser.add_argument("--faulty", required=True))
