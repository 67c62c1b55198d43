#!/usr/bin/python3
"""An independent NumPy forward pass: holds a results.h5 against the model file it was made from.

    tools/reference.py WEIGHTS.h5 INPUTS.h5 RESULTS.h5 [--rms-limit 0.03] [--agreement 0.9]

Plain formulas in double precision, one sequence at a time, no cache, no parallelism, and no line
shared with the engine. f32 results: max|a-b| / max|b| <= 1e-4 per tensor and sequence, experts
equal; where they differ at a near tie of the router, only the positions before it are held.
bf16 results: RMS(a-b) / RMS(b) per tensor at most --rms-limit, on positions that chose the same
experts in every layer, and these at least --agreement of all. Exit 0: holds; 1: it does not.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import json
import math
import sys

import h5py
import numpy

F32_LIMIT = 1e-4
NEAR_TIE = 1e-5  # router probability; float32 rounding may turn a narrower choice
ERF = numpy.frompyfunc(math.erf, 1, 1)


def decode(stored, dtype):
    """Stored numbers as float64; bf16 is stored as u16, the upper half of a float32."""
    if dtype == "bf16":
        stored = (stored.astype(numpy.uint32) << 16).view(numpy.float32)
    return stored.astype(numpy.float64)


def text_attribute(attrs, name, default=""):
    value = attrs.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def values(dataset, rows=slice(None)):
    """Rows of a dataset as float64."""
    return decode(dataset[rows], text_attribute(dataset.attrs, "dtype"))


class Model:
    """The configuration and tensors of a weights.h5; tensors are read when asked for."""

    def __init__(self, path):
        self.file = h5py.File(path, "r")
        if text_attribute(self.file.attrs, "format") != "tetrarch-weights":
            raise ValueError(f"{path}: attribute format is not tetrarch-weights (no model file).")
        self.config = json.loads(text_attribute(self.file.attrs, "config_json"))
        self.dtype = text_attribute(self.file.attrs, "dtype")
        refuse_unknown(self.config, path)

    def tensor(self, name, index=None):
        dataset = self.file[name]
        stored = dataset[()] if index is None else dataset[index]
        return decode(stored, text_attribute(dataset.attrs, "dtype"))


def refuse_unknown(config, path):
    """Features that this reference does not compute are refused, never ignored."""
    attention, rope, moe = config["attention"], config["rope"], config["moe"]
    known = [
        ("norm.kind", config["norm"]["kind"], ["rms"]),
        ("attention.kind", attention["kind"], ["gqa"]),
        ("attention.qk_norm", attention.get("qk_norm", "none"), ["none", "per_head"]),
        ("attention.qkv_bias", attention.get("qkv_bias", False), [False]),
        ("attention.o_bias", attention.get("o_bias", False), [False]),
        ("rope.style", rope["style"], ["half"]),
        ("rope.type", rope.get("type", "default"), ["default"]),
        ("moe.router.score", moe["router"]["score"], ["softmax_all"]),
        ("moe.router.renorm", moe["router"]["renorm"], ["sum", "none"]),
        ("moe.expert.kind", moe["expert"]["kind"], ["glu", "mlp"]),
        ("moe.expert.act", moe["expert"]["act"], ["silu", "gelu"]),
    ]
    for key, found, admitted in known:
        if found not in admitted:
            raise ValueError(f"{path}: {key} = {found} is not computed here (only {admitted}).")


def rms_norm(x, weight, eps):
    return x / numpy.sqrt(numpy.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1.0 + numpy.exp(-x))


def gelu(x):
    return 0.5 * x * (1.0 + ERF(x / math.sqrt(2.0)).astype(numpy.float64))


def log_softmax(x):
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))


def rotate(x, rope):
    """x [T, heads, d]; dimensions j and j + R/2 of the first R turn by position * theta^(-2j/R)."""
    half = rope["dim"] // 2
    frequency = rope["theta"] ** (-2.0 * numpy.arange(half) / rope["dim"])
    angle = numpy.arange(x.shape[0])[:, None, None] * frequency
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = [
        first * numpy.cos(angle) - second * numpy.sin(angle),
        second * numpy.cos(angle) + first * numpy.sin(angle),
    ]
    return numpy.concatenate(turned + [x[..., 2 * half :]], axis=-1)


def attend(q, k, v, scale, window, block=256):
    """q [T, H, d], k and v [T, K, d]; causal; window 0 sees all earlier keys."""
    num_tokens, num_heads, _ = q.shape
    heads_per_kv = num_heads // k.shape[1]
    out = numpy.empty_like(q)
    for head in range(num_heads):
        keys, head_values = k[:, head // heads_per_kv], v[:, head // heads_per_kv]
        for begin in range(0, num_tokens, block):
            end = min(begin + block, num_tokens)
            score = q[begin:end, head] @ keys[:end].T * scale
            distance = numpy.arange(begin, end)[:, None] - numpy.arange(end)[None, :]
            hidden_keys = distance < 0
            if window:
                hidden_keys |= distance >= window
            score[hidden_keys] = -numpy.inf
            out[begin:end, head] = numpy.exp(log_softmax(score)) @ head_values[:end]
    return out


def attention(model, layer, x):
    """x [T, D], normed. Returns the block's output [T, D], and k, v [T, K, d] after RoPE."""
    spec, at = model.config["attention"], f"/layers/{layer:02d}/"
    shape_q = (len(x), spec["num_heads"], spec["head_dim"])
    shape_kv = (len(x), spec["num_kv_heads"], spec["head_dim"])
    q = (x @ model.tensor(at + "q").T).reshape(shape_q)
    k = (x @ model.tensor(at + "k").T).reshape(shape_kv)
    v = (x @ model.tensor(at + "v").T).reshape(shape_kv)
    if spec.get("qk_norm", "none") == "per_head":
        eps = model.config["norm"]["eps"]
        q = rms_norm(q, model.tensor(at + "q_norm"), eps)
        k = rms_norm(k, model.tensor(at + "k_norm"), eps)
    q, k = rotate(q, model.config["rope"]), rotate(k, model.config["rope"])
    window = spec["window"][layer] if spec.get("window") else 0
    heads = attend(q, k, v, spec["scale"], window)
    return heads.reshape(len(x), -1) @ model.tensor(at + "o"), k, v


