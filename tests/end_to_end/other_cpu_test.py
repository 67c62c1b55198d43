"""A CPU with fewer instructions gives right results, the same bits on every grid, and says so.

ONEDNN_MAX_CPU_ISA bounds oneDNN alone; tests/end_to_end/faulty.cpp bounds the program's own
kernels; together they stand for another CPU. Sets that this CPU does not have are named and left
out.
"""
# SPDX-License-Identifier: Apache-2.0

import h5py

import support

# own kernels, bound of oneDNN, goldens to hold
CPUS = (("x86-64-v3", "AVX2", ("mixtral-gqa", "mixtral-window", "qwen3-moe-a")),
        ("x86-64", "SSE41", ("qwen3-moe-b",)),
        ("x86-64-v4", "AVX512_CORE", ("mixtral-llama3",)))
ORDER = ("x86-64", "x86-64-v3", "x86-64-v4")
NOTE = "NOTE  bf16 values are multiplied as f32"


def on_cpu(test, kernels, onednn, num_ranks, model, out, *arguments, code=0):
    return test.run(num_ranks, model, out, *arguments, code=code,
                    program=[test.options.faulty, kernels],
                    prefix=("env", f"ONEDNN_MAX_CPU_ISA={onednn}"))


def golden_holds(test, name, kernels, onednn):
    golden, folder = support.SOURCE / "tests/data/goldens" / name, test.folder / name
    folder.mkdir()
    test.tool("check_golden.py", golden, "--make-inputs", folder / "inputs.h5")
    for dtype in ("f32", "bf16"):
        weights = folder / f"{dtype}.h5"
        test.tetrarch("import", "--from", golden / "model", "--out", weights, "--dtype", dtype)
        one, two = folder / f"{dtype}-1", folder / f"{dtype}-2"
        for out, grid in ((one, ()), (two, ("--tp", 2))):
            log = on_cpu(test, kernels, onednn, 1 + len(grid) // 2, (weights, folder / "inputs.h5"),
                         out, *grid, *support.EVERYTHING).text
            test.tool("check_golden.py", golden, out / "results.h5")
            test.check(f"kernels {kernels}, products " in log, f"{out}: other kernels\n{log}")
            # said exactly where own kernels multiply: f32 may be oneDNN's
            test.equal(NOTE in log, dtype == "bf16", f"{out}: note of bf16 as f32")
        test.same(one, two, f"{name} {dtype} on {kernels}, oneDNN up to {onednn}")


def resume_is_refused(test, best):
    """What one CPU began another does not go on with, unless that is asked for, and then told."""
    model = test.synth("resumed", "--preset", "tiny", "--sequences", 8, "--tokens", 16)
    out, arguments = model / "out", ("--tokens-per-microbatch", 16)
    on_cpu(test, best, "AVX512_CORE", 1, model, out, *arguments, "--stop-after", "1e-3", code=85)
    refused = on_cpu(test, "x86-64", "SSE41", 1, model, out, *arguments, code=2)
    test.check("portable x86-64\"" in refused.text and "--allow-mixed" in refused.text,
               f"the refusal does not say why\n{refused.text}")
    on_cpu(test, "x86-64", "SSE41", 1, model, out, *arguments, "--allow-mixed")
    with h5py.File(out / "results.h5") as file:
        test.equal(int(file.attrs["reproducible"]), 0, "reproducible")


def body(test):
    model = test.synth("native", "--preset", "tiny")
    log = test.run(1, model, model / "out").text
    best = max((name for name in ORDER if f"kernels {name}," in log), key=ORDER.index)
    for kernels, onednn, goldens in CPUS:
        if ORDER.index(kernels) > ORDER.index(best):
            print(f"left {kernels}: this CPU has {best}")
            continue
        for golden in goldens:
            golden_holds(test, golden, kernels, onednn)
    if best != "x86-64":
        resume_is_refused(test, best)


if __name__ == "__main__":
    support.main(body, lambda parser: parser.add_argument("--faulty", required=True))
