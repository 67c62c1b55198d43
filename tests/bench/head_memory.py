#!/usr/bin/python3
"""Memory that a rank needs for log-probabilities of a long prompt over a large vocabulary.

    /usr/bin/python3 tests/bench/head_memory.py [--build build/cpu-release] [--tokens 8192]
        [--vocab 152064] [--outputs logprobs,topk] [--folder FOLDER]

Needs the target tetrarch. For one prompt of --tokens tokens and for one of 16 tokens, the log of the
run gives the peak resident memory of the rank that needs most. The difference is what the long prompt
adds. It is measured with these outputs, and with pooled hidden states, for which no logits are
computed. What the outputs add beyond the hidden states is the memory of the head. Nothing is checked
here; the bound is 256 MiB.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import re
import tempfile
from pathlib import Path

from prefill import REPO, output_of

UNITS = {"KiB": 2**-10, "MiB": 1.0, "GiB": 2**10}
SIZES = "--layers 2 --hidden 512 --heads 8 --kv-heads 4 --head-dim 64 --experts 8 --expert-ffn 512"


def peak_mib(args, model, out, ranks, outputs):
    text = output_of(
        ["bash", REPO / "tools/launch.sh", ranks, args.build / "app/tetrarch", "run", "--weights",
         args.weights, "--inputs", model / "inputs.h5", "--out", out, "--ep", 1, "--tp", ranks,
         "--outputs", outputs, "--hidden-pooling", "last"], 1)
    number, unit = re.search(r"resident memory of a rank ([\d.]+) (\wiB)", text).groups()
    return float(number) * UNITS[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=REPO / "build/cpu-release")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--vocab", type=int, default=152064)
    parser.add_argument("--outputs", default="logprobs")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        models = {}
        for tokens in (16, args.tokens):
            models[tokens] = Path(folder, str(tokens))
            output_of([args.build / "app/tetrarch", "synth", "--preset", "tiny", "--out",
                       models[tokens], "--sequences", 1, "--tokens", tokens, "--vocab", args.vocab]
                      + SIZES.split(), 2)
        args.weights = models[16] / "weights.h5"
        print(f"one prompt of {args.tokens} tokens, vocabulary {args.vocab}: peak resident memory of a "
              "rank, MiB")
        print(f"{'ranks':>5} {'outputs':<16} {'16 tokens':>10} {'all tokens':>10} {'added':>8}")
        for ranks in (1, 2, 4):
            added = {}
            for outputs in ("hidden", args.outputs):
                few, many = (peak_mib(args, model, Path(folder, f"{ranks}-{outputs}-{tokens}"), ranks,
                                      outputs) for tokens, model in models.items())
                added[outputs] = many - few
                print(f"{ranks:>5} {outputs:<16} {few:>10.1f} {many:>10.1f} {many - few:>8.1f}")
            print(f"{ranks:>5} the head needs {added[args.outputs] - added['hidden']:.1f} MiB a rank")


if __name__ == "__main__":
    main()
