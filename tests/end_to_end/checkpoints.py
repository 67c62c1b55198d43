"""Checkpoint folders as values: config and tensors, changed by a test and written again."""
# SPDX-License-Identifier: Apache-2.0

import json
import struct

import numpy

SIZES = {"F32": 4, "BF16": 2, "F16": 2}


class Tensor:
    """dtype as safetensors names it, shape, bytes."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), bytes(data)

    def array(self):
        """Its bytes as an array of unsigned integers."""
        return numpy.frombuffer(self.data, f"<u{SIZES[self.dtype]}").reshape(self.shape)

    @classmethod
    def of(cls, dtype, array):
        return cls(dtype, array.shape, numpy.ascontiguousarray(array).tobytes())

    def as_f32(self):
        """A bf16 tensor as F32, which is exact."""
        return Tensor("F32", self.shape, (self.array().astype("<u4") << 16).tobytes())


def read_tensors(path):
    stored = path.read_bytes()
    start = 8 + struct.unpack("<Q", stored[:8])[0]
    tensors = {}
    for name, entry in json.loads(stored[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + at for at in entry["data_offsets"])
            tensors[name] = Tensor(entry["dtype"], entry["shape"], stored[begin:end])
    return tensors


def write_tensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                        "data_offsets": [at, at + len(tensor.data)]}
        at += len(tensor.data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text
                     + b"".join(tensor.data for tensor in tensors.values()))


class Folder:
    """What a checkpoint folder has. `shards` are files of tensor names, [] for a single file."""

    def __init__(self, path):
        self.config = json.loads((path / "config.json").read_text())
        self.tensors = {}
        for file in sorted(path.glob("*.safetensors")):
            self.tensors |= read_tensors(file)
        self.files = {}  # further files: name -> tensors
        self.index_edits = {}  # tensor -> file, or None: not named
        self.num_shards = 1

    def write(self, path):
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(self.config))
        if self.num_shards == 1:
            write_tensors(path / "model.safetensors", self.tensors)
        else:
            self.write_shards(path)
        for name, tensors in self.files.items():
            write_tensors(path / name, tensors)
        return path

    def shard_name(self, number):
        return f"model-{number + 1:05d}-of-{self.num_shards:05d}.safetensors"

    def other_shard(self, tensor):
        """A file that a tensor does not lie in."""
        return self.shard_name((list(self.tensors).index(tensor) + 1) % self.num_shards)

    def write_shards(self, path):
        names, index = list(self.tensors), {}
        for number in range(self.num_shards):
            file = self.shard_name(number)
            part = {name: self.tensors[name] for name in names[number::self.num_shards]}
            write_tensors(path / file, part | self.files.pop(file, {}))
            index |= dict.fromkeys(part, file)
        index = {name: file for name, file in (index | self.index_edits).items() if file}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))

    def fuse(self):
        """Names and shapes of transformers 5: [E, 2F, D], gate above up, and [E, D, F]."""
        is_mixtral = self.config["model_type"] == "mixtral"
        block = "block_sparse_moe" if is_mixtral else "mlp"
        gate, up, down = (("w1", "w3", "w2") if is_mixtral
                          else ("gate_proj", "up_proj", "down_proj"))
        for layer in range(self.config["num_hidden_layers"]):
            theirs = f"model.layers.{layer}.{block}."
            if f"{theirs}gate.weight" not in self.tensors:
                continue  # a dense layer

            def stacked(name, theirs=theirs):
                count = self.config["num_local_experts"]
                parts = [self.tensors.pop(f"{theirs}experts.{e}.{name}.weight")
                         for e in range(count)]
                return parts[0].dtype, numpy.stack([part.array() for part in parts])

            dtype, gates = stacked(gate)
            pair = numpy.concatenate([gates, stacked(up)[1]], axis=1)
            ours = f"model.layers.{layer}.mlp."
            self.tensors[f"{ours}experts.gate_up_proj"] = Tensor.of(dtype, pair)
            self.tensors[f"{ours}experts.down_proj"] = Tensor.of(dtype, stacked(down)[1])
            self.tensors[f"{ours}gate.weight"] = self.tensors.pop(f"{theirs}gate.weight")
