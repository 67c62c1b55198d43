"""Stopped runs go on with other instances, stages and chunks; with a capacity on the same grid."""
# SPDX-License-Identifier: Apache-2.0

import math
import shutil

import h5py

import support
from resume_test import COMMIT_ALL, NUM_SEQUENCES, finish, interrupt, parts

import edit_weights  # of tools/

CAPACITY = ("--capacity-factor", 1.0)
SHORT_AND_LONG = (170, 170, 400, 290)


def on(grid, *arguments):
    """Number of ranks and options, as interrupt() and finish() take them."""
    return math.prod(grid), *support.grid_options(grid), *arguments


def kill(job):
    job.kill()


def other_grids(test, model, whole):
    """Killed twice, each time to go on with another grid and chunk size."""
    out = model / "three grids"
    interrupt(test, model, out, *on((2, 2, 2, 1), "--chunk-tokens", 100), strike=kill)
    test.check({part.name[:4] for part in parts(out)} == {"d000", "d001"},
               f"only one instance has parts: {[part.name for part in parts(out)]}")
    interrupt(test, model, out, *on((1, 4, 1, 2)), strike=kill,
              num_parts=len(parts(out, "000")) + 2)
    finish(test, model, out, whole, *on((4, 1, 2, 1), "--chunk-tokens", 37))


def lost_and_damaged(test, model, whole):
    """What a part that is gone, or broken, had is done again."""
    out = model / "lost and damaged"

    def stop(_job):
        (out / "stop").touch()

    result = interrupt(test, model, out, *on((2, 1, 2, 1)), strike=stop)
    test.equal(result.code, 85, "exit code of a stopped run")
    lost, victim = parts(out, "000")[0], parts(out, "001")[1]
    lost.unlink()
    content = bytearray(victim.read_bytes())
    content[len(content) // 3] ^= 1
    victim.write_bytes(content)
    text = finish(test, model, out, whole, *on((1, 2, 2, 2), "--chunk-tokens", 300),
                  damaged_part=victim)
    test.check(f"damaged-{victim.name}" in text, f"{victim.name} is not named:\n{text}")


def refused(test, model, out, code, word, grid, *arguments):
    before = [(part, part.read_bytes()) for part in parts(out)]
    text = test.run(math.prod(grid), model, out, *support.grid_options(grid), *arguments,
                    code=code).text
    test.check("cannot be resumed" in text and word in text, f"\"{word}\" is not in\n{text}")
    test.check(before == [(part, part.read_bytes()) for part in parts(out)], "parts have changed")


def changed(test, model, whole):
    """Other weights, inputs or outputs are refused; then the run goes on as if nothing had been."""
    out = model / "changed"
    interrupt(test, model, out, *on((2, 1, 1, 1)), strike=kill)
    weights = shutil.copy(model / "weights.h5", model / "other.h5")
    edit_weights.edit(weights, "layers/03/o", (3, 5), 0.125)
    inputs = shutil.copy(model / "inputs.h5", model / "other-inputs.h5")
    with h5py.File(inputs, "r+") as file:
        file["tokens"][17] ^= 1
    grid = (1, 1, 2, 1)
    refused(test, (weights, model / "inputs.h5"), out, 4, "weights", grid, *COMMIT_ALL)
    refused(test, (model / "weights.h5", inputs), out, 3, "inputs", grid, *COMMIT_ALL)
    refused(test, model, out, 2, "top_k_logprobs", grid, *COMMIT_ALL, "--top-k-logprobs", 4)
    refused(test, model, out, 2, "capacity_factor", grid, *COMMIT_ALL, *CAPACITY)
    finish(test, model, out, whole, *on(grid))


def short_and_long(model):
    """Microbatches of 700 tokens that are short and long ones by turns, of two prompts each.

    A short one ends because the long one has no room in it; another short one would have.
    """
    lengths = SHORT_AND_LONG * (NUM_SEQUENCES // len(SHORT_AND_LONG))
    return (model / "weights.h5",
            support.write_inputs(model / "by-turns.h5", support.random_sequences(lengths, 512)))


def lose_short_ones(test, part_files):
    """Takes one part of each short microbatch; returns the parts that still count."""
    sets = {}
    for part in part_files:
        dp, _, attempt, number, _ = part.name.split("-")
        sets.setdefault((dp, attempt, number), []).append(part)
    kept, num_lost = [], 0
    for members in sets.values():
        with h5py.File(members[0]) as file:
            is_short = file["sequences/index"][0] % len(SHORT_AND_LONG) < 2
        if len(members) == 2 and is_short:
            members[num_lost % 2].unlink()
            num_lost += 1
        elif len(members) == 2:
            kept += members
    test.check(num_lost >= 2 and kept, f"{num_lost} short microbatches, {len(kept)} other parts")
    return kept


def with_capacity(test, model, _whole):
    """The grid and N stay; a microbatch of which a part is missing is done again as it was."""
    pair, whole, grid = short_and_long(model), model / "capacity", (2, 1, 2, 2)
    test.run(1, pair, whole, *COMMIT_ALL, *CAPACITY)
    _, dropped = support.routing(whole)
    test.check((dropped > 0).all(), f"dropped copies: {dropped}")
    out = model / "capacity resumed"
    interrupt(test, pair, out, *on(grid, *CAPACITY), strike=kill, num_parts=8)
    refused(test, pair, out, 2, "grid", (2, 1, 1, 2), *COMMIT_ALL, *CAPACITY)
    refused(test, pair, out, 2, "grid", (1, 1, 2, 2), *COMMIT_ALL, *CAPACITY)
    refused(test, pair, out, 2, "tokens_per_microbatch", grid, "--tokens-per-microbatch", 800,
            *COMMIT_ALL[2:], *CAPACITY)
    refused(test, pair, out, 2, "capacity_factor", grid, *COMMIT_ALL, "--capacity-factor", 1.5)
    left = lose_short_ones(test, parts(out))
    text = finish(test, pair, out, whole, *on(grid, *CAPACITY), committed_parts=left)
    test.check("It is removed" in text, f"the other parts of the lost one are not named:\n{text}")


def body(test):
    model = test.synth("model", "--preset", "tiny", "--layers", 8, "--sequences", NUM_SEQUENCES,
                       "--min-tokens", 1, "--max-tokens", 600)
    whole = model / "whole"
    test.run(2, model, whole, *support.EVERYTHING)
    for case in (other_grids, lost_and_damaged, changed, with_capacity):
        case(test, model, whole)


if __name__ == "__main__":
    support.main(body)
