#!/usr/bin/python3
"""Speed of prefill on one rank as a share of the product ceiling that oneDNN shows in the same run.

    /usr/bin/python3 tests/bench/prefill.py [--build build/cpu-release] [--shape A|B] [--tokens 512]
        [--threads 2] [--rounds 3] [--dtype bf16|f32] [--folder FOLDER]

Needs the targets tetrarch and gemm_bench. Ceiling and run alternate, `rounds` times. The ceiling
is oneDNN's packed product of 512 x 1792 x 1024 in the model's dtype; where oneDNN has no bf16 on
this CPU it is the f32 one, and the table says so. Only useful work counts: products, visible
attention pairs, router, wanted rows of the head. Nothing is asserted here.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import h5py

REPO = Path(__file__).resolve().parents[2]
SHAPES = {
    "A": "--layers 8 --hidden 1024 --heads 16 --kv-heads 4 --head-dim 64 --experts 16 --top-k 2 "
         "--expert-ffn 1792 --vocab 32000",
    "B": "--layers 16 --hidden 512 --heads 8 --kv-heads 8 --head-dim 64 --experts 16 --top-k 2 "
         "--expert-ffn 2048 --vocab 32000",
}


def output_of(command, threads):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(word) for word in command], env=environment, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def ceiling(build, threads, dtype):
    """GFLOP/s of oneDNN, and which dtype it was in."""
    text = output_of([build / "tests/backend/gemm_bench", str(threads), "512", "1792", "1024"], threads)
    own_f32, own_bf16, f32, bf16 = text.splitlines()[-1].split()[-4:]
    chosen = "bf16" if dtype == "bf16" and bf16 != "-" else "f32"
    own = own_bf16 if dtype == "bf16" else own_f32
    return float(bf16 if chosen == "bf16" else f32), chosen, float(own)


def run_once(args, model, out):
    text = output_of(
        ["bash", REPO / "tools/launch.sh", "1", args.build / "app/tetrarch", "run",
         "--weights", model / "weights.h5", "--inputs", model / "inputs.h5", "--out", out,
         "--outputs", "last_logits", "--tokens-per-microbatch", str(args.tokens)], args.threads)
    useful = float(re.search(r"([\d.]+) GFLOP/s of useful work", text).group(1))
    with h5py.File(out / "results.h5") as file:
        rate = float(file["timing"].attrs["tokens_per_second"])
        phases = {}
        for row in file["timing/phases"]:
            name = row["phase"].decode().rstrip("\0")
            if row["microbatch"] >= 0:
                seconds, flops = phases.get(name, (0.0, 0))
                phases[name] = (seconds + row["seconds"], flops + int(row["flops"]))
    return rate, useful, phases


def spread(values):
    return f"{statistics.median(values):.1f} [{min(values):.1f}..{max(values):.1f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=REPO / "build/cpu-release")
    parser.add_argument("--shape", choices=SHAPES, default="A")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("bf16", "f32"), default="bf16")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        model = Path(folder, "model")
        output_of([args.build / "app/tetrarch", "synth", "--preset", "tiny", "--out", model,
                   "--dtype", args.dtype, "--sequences", "8", "--tokens", str(args.tokens)]
                  + SHAPES[args.shape].split(), args.threads)
        ceilings, owns, rates, usefuls = [], [], [], []
        for number in range(args.rounds):
            value, dtype, own = ceiling(args.build, args.threads, args.dtype)
            ceilings.append(value)
            owns.append(own)
            rate, useful, phases = run_once(args, model, Path(folder, f"run-{number}"))
            rates.append(rate)
            usefuls.append(useful)

    print(f"shape {args.shape}, {args.dtype}, 8 prompts of {args.tokens}, one a microbatch, 1 rank "
          f"x {args.threads} threads, head on the last position, {args.rounds} rounds: "
          "median [min..max]")
    print(f"tokens/s                       {spread(rates)}")
    print(f"useful GFLOP/s                 {spread(usefuls)}")
    print(f"oneDNN product, {dtype:<5} GFLOP/s  {spread(ceilings)}"
          + ("" if dtype == args.dtype else f"   (oneDNN has no {args.dtype} on this CPU)"))
    print(f"own product, {args.dtype:<5} GFLOP/s     {spread(owns)}")
    shares = [100 * useful / value for useful, value in zip(usefuls, ceilings)]
    print(f"share of oneDNN's product      {spread(shares)} %")
    total = sum(seconds for seconds, _ in phases.values())
    print("\nlast round:  phase       seconds  % of time   GFLOP/s")
    for name, (seconds, flops) in sorted(phases.items(), key=lambda item: -item[1][0]):
        print(f"             {name:<10} {seconds:>8.3f} {100 * seconds / total:>10.1f} "
              f"{flops / max(seconds, 1e-9) / 1e9:>9.1f}")


if __name__ == "__main__":
    main()
