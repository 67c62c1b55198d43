"""An independent NumPy forward pass of the model in a weights.h5: forward(weights, tokens).

Plain formulas in double precision, one sequence at a time, no cache, no parallelism, and no line
shared with the engine.
"""
# SPDX-License-Identifier: Apache-2.0

import json
import math

import h5py
import numpy

NO_EXPERT = 0xFFFF  # of a dense layer, or of a failed sequence
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
        ("rope.type", rope.get("type", "default"), ["default", "linear", "llama3", "yarn"]),
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


def yarn_ramp(rope, pairs):
    """0 where a pair keeps its frequency, 1 where it is stretched in full."""

    def pair_of(turns):
        length = rope["orig_max"] / (2 * math.pi * turns)
        return rope["dim"] * math.log(length) / (2 * math.log(rope["theta"]))

    low, high = pair_of(rope["beta_fast"]), pair_of(rope["beta_slow"])
    if rope["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope["dim"] - 1)
    return numpy.clip((pairs - low) / (high - low if high != low else 0.001), 0, 1)


def rope_frequencies(rope):
    """Radians a position, [dim / 2]."""
    pairs = numpy.arange(rope["dim"] // 2)
    frequency = rope["theta"] ** (-2.0 * pairs / rope["dim"])
    kind = rope.get("type", "default")
    if kind == "default":
        return frequency
    stretched = frequency / rope["factor"]
    if kind == "linear":
        return stretched
    if kind == "yarn":
        ramp = yarn_ramp(rope, pairs)
        return ramp * stretched + (1 - ramp) * frequency
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    waves = rope["orig_max"] * frequency / (2 * math.pi)
    keeps = numpy.clip((waves - low) / (high - low), 0, 1)
    return (1 - keeps) * stretched + keeps * frequency


def rope_factor(rope):
    """What cosines and sines are multiplied by."""
    if rope.get("type", "default") != "yarn":
        return 1.0
    if rope.get("attention_factor"):
        return rope["attention_factor"]

    def scale(mscale):
        return 0.1 * mscale * math.log(rope["factor"]) + 1 if rope["factor"] > 1 else 1.0

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return scale(rope["mscale"]) / scale(rope["mscale_all_dim"])
    return scale(1.0)


def rotate(x, rope):
    """x [T, heads, d]; dimensions j and j + R/2 of the first R turn by position * frequency."""
    half = rope["dim"] // 2
    angle = numpy.arange(x.shape[0])[:, None, None] * rope_frequencies(rope)
    cosine, sine = (rope_factor(rope) * f(angle) for f in (numpy.cos, numpy.sin))
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = [first * cosine - second * sine, second * cosine + first * sine]
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


def hidden_names(num_layers):
    return ["embed"] + [f"{layer:02d}" for layer in range(num_layers)] + ["final"]


def expert_counts(chosen, num_experts):
    """How many copies each expert was sent, of what a layer chose; NO_EXPERT is none of them."""
    return numpy.bincount(chosen[chosen < num_experts], minlength=num_experts)
