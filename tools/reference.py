#!/usr/bin/python3
"""Compares a results.h5 with an independent forward pass of the model file that it was made from.

    tools/reference.py WEIGHTS.h5 INPUTS.h5 RESULTS.h5 [--rms-limit 0.03] [--agreement 0.9]

The forward pass is tools/reference_model.py (NumPy, double precision).
f32 results: max|a-b| / max|b| <= 1e-4 for each tensor and sequence, and the same experts. If experts
differ at a near tie of the router, only the positions before it are compared.
bf16 results: RMS(a-b) / RMS(b) of each tensor at most --rms-limit, at the positions that chose the
same experts in every layer. They must be at least the share --agreement of all positions.
Exit 0: the results agree with the forward pass; 1: they do not.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import math
import sys

import h5py
import numpy

from reference_model import (
    Model,
    expert_counts,
    forward,
    hidden_names,
    log_softmax,
    text_attribute,
    values,
)

F32_LIMIT = 1e-4
NEAR_TIE = 1e-5  # router probability; float32 rounding may turn a narrower choice


def sequence_pairs(results, number, begin, end, expected, top_k_probability):
    """(dataset, found, expected) of one sequence; a row is a position, or the sequence's last."""
    rows = slice(begin, end)
    pairs = []
    for name, wanted in zip(hidden_names(len(expected["experts"])), expected["hidden"]):
        if f"/hidden/{name}" in results:
            pairs.append((f"/hidden/{name}", values(results[f"/hidden/{name}"], rows), wanted))
    for kind in ("k", "v"):
        for layer, wanted in enumerate(expected[{"k": "keys", "v": "values"}[kind]]):
            path = f"/kv/{layer:02d}/{kind}"
            if path in results:
                pairs.append((path, values(results[path], rows), wanted))
    if "/logprobs/token" in results:
        found = values(results["/logprobs/token"], rows)
        if not numpy.isnan(found[0]):
            raise ValueError(f"/logprobs/token: not NaN at position 0 of sequence {number}.")
        wanted = numpy.concatenate([[0.0], expected["logprobs"][1:]])
        pairs.append(("/logprobs/token", numpy.concatenate([[0.0], found[1:]]), wanted))
    if "/topk/ids" in results:
        ids = results["/topk/ids"][rows].astype(numpy.int64)
        best = -numpy.sort(-top_k_probability, axis=-1)[:, : ids.shape[1]]
        chosen = numpy.take_along_axis(top_k_probability, ids, axis=-1)
        pairs.append(("/topk/logprobs", values(results["/topk/logprobs"], rows), best))
        pairs.append(("/topk/ids", chosen, best))  # by their log-probs, so that a tie is no error
    if "/last_logits" in results:
        pairs.append(
            ("/last_logits", values(results["/last_logits"], [number]), expected["logits"][-1:])
        )
    return pairs


def expert_rows(results, begin, end, expected):
    """Per MoE layer with recorded experts: found and expected [T, k], and the reference's gap."""
    for layer, wanted in enumerate(expected["experts"]):
        path = f"/experts/{layer:02d}"
        if wanted is not None and path in results:
            yield results[path][begin:end].astype(numpy.int64), wanted, expected["gaps"][layer]


class Report:
    """The worst relative error per dataset (f32), or the squares for its RMS (bf16)."""

    def __init__(self, is_bf16):
        self.is_bf16 = is_bf16
        self.worst, self.where, self.squares = {}, {}, {}
        self.num_positions = self.num_same = self.num_near_ties = 0
        self.problems = []

    def add(self, number, name, found, wanted):
        if found.shape != wanted.shape:
            self.problems.append(f"{name}: shape {found.shape}, expected {wanted.shape}.")
            return
        error = numpy.abs(found - wanted)
        squares = self.squares.setdefault(name, [0.0, 0.0])
        squares[0] += float((error**2).sum())
        squares[1] += float((wanted**2).sum())
        if error.size:
            relative = float(error.max()) / (float(numpy.abs(wanted).max()) or 1.0)
            worst = self.worst.get(name, -1.0)
            if math.isnan(relative) or relative > worst:  # a NaN, once found, stays
                self.worst[name], self.where[name] = relative, number

    def relative_rms(self, name):
        error, size = self.squares[name]
        return math.sqrt(error / size) if size else error


def hold_experts(report, number, results, begin, end, expected):
    """Rows of this sequence whose values can be compared with the reference, as booleans."""
    keep = numpy.ones(end - begin, dtype=bool)
    for found, wanted, gap in expert_rows(results, begin, end, expected):
        if report.is_bf16:
            keep &= (numpy.sort(found) == numpy.sort(wanted)).all(axis=-1)
            continue
        differing = numpy.nonzero((found != wanted).any(axis=-1) & keep)[0]
        if len(differing):
            first = differing[0]
            if gap[first] > NEAR_TIE:
                report.problems.append(
                    f"experts: sequence {number} position {first} chose {found[first]}, expected "
                    f"{wanted[first]} (the router's gap is {gap[first]:.1e})."
                )
            else:
                report.num_near_ties += 1
            keep[first:] = False
    report.num_positions += len(keep)
    report.num_same += int(keep.sum())
    return keep


