"""Instances draw microbatches as they come to them: a slow one does fewer, of the same bits."""
# SPDX-License-Identifier: Apache-2.0

import h5py
import numpy

import support

NUM_MICROBATCHES = 24
MODEL = ("--preset", "tiny", "--layers", 2, "--sequences", NUM_MICROBATCHES, "--tokens", 256)
# A fast instance takes some 10 ms for each, the slow one half a second longer.
MOST_OF_THE_SLOW = NUM_MICROBATCHES // 4


def microbatches_of(test, run_folder):
    """The microbatches of each instance: all of them, each done by one."""
    with h5py.File(run_folder / "results.h5") as file:
        phases = file["timing/phases"][()]
    phases = phases[phases["microbatch"] >= 0]
    done = [set(phases["microbatch"][phases["dp"] == dp].tolist()) for dp in (0, 1)]
    test.equal(sorted([*done[0], *done[1]]), list(range(NUM_MICROBATCHES)), "microbatches done")
    return done


def body(test):
    model = test.synth("model", *MODEL)
    whole = model / "whole"
    test.run(1, model, whole, *support.EVERYTHING)
    for grid in ((2, 1, 1, 1), (2, 2, 1, 2)):
        out = model / f"slow {grid}"
        test.run(numpy.prod(grid), model, out, *support.grid_options(grid),
                 "--tokens-per-microbatch", 256, *support.EVERYTHING,
                 program=[test.options.faulty, "slow-instance"])
        test.same(whole, out, f"a slow instance, {grid}")
        fast, slow = map(len, microbatches_of(test, out))
        print(f"     microbatches of the fast instance {fast}, of the slow one {slow}")
        test.check(0 < slow <= MOST_OF_THE_SLOW, f"the slow instance did {slow} microbatches, "
                                                 f"expected 1 to {MOST_OF_THE_SLOW}")


if __name__ == "__main__":
    support.main(body, lambda parser: parser.add_argument("--faulty", required=True))
