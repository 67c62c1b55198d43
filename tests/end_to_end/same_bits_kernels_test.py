"""Each family of bf16 kernels that this CPU has gives the bits of one rank on every grid.

Tiles in software stand for those of a CPU with AMX; where there is one, both are compared.
tests/end_to_end/faulty.cpp chooses the kernels; those that this CPU does not have are named and
left out.
"""
# SPDX-License-Identifier: Apache-2.0

import subprocess

import support
from same_bits_test import make

# name of the kernels, their name in the log
FAMILIES = (("avx512-bf16", "avx512-bf16"), ("amx-bf16", "amx-bf16"),
            ("amx-software", "amx-bf16 software"))
GRIDS = ((2, 1), (1, 4), (2, 4))
GOLDENS = ("mixtral-gqa", "mixtral-window", "qwen3-moe-b")


def is_here(test, kernels):
    """Whether this CPU has these kernels; faulty says so before it reads any option."""
    done = subprocess.run([test.options.faulty, kernels, "run"], capture_output=True, text=True,
                          check=False)
    if done.returncode == 77:
        print(f"left {kernels}: {done.stderr.strip()}")
    return done.returncode != 77


def on_kernels(test, kernels, num_ranks, model, out, *arguments, threads=1):
    return test.run(num_ranks, model, out, *arguments, threads=threads,
                    program=[test.options.faulty, kernels])


def every_grid(test, model, kernels, name):
    whole = model / kernels
    log = on_kernels(test, kernels, 1, model, whole, *support.EVERYTHING).text
    test.check(f"products {name}, " in log, f"{kernels}: other kernels\n{log}")
    for number, (ep, tp) in enumerate(GRIDS):
        out = model / f"{kernels}-{number}"
        on_kernels(test, kernels, ep * tp, model, out, "--ep", ep, "--tp", tp,
                   "--tokens-per-microbatch", (1, 700, 8192)[number], *support.EVERYTHING,
                   threads=1 + number % 2)
        test.same(whole, out, f"{kernels}, ep {ep} x tp {tp}")
    out = model / f"{kernels}-chunks"
    on_kernels(test, kernels, 1, model, out, "--chunk-tokens", 100, *support.EVERYTHING, threads=2)
    test.same(whole, out, f"{kernels}, chunks")


def goldens_hold(test, kernels):
    for name in GOLDENS:
        golden = support.SOURCE / "tests/data/goldens" / name
        folder = test.folder / f"{kernels}-{name}"
        folder.mkdir()
        test.tool("check_golden.py", golden, "--make-inputs", folder / "inputs.h5")
        test.tetrarch("import", "--from", golden / "model", "--out", folder / "weights.h5",
                      "--dtype", "bf16")
        on_kernels(test, kernels, 1, folder, folder / "out", *support.EVERYTHING)
        test.tool("check_golden.py", golden, folder / "out/results.h5")


def body(test):
    model = make(test, "model", "bf16")
    here = [family for family in FAMILIES if is_here(test, family[0])]
    for kernels, name in here:
        every_grid(test, model, kernels, name)
        goldens_hold(test, kernels)
    names = [kernels for kernels, _ in here]
    if "amx-bf16" in names:
        test.same(model / "amx-bf16", model / "amx-software", "tiles of the CPU and of software")
    if "avx512-bf16" in names and "amx-software" in names:
        test.differ(model / "avx512-bf16", model / "amx-software", "families of kernels")


if __name__ == "__main__":
    support.main(body, lambda parser: parser.add_argument("--faulty", required=True))