def hold_sequence(report, model, results, number, begin, end, tokens):
    expected = forward(model, tokens)
    keep = hold_experts(report, number, results, begin, end, expected)
    pairs = sequence_pairs(results, number, begin, end, expected, log_softmax(expected["logits"]))
    for name, found, wanted in pairs:
        rows = keep[-1:] if name == "/last_logits" else keep
        report.add(number, name, found[rows], wanted[rows])


def hold_scores(report, inputs, results, offsets):
    """The sums must be those of the results' own log-probs: float64, in order."""
    if "/logprobs/sum" not in results:
        return
    tokens = values(results["/logprobs/token"])
    for number in numpy.nonzero(results["/sequences/status"][()] == 0)[0]:
        score_from = int(inputs["/score_from"][number]) if "/score_from" in inputs else 1
        scored = tokens[offsets[number] + max(1, score_from) : offsets[number + 1]]
        expected = (len(scored), sum(scored.tolist(), 0.0))
        found = (int(results["/logprobs/count"][number]), float(results["/logprobs/sum"][number]))
        if found != expected:
            report.problems.append(
                f"/logprobs/count and sum of sequence {number}: {found}, expected {expected}."
            )


def hold_routing(report, results):
    """What was sent to each expert is what the positions chose, where the results have both."""
    if "/routing" not in results:
        return
    for layer, sent in enumerate(results["/routing/tokens_per_expert"][()]):
        path = f"/experts/{layer:02d}"
        if path not in results:
            continue
        expected = expert_counts(results[path][()], len(sent))
        if (sent != expected).any():
            report.problems.append(
                f"/routing/tokens_per_expert: layer {layer} has {sent}, expected {expected}."
            )


def hold_all(model, inputs, results):
    offsets = inputs["/offsets"][()].astype(numpy.int64)
    if not numpy.array_equal(offsets, results["/sequences/offsets"][()].astype(numpy.int64)):
        raise ValueError("/sequences/offsets differ from the inputs (other sequences).")
    for name in results.get("/hidden", {}):
        if results["/hidden"][name].shape[0] != offsets[-1]:
            raise ValueError(f"/hidden/{name} is pooled. Run with --hidden-pooling none.")
    if "/routing/dropped" in results and results["/routing/dropped"][()].any():
        raise ValueError("/routing/dropped is not 0 (--capacity-factor is not computed here).")
    report = Report(text_attribute(results.attrs, "dtype") == "bf16")
    status = results["/sequences/status"][()]
    for number, (begin, end) in enumerate(zip(offsets[:-1], offsets[1:])):
        if status[number] == 0:
            tokens = inputs["/tokens"][begin:end]
            hold_sequence(report, model, results, number, int(begin), int(end), tokens)
    hold_scores(report, inputs, results, offsets)
    hold_routing(report, results)
    return report


def verdict(report, rms_limit, agreement):
    """Prints the table; true when everything agrees."""
    measure, limit = ("RMS", rms_limit) if report.is_bf16 else ("max", F32_LIMIT)
    print(f"{'dataset':<20} {measure + ' rel. error':>15} {'limit':>8}")
    holds = not report.problems and bool(report.worst)
    for name in report.worst:
        error = report.relative_rms(name) if report.is_bf16 else report.worst[name]
        good = error <= limit
        holds &= good
        note = "" if good else f"  FAILS, worst in sequence {report.where[name]}"
        print(f"{name:<20} {error:>15.2e} {limit:>8.0e}{note}")
    share = report.num_same / max(1, report.num_positions)
    if report.is_bf16:
        holds &= share >= agreement
        print(f"same experts in every layer: {share:.1%} of positions, at least {agreement:.0%}")
    else:
        print(f"positions compared: {share:.1%}; sequences compared only up to a near tie of the "
              f"router: {report.num_near_ties}")
    for problem in report.problems[:20]:
        print(problem)
    print("agrees with the reference" if holds else "does not agree with the reference")
    return holds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", metavar="WEIGHTS.h5")
    parser.add_argument("inputs", metavar="INPUTS.h5")
    parser.add_argument("results", metavar="RESULTS.h5")
    parser.add_argument("--rms-limit", type=float, default=0.03,
                        help="for bf16: largest relative RMS error of a tensor (default 0.03)")
    parser.add_argument("--agreement", type=float, default=0.9,
                        help="for bf16: smallest share of positions with the same experts (default 0.9)")
    args = parser.parse_args()
    try:
        with h5py.File(args.inputs, "r") as inputs, h5py.File(args.results, "r") as results:
            report = hold_all(Model(args.weights), inputs, results)
    except (OSError, ValueError, KeyError) as error:
        print(f"reference: {error}")
        return 1
    return 0 if verdict(report, args.rms_limit, args.agreement) else 1


if __name__ == "__main__":
    sys.exit(main())
