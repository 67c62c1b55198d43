"""Writes weights.h5 for tools/reference_model.py straight from a Mixtral checkpoint in bf16.

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


def model_config(hf):
    """The config_json of weights.h5 for a Mixtral config.json."""
    num_layers, num_heads = hf["num_hidden_layers"], hf["num_attention_heads"]
    head_dim = hf.get("head_dim") or hf["hidden_size"] // num_heads
    attention = {
        "kind": "gqa", "num_heads": num_heads, "num_kv_heads": hf["num_key_value_heads"],
        "head_dim": head_dim, "scale": head_dim**-0.5, "qkv_bias": False, "o_bias": False,
        "qk_norm": "none", "window": [0] * num_layers,
    }  # fmt: skip
    theta = hf["rope_parameters"]["rope_theta"]
    moe = {
        "is_moe": [True] * num_layers, "num_experts": hf["num_local_experts"],
        "top_k": hf["num_experts_per_tok"], "expert_ffn": hf["intermediate_size"], "dense_ffn": 0,
        "router": {"score": "softmax_all", "renorm": "sum", "scale": 1.0},
        "expert": {"kind": "glu", "act": "silu"},
    }  # fmt: skip
    return {
        "family": "mixtral", "dtype": "bf16", "vocab_size": hf["vocab_size"],
        "num_layers": num_layers, "hidden_size": hf["hidden_size"],
        "max_position": hf["max_position_embeddings"], "tied_embeddings": False,
        "norm": {"kind": "rms", "eps": hf["rms_norm_eps"]}, "attention": attention,
        "rope": {"style": "half", "dim": head_dim, "theta": theta, "type": "default"}, "moe": moe,
    }  # fmt: skip


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
        put("head", tensors["lm_head.weight"])
        put("final_norm", tensors["model.norm.weight"])
        for layer in range(config["num_layers"]):
            theirs, ours = f"model.layers.{layer}.", f"layers/{layer:02d}/"
            put(ours + "attn_norm", tensors[theirs + "input_layernorm.weight"])
            put(ours + "moe_norm", tensors[theirs + "post_attention_layernorm.weight"])
            for name in "qkv":
                put(ours + name, tensors[f"{theirs}self_attn.{name}_proj.weight"])
            put(ours + "o", tensors[theirs + "self_attn.o_proj.weight"].T)
            put(ours + "router", tensors[theirs + "block_sparse_moe.gate.weight"])
            for name, part in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
                experts = [
                    tensors[f"{theirs}block_sparse_moe.experts.{expert}.{part}.weight"]
                    for expert in range(config["moe"]["num_experts"])
                ]
                put(ours + name, numpy.stack([e.T if name == "down" else e for e in experts]))
