#!/usr/bin/python3
"""Changes a weights.h5 in place so that its routing is uneven, for tests and measurements.

    tools/edit_weights.py WEIGHTS.h5 --routing skewed|one-expert|rare [--token 0]

skewed      the lower e is, the more tokens choose expert e; the last experts get almost none
one-expert  every token's first choice is expert 0, in every layer
rare        the last expert gets no token; the one before it gets only tokens with the id --token

How: two coordinates of the residual stream are reserved. Embeddings set them (the first to a
constant, the second only for --token), no layer writes them, and the router reads them. Checksums
are written anew, so that the file verifies. Needs libxxhash, as the program does.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import ctypes
import ctypes.util
import json
import sys

import h5py
import numpy

BLOCK_BYTES = 4 << 20
CONSTANT, MARK = 0, 1  # coordinates of the residual stream


def load_xxh3():
    name = ctypes.util.find_library("xxhash")
    if name is None:
        sys.exit("edit_weights: libxxhash was not found. Run tools/setup.sh.")
    function = ctypes.CDLL(name).XXH3_64bits
    function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_uint64
    return function


def unit_arrays(stored, num_units):
    """The units of a dataset: (expert, slice) for [E, F, D], else slices of rows."""
    experts = stored if stored.ndim == 3 else stored[None]
    num_slices = num_units // len(experts)
    for expert in experts:
        bounds = [v * len(expert) // num_slices for v in range(num_slices + 1)]
        for begin, end in zip(bounds[:-1], bounds[1:]):
            yield expert[begin:end]


def renew_checksums(file, name):
    """XXH3-64 of each 4 MiB block, counted from each unit's first byte."""
    xxh3, sums = load_xxh3(), file[name + ".xxh3"]
    renewed = numpy.zeros(sums.shape, dtype=numpy.uint64)
    for unit, rows in enumerate(unit_arrays(file[name][()], sums.shape[0])):
        content = numpy.ascontiguousarray(rows).tobytes()
        for block in range(-(-len(content) // BLOCK_BYTES)):
            piece = content[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            renewed[unit, block] = xxh3(piece, len(piece))
    sums[...] = renewed


def encode(values, dtype):
    """Floats as stored; bf16 is the upper half of a float32, here cut off (no rounding)."""
    values = numpy.asarray(values, dtype=numpy.float32)
    return (values.view(numpy.uint32) >> 16).astype(numpy.uint16) if dtype == "bf16" else values


def edit(path, name, selection, values):
    """Sets file[name][selection] and renews the checksums."""
    with h5py.File(path, "r+") as file:
        dtype = file[name].attrs.get("dtype", "f32")
        dtype = dtype.decode() if isinstance(dtype, bytes) else str(dtype)
        file[name][selection] = encode(values, dtype)
        renew_checksums(file, name)


def prepare(path, config, token):
    """Keeps the two coordinates for steering."""
    embed = numpy.zeros((config["vocab_size"], 2), dtype=numpy.float32)
    embed[:, CONSTANT] = 4
    embed[token, MARK] = 4
    edit(path, "embed", (slice(None), slice(0, 2)), embed)
    for layer in range(config["num_layers"]):
        edit(path, f"layers/{layer:02d}/o", (slice(None), slice(0, 2)), 0)
        edit(path, f"layers/{layer:02d}/down", (Ellipsis, slice(0, 2)), 0)
        edit(path, f"layers/{layer:02d}/moe_norm", slice(0, 2), 1)


def steering(routing, num_experts):
    """What the router adds to each expert's logit, per unit of the two coordinates [E, 2]."""
    added = numpy.zeros((num_experts, 2))
    if routing == "skewed":
        added[:, CONSTANT] = -6 * numpy.arange(num_experts) / num_experts
    elif routing == "one-expert":
        added[0, CONSTANT] = 32
    else:
        added[-2:, CONSTANT] = -32
        added[-2, MARK] = 64
    return added


def steer(path, routing, token=0):
    with h5py.File(path, "r") as file:
        config = json.loads(file.attrs["config_json"])
    prepare(path, config, token)
    for layer in numpy.nonzero(config["moe"]["is_moe"])[0]:
        edit(path, f"layers/{layer:02d}/router", (slice(None), slice(0, 2)),
             steering(routing, config["moe"]["num_experts"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS.h5")
    parser.add_argument("--routing", choices=["skewed", "one-expert", "rare"], required=True)
    parser.add_argument("--token", type=int, default=0,
                        help="for rare: the token id of the last expert but one (default 0)")
    args = parser.parse_args()
    steer(args.weights, args.routing, args.token)


if __name__ == "__main__":
    main()
