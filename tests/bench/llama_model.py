#!/usr/bin/env python3
"""Writes a random Mixtral-like model of a given shape as GGUF, for llama.cpp's llama-bench.

    python3 llama_model.py OUT.gguf --layers 8 --hidden 1024 --heads 16 --kv-heads 4 --head-dim 64
        --experts 16 --top-k 2 --expert-ffn 1792 --vocab 32000

Matrices in bf16, norms and router in f32, as llama.cpp's own converter writes them; no tokenizer.
Needs the package gguf (PyPI).
"""
# SPDX-License-Identifier: Apache-2.0

import argparse

import gguf
import numpy

SIZES = ("layers", "hidden", "heads", "kv-heads", "head-dim", "experts", "top-k", "expert-ffn", "vocab")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    for size in SIZES:
        parser.add_argument(f"--{size}", type=int, required=True)
    args = parser.parse_args()
    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(args.out, "llama")
    writer.add_block_count(args.layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(args.hidden)
    writer.add_feed_forward_length(args.expert_ffn)
    writer.add_head_count(args.heads)
    writer.add_head_count_kv(args.kv_heads)
    writer.add_key_length(args.head_dim)
    writer.add_value_length(args.head_dim)
    writer.add_rope_dimension_count(args.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(args.experts)
    writer.add_expert_used_count(args.top_k)
    writer.add_vocab_size(args.vocab)
    writer.add_tokenizer_model("none")

    def matrix(name, *shape):
        values = random.standard_normal(shape, dtype=numpy.float32) * (shape[-1] ** -0.5)
        halves = (values.view(numpy.uint32) >> 16).astype(numpy.uint16)
        writer.add_tensor(name, halves.view(numpy.uint8).reshape(*shape[:-1], -1),
                          raw_dtype=gguf.GGMLQuantizationType.BF16)

    def norm(name):
        writer.add_tensor(name, numpy.ones(args.hidden, dtype=numpy.float32))

    matrix("token_embd.weight", args.vocab, args.hidden)
    norm("output_norm.weight")
    matrix("output.weight", args.vocab, args.hidden)
    for layer in range(args.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight")
        norm(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", args.heads * args.head_dim, args.hidden)
        matrix(block + "attn_k.weight", args.kv_heads * args.head_dim, args.hidden)
        matrix(block + "attn_v.weight", args.kv_heads * args.head_dim, args.hidden)
        matrix(block + "attn_output.weight", args.hidden, args.heads * args.head_dim)
        writer.add_tensor(block + "ffn_gate_inp.weight",
                          random.standard_normal((args.experts, args.hidden), dtype=numpy.float32))
        matrix(block + "ffn_gate_exps.weight", args.experts, args.expert_ffn, args.hidden)
        matrix(block + "ffn_up_exps.weight", args.experts, args.expert_ffn, args.hidden)
        matrix(block + "ffn_down_exps.weight", args.experts, args.hidden, args.expert_ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
