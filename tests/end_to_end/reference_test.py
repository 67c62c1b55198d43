"""Two-matrix GELU experts, which no golden has, hold against the NumPy forward pass."""
# SPDX-License-Identifier: Apache-2.0

import support

MODEL = ("--preset", "tetrarch-64-mini", "--expert-kind", "mlp", "--layers", 3)
LENGTHS = (1, 2, 37, 129, 3)


def body(test):
    for dtype in ("f32", "bf16"):
        model = test.synth(dtype, *MODEL, "--dtype", dtype)
        sequences = support.random_sequences(LENGTHS, 512)
        support.write_inputs(model / "inputs.h5", sequences, score_from=[0, 1, 20, 129, 2])
        test.run(8, model, model / "run", "--ep", 4, "--tp", 2, *support.EVERYTHING)
        held = test.tool("reference.py", model / "weights.h5", model / "inputs.h5",
                         model / "run/results.h5")
        print(f"{dtype}: {held.text.strip()}")


if __name__ == "__main__":
    support.main(body)
