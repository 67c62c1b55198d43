"""Writes weights.h5 for tools/reference_model.py straight from a checkpoint in bf16.

Shares no line with tetrarch import, so that a mistake there cannot hide.
"""
# SPDX-License-Identifier: Apache-2.0

import json

import h5py
import numpy


def read_checkpoint(folder):
    """Tensor name -> u16 array, from bf16 safetensors: header length u64, JSON header, bytes."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:start]).items():
            if name != "__metadata__":
                begin, end = (start + offset for offset in entry["data_offsets"])
                stored = numpy.frombuffer(content[begin:end], dtype="<u2")
                tensors[name] = stored.reshape(entry["shape"])
    return tensors


def rope_config(hf, head_dim):
    theirs = hf["rope_parameters"]
    kind = theirs["rope_type"]
    rope = {"style": "half", "dim": head_dim, "theta": theirs["rope_theta"], "type": kind}
    if kind != "default":
        rope["factor"] = theirs["factor"]
    if kind in ("llama3", "yarn"):
        rope["orig_max"] = theirs["original_max_position_embeddings"]
    if kind == "llama3":
        rope |= {name: theirs[name] for name in ("low_freq_factor", "high_freq_factor")}
    if kind == "yarn":
        rope |= {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}
    return rope


def moe_config(hf):
    layers = range(hf["num_hidden_layers"])
    is_qwen = hf["model_type"] == "qwen3_moe"
    step, dense = hf.get("decoder_sparse_step", 1), hf.get("mlp_only_layers", [])
    is_moe = [(layer + 1) % step == 0 and layer not in dense for layer in layers]
    renormalises = hf["norm_topk_prob"] if is_qwen else True
    return {
        "is_moe": is_moe, "num_experts": hf["num_local_experts"],
        "top_k": hf["num_experts_per_tok"],
        "expert_ffn": hf["moe_intermediate_size" if is_qwen else "intermediate_size"],
        "dense_ffn": 0 if all(is_moe) else hf["intermediate_size"],
        "router": {"score": "softmax_all", "renorm": "sum" if renormalises else "none",
                   "scale": 1.0},
        "expert": {"kind": "glu", "act": "silu"},
    }  # fmt: skip


def model_config(hf):
    """The config_json of weights.h5 for a Mixtral's or Qwen3-MoE's config.json."""
    num_layers, num_heads = hf["num_hidden_layers"], hf["num_attention_heads"]
    head_dim = hf.get("head_dim") or hf["hidden_size"] // num_heads
    attention = {
        "kind": "gqa", "num_heads": num_heads, "num_kv_heads": hf["num_key_value_heads"],
        "head_dim": head_dim, "scale": head_dim**-0.5, "qkv_bias": False, "o_bias": False,
        "qk_norm": "per_head" if hf["model_type"] == "qwen3_moe" else "none",
        "window": [hf["sliding_window"] or 0] * num_layers,
    }  # fmt: skip
    return {
        "family": hf["model_type"], "dtype": "bf16", "vocab_size": hf["vocab_size"],
        "num_layers": num_layers, "hidden_size": hf["hidden_size"],
        "max_position": hf["max_position_embeddings"],
        "tied_embeddings": hf["tie_word_embeddings"],
        "norm": {"kind": "rms", "eps": hf["rms_norm_eps"]}, "attention": attention,
        "rope": rope_config(hf, head_dim), "moe": moe_config(hf),
    }  # fmt: skip


def ffn_names(config, prefix):
    """Our name -> names in the checkpoint, one for each expert, or one for a dense layer."""
    experts = range(config["moe"]["num_experts"])
    if config["family"] == "mixtral":
        parts = {"gate": "w1", "up": "w3", "down": "w2"}
        base = prefix + "block_sparse_moe.experts."
    else:
        parts = {name: f"{name}_proj" for name in ("gate", "up", "down")}
        base = prefix + "mlp.experts."
    return {ours: [f"{base}{e}.{theirs}.weight" for e in experts] for ours, theirs in parts.items()}


def put_ffn(put, tensors, config, layer, theirs, ours):
    if not config["moe"]["is_moe"][layer]:
        for name in ("gate", "up", "down"):
            matrix = tensors[f"{theirs}mlp.{name}_proj.weight"]
            put(ours + name, matrix.T if name == "down" else matrix)
        return
    block = "block_sparse_moe" if config["family"] == "mixtral" else "mlp"
    put(ours + "router", tensors[f"{theirs}{block}.gate.weight"])
    for name, names in ffn_names(config, theirs).items():
        experts = [tensors[one] for one in names]
        put(ours + name, numpy.stack([e.T if name == "down" else e for e in experts]))


def write(folder, path):
    """Writes what reference_model.py reads of a weights.h5; without checksums: not for a run."""
    config = model_config(json.loads((folder / "config.json").read_text()))
    tensors = read_checkpoint(folder)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "tetrarch-weights"
        file.attrs["dtype"] = "bf16"
        file.attrs["config_json"] = json.dumps(config)

        def put(name, stored):
            file[name] = stored
            file[name].attrs["dtype"] = "bf16"

        put("embed", tensors["model.embed_tokens.weight"])
        if not config["tied_embeddings"]:
            put("head", tensors["lm_head.weight"])
        put("final_norm", tensors["model.norm.weight"])
        for layer in range(config["num_layers"]):
            theirs, ours = f"model.layers.{layer}.", f"layers/{layer:02d}/"
            put(ours + "attn_norm", tensors[theirs + "input_layernorm.weight"])
            put(ours + "moe_norm", tensors[theirs + "post_attention_layernorm.weight"])
            for name in "qkv":
                put(ours + name, tensors[f"{theirs}self_attn.{name}_proj.weight"])
            put(ours + "o", tensors[theirs + "self_attn.o_proj.weight"].T)
            if config["attention"]["qk_norm"] == "per_head":
                for name in ("q_norm", "k_norm"):
                    put(ours + name, tensors[f"{theirs}self_attn.{name}.weight"])
            put_ffn(put, tensors, config, layer, theirs, ours)
