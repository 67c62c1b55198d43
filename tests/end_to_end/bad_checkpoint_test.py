"""Checkpoints that are cut off or contradict themselves: `tetrarch import` ends with one message
that names the file and what is wrong in it, exit code 4, and leaves no file.
"""
# SPDX-License-Identifier: Apache-2.0

import json
import os
import shutil
import struct
from pathlib import Path

import support

GOLDEN = Path(__file__).parents[1] / "data/goldens/mixtral-gqa/model"
SHARD = "model-00001-of-00003.safetensors"
NAME = "model.layers.0.self_attn.o_proj.weight"


def with_header(edit):
    """Spoils the JSON of a shard's header; the data stays."""
    def spoil(folder):
        path = folder / SHARD
        stored = path.read_bytes()
        (length,) = struct.unpack("<Q", stored[:8])
        header = json.loads(stored[8:8 + length])
        edit(header)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + stored[8 + length:])
    return spoil


def with_json(name, edit):
    def spoil(folder):
        path = folder / name
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
    return spoil


def overwrite(name, at, data):
    def spoil(folder):
        with open(folder / name, "r+b") as file:
            file.seek(at)
            file.write(data)
    return spoil


def truncate(name, share):
    def spoil(folder):
        os.truncate(folder / name, int((folder / name).stat().st_size * share))
    return spoil


def put_pipe(name):
    def spoil(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    return spoil


def shift(header, by):
    header[NAME]["data_offsets"] = [at + by for at in header[NAME]["data_offsets"]]


def transpose(header):
    """As many bytes, another matrix."""
    rows, columns = header[NAME]["shape"]
    header[NAME]["shape"] = [rows * 2, columns // 2]


CASES = {
    "a shard that is cut off": (truncate(SHARD, 0.6), (SHARD,)),
    "a shard that ends in its header": (truncate(SHARD, 0.001), (SHARD, "the file is cut off")),
    "an empty shard": (truncate(SHARD, 0), (SHARD, "0 bytes")),
    "a header of a tebibyte": (overwrite(SHARD, 0, struct.pack("<Q", 1 << 40)),
                               (SHARD, str(1 << 40))),
    "a header that is no JSON": (overwrite(SHARD, 8, b"["), (SHARD, "begin with '{'")),
    "tensors that overlap": (with_header(lambda header: shift(header, -2)), (SHARD,)),
    "offsets that contradict the shape": (
        with_header(lambda header: header[NAME].update(shape=[31, 64])), (SHARD, NAME, "31")),
    "a negative offset": (with_header(lambda header: shift(header, -(1 << 40))), (SHARD, NAME)),
    "a type that weights never have": (
        with_header(lambda header: header[NAME].update(dtype="I32")), (SHARD, NAME, "I32")),
    "a tensor that the index alone has": (
        with_header(lambda header: header.update(unheard_of=header.pop(NAME))), (NAME,)),
    "another shape of as many bytes": (with_header(transpose), (NAME,)),
    "a shape bomb": (with_header(lambda header: header[NAME].update(shape=[1 << 40, 1 << 40])),
                     (SHARD, NAME)),
    "a shard that is missing": (lambda folder: (folder / SHARD).unlink(), (SHARD, "not found")),
    "a shard that is a pipe": (put_pipe(SHARD), (SHARD, "no regular file")),
    "a shard outside the folder": (
        with_json("model.safetensors.index.json",
                  lambda index: index["weight_map"].update({NAME: "../" + SHARD})), (NAME,)),
    "a config that is cut off": (truncate("config.json", 0.5), ("config.json",)),
    "a config that is a pipe": (put_pipe("config.json"), ("config.json", "no regular file")),
    "no config": (lambda folder: (folder / "config.json").unlink(),
                  ("has no config.json beside", SHARD)),
    "an answer of a server": (lambda folder: (folder / SHARD).write_text("Entry not found"),
                              (SHARD, "is a text", "Entry not found")),
    "an unknown family": (with_json("config.json", lambda config: config.update(
        model_type="dense", architectures=["DenseForCausalLM"])), ("config.json", "dense")),
    "heads that do not divide": (
        with_json("config.json", lambda config: config.update(num_key_value_heads=3)),
        ("num_kv_heads", "3")),
}


def body(test):
    for number, (what, (spoil, words)) in enumerate(CASES.items()):
        folder = test.folder / f"checkpoint-{number}"
        shutil.copytree(GOLDEN, folder)
        spoil(folder)
        out = test.folder / f"out-{number}"
        out.mkdir()
        result = test.tetrarch("import", "--from", folder, "--out", out / "weights.h5", code=4)
        messages = result.messages()
        test.equal(len(messages), 1, f"messages, {what}\n{result.text}\n")
        for word in words:
            test.check(word in result.text, f"{what}: \"{word}\" is not in\n{result.text}")
        test.equal(sorted(path.name for path in out.iterdir()), [], f"files left, {what}")
        print(f"     {what}: {messages[0]}", flush=True)
    keeps_other_files(test)


def keeps_other_files(test):
    """Nothing that is no weights.h5 is replaced, above all none of the checkpoint's own files."""
    folder = test.folder / "checkpoint"
    shutil.copytree(GOLDEN, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in before:
        result = test.tetrarch("import", "--from", folder, "--out", folder / name, code=2)
        test.check("it would be overwritten" in result.text, result.text)
    result = test.tetrarch("import", "--from", folder, "--out", folder, code=2)
    test.check("is a folder" in result.text, result.text)
    test.equal({path.name: path.read_bytes() for path in folder.iterdir()}, before, "the checkpoint")
    for _ in range(2):
        test.tetrarch("import", "--from", folder, "--out", folder / "weights.h5")
    test.tetrarch("synth", "--preset", "tiny", "--out", test.folder / "demo")
    damaged = test.folder / "damaged.h5"
    damaged.write_bytes((folder / "weights.h5").read_bytes()[:4096])
    for other in (test.folder / "demo/inputs.h5", damaged):
        kept = other.read_bytes()
        result = test.tetrarch("import", "--from", folder, "--out", other, code=2)
        test.check("is no weights file of an earlier import" in result.text, result.text)
        test.check(other.read_bytes() == kept, f"{other} was replaced")


if __name__ == "__main__":
    support.main(body)