def feed_forward(model, at, x, expert=None):
    """One expert, or the dense layer when expert is None."""
    spec = model.config["moe"]["expert"]
    act = {"silu": silu, "gelu": gelu}[spec["act"]]
    up = x @ model.tensor(at + "up", expert).T
    if spec["kind"] == "glu":
        up = act(x @ model.tensor(at + "gate", expert).T) * up
    else:
        up = act(up)
    return up @ model.tensor(at + "down", expert)


def route(model, at, x):
    """Chosen experts [T, k], best first and the lower id at a tie; weights [T, k]; gap [T]."""
    moe = model.config["moe"]
    probability = numpy.exp(log_softmax(x @ model.tensor(at + "router").T))
    order = numpy.argsort(-probability, axis=-1, kind="stable")
    ranked = numpy.take_along_axis(probability, order, axis=-1)
    top_k = moe["top_k"]
    weights = ranked[:, :top_k]
    if moe["router"]["renorm"] == "sum":
        weights = weights / weights.sum(axis=-1, keepdims=True)
    # the narrowest of the choices that a rounding could turn, also those inside the top k
    gap = (
        ranked[:, :top_k] - ranked[:, 1 : top_k + 1]
        if ranked.shape[1] > top_k
        else ranked[:, : top_k - 1] - ranked[:, 1:top_k]
    )
    narrowest = gap.min(axis=-1, initial=1.0)
    return order[:, :top_k], weights * moe["router"].get("scale", 1.0), narrowest


