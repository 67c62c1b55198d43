#!/usr/bin/python3
"""Speed of prefill, compared with oneDNN's products, other programs, more ranks and 1 reduction shard.

    /usr/bin/python3 tests/bench/prefill.py [--shapes A B] [--tokens 512 2048] [--rounds 3]
        [--llama-bench [NAME=]PROGRAM ... --gguf-python PYTHON] [--transformers PYTHON]
        [--prompts 1] [--ranks 2 64] [--price] [--phases]
        [--build build/cpu-release] [--threads 2] [--dtype bf16|f32] [--folder FOLDER]

Needs the targets tetrarch and gemm_bench. The measurements that are compared take turns, `rounds`
times, each in a new process. A line shows the median [min..max]; a ratio is the ratio of the medians.

ceiling    oneDNN's packed product of 512 x 1792 x 1024 in the dtype of the model, the best of many runs
           (f32 if oneDNN has no bf16 on this CPU; the line says so)
one rank   16,384 tokens, so that the last commit is a small part of the time; --prompts of the prompts in a
           microbatch; logits of the last position only. Useful GFLOP/s:
           matrix products, attention to visible keys, router, requested rows of the head; skipped work
           does not count
llama.cpp  llama-bench of a random bf16 model of the same shape (tests/bench/llama_model.py, which needs
           a Python with the package gguf), the same threads, prompt processing only, with the fastest of
           its options (peers.py); once for each --llama-bench
transformers  a random model of the same shape in that Python (tests/bench/transformers_prefill.py), the
           prompts of a microbatch as one batch, with its fastest implementation of experts
ranks      2: ep 2, two prompts per microbatch; 64: ep 16 x tp 4, sixteen prompts per microbatch; each rank
           has one thread. Compared with one rank of all threads on the same microbatches
price      one rank with 4 reduction shards in the model file, compared with 1 reduction shard
Nothing is checked here.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import re
import statistics
import tempfile
from pathlib import Path

import h5py

from peers import LlamaBench, Transformers, output_of

REPO = Path(__file__).resolve().parents[2]
SHAPES = {
    "A": "--layers 8 --hidden 1024 --heads 16 --kv-heads 4 --head-dim 64 --experts 16 --top-k 2 "
         "--expert-ffn 1792 --vocab 32000",
    "B": "--layers 16 --hidden 512 --heads 8 --kv-heads 8 --head-dim 64 --experts 16 --top-k 2 "
         "--expert-ffn 2048 --vocab 32000",
}
NUM_TOKENS = 16384  # of the prompts of one rank
GRIDS = {2: (["--ep", "2"], 2), 64: (["--ep", "16", "--tp", "4"], 16)}  # and prompts a microbatch


def ceiling(args):
    """GFLOP/s of oneDNN, and which dtype it was in."""
    bench = args.build / "tests/backend/gemm_bench"
    text = output_of([bench, args.threads, 512, 1792, 1024], args.threads)
    f32, bf16 = text.splitlines()[-1].split()[-2:]
    chosen = "bf16" if args.dtype == "bf16" and bf16 != "-" else "f32"
    return float(bf16 if chosen == "bf16" else f32), chosen


def make_model(args, folder, shape, tokens, prompts, shards):
    output_of([args.build / "app/tetrarch", "synth", "--preset", "tiny", "--out", folder, "--dtype", args.dtype,
               "--sequences", prompts, "--tokens", tokens, "--reduction-shards", shards]
              + SHAPES[shape].split(), args.threads)


class Run:
    """One run of tetrarch: its rates, and the seconds and FLOPs of its phases, summed over ranks."""

    def __init__(self, args, model, tokens, ranks=1, grid=()):
        with tempfile.TemporaryDirectory(dir=args.folder) as out:
            text = output_of(
                ["bash", REPO / "tools/launch.sh", ranks, args.build / "app/tetrarch", "run",
                 "--weights", model / "weights.h5", "--inputs", model / "inputs.h5",
                 "--out", Path(out, "run"), "--outputs", "last_logits",
                 "--tokens-per-microbatch", tokens, *grid], args.threads if ranks == 1 else 1)
            self.useful = float(re.search(r"([\d.]+) GFLOP/s of useful work", text).group(1))
            with h5py.File(Path(out, "run/results.h5")) as file:
                self.rate = float(file["timing"].attrs["tokens_per_second"])
                self.phases = {}
                for row in file["timing/phases"]:
                    name = row["phase"].decode().rstrip("\0")
                    if row["microbatch"] >= 0:
                        seconds, flops = self.phases.get(name, (0.0, 0))
                        self.phases[name] = (seconds + row["seconds"], flops + int(row["flops"]))


def spread(values):
    return f"{statistics.median(values):8.1f} [{min(values):.1f}..{max(values):.1f}]"


def ratio(these, those):
    return statistics.median(these) / statistics.median(those)


def print_phases(run):
    total = sum(seconds for seconds, _ in run.phases.values())
    print("    phase       seconds  % of time   GFLOP/s")
    for name, (seconds, flops) in sorted(run.phases.items(), key=lambda item: -item[1][0]):
        if seconds > 0.002 * total:
            print(f"    {name:<10} {seconds:>8.3f} {100 * seconds / total:>10.1f} "
                  f"{flops / max(seconds, 1e-9) / 1e9:>9.1f}")


def one_rank(args, folder, shape, tokens, peers):
    model = folder / f"{shape}-{tokens}"
    prompts = max(8, NUM_TOKENS // tokens)
    make_model(args, model, shape, tokens, prompts, 4)
    if args.price:
        make_model(args, folder / "plain", shape, tokens, prompts, 1)
    ceilings, runs, plain, theirs = [], [], [], [[] for _ in peers]
    for _ in range(args.rounds):
        value, dtype = ceiling(args)
        ceilings.append(value)
        runs.append(Run(args, model, args.prompts * tokens))
        if args.price:
            plain.append(Run(args, folder / "plain", args.prompts * tokens).rate)
        for peer, found in zip(peers, theirs):
            found.append(peer.rate(shape, SHAPES[shape].split(), tokens, folder))
    rates, useful = [run.rate for run in runs], [run.useful for run in runs]
    print(f"shape {shape}, {args.dtype}, prompts of {tokens} tokens")
    print(f"  one rank, tokens/s             {spread(rates)}")
    print(f"  useful GFLOP/s                 {spread(useful)}")
    print(f"  ceiling, oneDNN {dtype:<4}, GFLOP/s  {spread(ceilings)}")
    print(f"  share of the ceiling           {100 * ratio(useful, ceilings):8.1f} %")
    for peer, found in zip(peers, theirs):
        print(f"  {peer.name + ', tokens/s':<30} {spread(found)}  ({peer.note(shape, tokens)})")
        print(f"  {'times ' + peer.name:<30} {ratio(rates, found):8.2f}")
    if plain:
        print(f"  1 reduction shard, tokens/s    {spread(plain)}")
        print(f"  price of 4                     {100 * (ratio(plain, rates) - 1):8.1f} %")
    if args.phases:
        print_phases(runs[-1])


def more_ranks(args, folder, shape, tokens, ranks):
    grid, prompts = GRIDS[ranks]
    model = folder / f"{shape}-{tokens}-{ranks}"
    make_model(args, model, shape, tokens, max(8, 2 * prompts), 4)
    alone, together = [], []
    for _ in range(args.rounds):
        alone.append(Run(args, model, prompts * tokens))
        together.append(Run(args, model, prompts * tokens, ranks, grid))
    alone_rate, rate = [run.rate for run in alone], [run.rate for run in together]
    print(f"shape {shape}, {args.dtype}, {prompts} prompts of {tokens} tokens per microbatch, "
          f"{' '.join(grid)}, one thread per rank")
    print(f"  one rank, tokens/s             {spread(alone_rate)}")
    print(f"  {ranks:<2} ranks, tokens/s             {spread(rate)}")
    print(f"  times one rank                 {ratio(rate, alone_rate):8.2f}")
    if args.phases:
        print_phases(alone[-1])
        print_phases(together[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=REPO / "build/cpu-release")
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("bf16", "f32"), default="bf16")
    parser.add_argument("--prompts", type=int, choices=(1, 2, 4, 8), default=1, help="prompts per microbatch")
    parser.add_argument("--llama-bench", action="append", default=[], metavar="[NAME=]PROGRAM")
    parser.add_argument("--transformers", metavar="PYTHON")
    parser.add_argument("--gguf-python", default="python3")
    parser.add_argument("--ranks", type=int, choices=GRIDS, nargs="*", default=[])
    parser.add_argument("--price", action="store_true")
    parser.add_argument("--phases", action="store_true")
    parser.add_argument("--only-ranks", action="store_true", help="measure only --ranks")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    peers = [LlamaBench(word, args.threads, args.gguf_python) for word in args.llama_bench]
    if args.transformers:
        peers.append(Transformers(args.transformers, args.threads, args.dtype, args.prompts))

    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        for shape in args.shapes:
            for tokens in args.tokens:
                if not args.only_ranks:
                    one_rank(args, folder, shape, tokens, peers)
                for ranks in args.ranks:
                    more_ranks(args, folder, shape, tokens, ranks)


if __name__ == "__main__":
    main()
