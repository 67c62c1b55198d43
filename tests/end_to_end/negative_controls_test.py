"""What makes bits depend on the number of ranks is found on the model and inputs of same_bits."""
# SPDX-License-Identifier: Apache-2.0

import support
from same_bits_test import make

# A plain sum over two ranks is the tree's: its two halves, exchanged.
GRIDS = {"attention-blocks": ((2, 1), (1, 2)), "plain-reduction": ((1, 4), (2, 4))}


def body(test):
    for dtype in ("f32", "bf16"):
        model = make(test, dtype, dtype)
        whole = model / "whole"
        test.run(1, model, whole, *support.EVERYTHING)
        for fault, grids in GRIDS.items():
            for ep, tp in grids:
                grid = ("--ep", ep, "--tp", tp)
                right, wrong = (model / f"{name} {fault} {ep} {tp}" for name in ("right", "wrong"))
                faulty = test.options.faulty
                test.run(ep * tp, model, right, *grid, *support.EVERYTHING,
                         program=[faulty, "none"])
                test.run(ep * tp, model, wrong, *grid, *support.EVERYTHING,
                         program=[faulty, fault])
                test.same(whole, right, f"{dtype} ep {ep} x tp {tp}, no fault")
                test.differ(whole, wrong, f"{dtype} ep {ep} x tp {tp}, {fault}")


if __name__ == "__main__":
    support.main(body, lambda parser: parser.add_argument("--faulty", required=True))