def moe_layer(model, layer, x):
    """x [T, D], normed. Returns the block's output, and the chosen experts and gaps, or None."""
    at = f"/layers/{layer:02d}/"
    if not model.config["moe"]["is_moe"][layer]:
        return feed_forward(model, at, x), None, None
    experts, weights, gap = route(model, at, x)
    out = numpy.zeros_like(x)
    for expert in numpy.unique(experts):
        token, slot = numpy.nonzero(experts == expert)
        out[token] += weights[token, slot, None] * feed_forward(model, at, x[token], int(expert))
    return out, experts, gap


def forward(weights, tokens):
    """Runs one sequence; weights is a path or a Model.

    Returns hidden (list: embed, each layer, final), logits [T, W], logprobs [T] (NaN first),
    experts and gaps (lists over the layers, None where dense), keys and values (lists).
    """
    model = weights if isinstance(weights, Model) else Model(weights)
    tokens = numpy.asarray(tokens, dtype=numpy.int64)
    eps = model.config["norm"]["eps"]
    x = model.tensor("/embed")[tokens]
    out = {"hidden": [x], "experts": [], "gaps": [], "keys": [], "values": []}
    for layer in range(model.config["num_layers"]):
        at = f"/layers/{layer:02d}/"
        mixed, k, v = attention(model, layer, rms_norm(x, model.tensor(at + "attn_norm"), eps))
        x = x + mixed
        y, experts, gap = moe_layer(model, layer, rms_norm(x, model.tensor(at + "moe_norm"), eps))
        x = x + y
        for name, part in zip(out, (x, experts, gap, k, v)):
            out[name].append(part)
    out["hidden"].append(rms_norm(x, model.tensor("/final_norm"), eps))
    head = "/embed" if model.config.get("tied_embeddings") else "/head"
    out["logits"] = out["hidden"][-1] @ model.tensor(head).T
    out["logprobs"] = numpy.full(len(tokens), numpy.nan)
    out["logprobs"][1:] = log_softmax(out["logits"][:-1])[numpy.arange(len(tokens) - 1), tokens[1:]]
    return out


# --- holding results against it ------------------------------------------------------------------


def hidden_names(num_layers):
    return ["embed"] + [f"{layer:02d}" for layer in range(num_layers)] + ["final"]


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
    """Rows of this sequence whose values can be held against the reference, as booleans."""
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


def hold_all(model, inputs, results):
    offsets = inputs["/offsets"][()].astype(numpy.int64)
    if not numpy.array_equal(offsets, results["/sequences/offsets"][()].astype(numpy.int64)):
        raise ValueError("/sequences/offsets differ from the inputs (other sequences).")
    for name in results.get("/hidden", {}):
        if results["/hidden"][name].shape[0] != offsets[-1]:
            raise ValueError(f"/hidden/{name} is pooled. Run with --hidden-pooling none.")
    if "/routing/dropped" in results and results["/routing/dropped"][()].any():
        raise ValueError("/routing/dropped is not 0 (a capacity drops copies; not computed here).")
    report = Report(text_attribute(results.attrs, "dtype") == "bf16")
    status = results["/sequences/status"][()]
    for number, (begin, end) in enumerate(zip(offsets[:-1], offsets[1:])):
        if status[number] == 0:
            tokens = inputs["/tokens"][begin:end]
            hold_sequence(report, model, results, number, int(begin), int(end), tokens)
    hold_scores(report, inputs, results, offsets)
    return report


def verdict(report, rms_limit, agreement):
    """Prints the table; true when everything holds."""
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
        print(f"positions held: {share:.1%}; sequences cut at a near tie: {report.num_near_ties}")
    for problem in report.problems[:20]:
        print(problem)
    print("holds" if holds else "does not hold")
    return holds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", metavar="WEIGHTS.h5")
    parser.add_argument("inputs", metavar="INPUTS.h5")
    parser.add_argument("results", metavar="RESULTS.h5")
    parser.add_argument("--rms-limit", type=float, default=0.03, help="bf16 (default 0.03)")
    parser.add_argument("--agreement", type=float, default=0.9, help="bf16 (default 0.9)")
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
