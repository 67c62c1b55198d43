#!/usr/bin/python3
"""Turns a text into inputs for `tetrarch run`: bytes are tokens, a paragraph is a sequence.

    tools/text_to_inputs.py TEXT inputs.h5 [--per paragraph|line] [--ids number|text]

The id of a token is the value of its byte, so the model's vocabulary must be at least 256. Paragraphs
are separated by blank lines. With --per line, each line that is not blank is a sequence. The id of a
sequence is the number of its first line in the text, counted from 1; with --ids text it is
"NAME:LINE", where NAME is the name of the text file.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import os
import sys
from pathlib import Path

import h5py
import numpy as np


def sequences_of(text, per):
    """(number of its first line, bytes) of each line or paragraph that is not blank."""
    found, begin, lines = [], 0, []
    for number, line in enumerate(text.split(b"\n") + [b""], start=1):
        line = line.rstrip(b"\r")
        if line.strip() and per == "line":
            found.append((number, line))
        elif line.strip():
            begin = begin if lines else number
            lines.append(line)
        elif lines:
            found.append((begin, b"\n".join(lines)))
            lines = []
    return found


def create(file, path, data, description):
    file.create_dataset(path, data=data).attrs["description"] = description


def write_inputs(path, sequences, ids):
    """The file appears under its name only when it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    texts = [text for _, text in sequences]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype("<u8")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["format"] = "tetrarch-inputs"
            file.attrs["format_version"] = np.array([1, 0], "<u4")
            tokens = np.frombuffer(b"".join(texts), np.uint8).astype("<u4")
            create(file, "tokens", tokens, "token ids of all sequences, one after another: bytes")
            create(file, "offsets", offsets, "where each sequence begins in tokens; last: its end")
            create(file, "ids", ids, "id of each sequence")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("text", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--per", choices=["paragraph", "line"], default="paragraph")
    parser.add_argument("--ids", choices=["number", "text"], default="number")
    args = parser.parse_args()

    try:
        sequences = sequences_of(args.text.read_bytes(), args.per)
        if args.ids == "number" or not sequences:
            ids = np.array([line for line, _ in sequences], "<u8")
        else:
            ids = np.array([f"{args.text.name}:{line}".encode() for line, _ in sequences])
        write_inputs(args.inputs, sequences, ids)
    except OSError as error:
        print(f"text_to_inputs: {error}. Check that the text can be read and the inputs can be written.",
              file=sys.stderr)
        return 1
    total = sum(len(text) for _, text in sequences)
    print(f"{args.inputs}: {len(sequences)} sequences, {total} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
