#!/usr/bin/env python3
"""Makes the files of tests/data/inputs/jsonl.tar.gz: the same three sequences by several writers.

    PYTHON tools/fixtures_jsonl.py FOLDER     needs datatrove, orjson, pandas, datasets, zstandard and zstd

The tokens of each sequence are the bytes of its text, so that files of tokens and of text agree.
plain.jsonl is written by hand; jsonl_writers.txt names the writer of each file, with its version.
"""
# SPDX-License-Identifier: Apache-2.0

import gzip
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import datasets
import pandas
from datatrove.data import Document
from datatrove.pipeline.writers import JsonlWriter

TEXTS = ["Plain words.", "naïve, 東京", "a\n\"b\"\\\t</p>"]
TOKENS = [list(text.encode()) for text in TEXTS]
IDS = ["a", "b", "c"]


def by_hand(path):
    path.write_text("".join(json.dumps({"id": name, "tokens": tokens}) + "\n"
                            for name, tokens in zip(IDS, TOKENS)))
    return "json.dumps"


def by_datatrove(path):
    """Its default name is ${rank}.jsonl.gz."""
    with JsonlWriter(str(path.parent / "datatrove")) as writer:
        for name, text in zip(IDS, TEXTS):
            writer.write(Document(text=text, id=name, metadata={"url": "http://example.test",
                                                                "score": float("nan")}), rank=0)
    (path.parent / "datatrove/00000.jsonl.gz").rename(path)
    shutil.rmtree(path.parent / "datatrove")
    return f"datatrove {version('datatrove')}, orjson {version('orjson')}"


def frame():
    return pandas.DataFrame({"id": IDS, "tokens": TOKENS, "loss": [0.5, float("nan"), 1e300]})


def by_pandas(path):
    frame().to_json(path, orient="records", lines=True)
    return f"pandas {version('pandas')}, zstandard {version('zstandard')}"


def by_datasets(path):
    """What a tokenizer's map() leaves: input_ids, and no id."""
    table = datasets.Dataset.from_dict({"input_ids": TOKENS,
                                        "attention_mask": [[1] * len(t) for t in TOKENS]})
    table.to_json(path, compression="gzip" if path.suffix == ".gz" else None)
    return f"datasets {version('datasets')}, pandas {version('pandas')}"


def by_gzip(path):
    """A member for each line, with the words that json.dumps has for what is no number."""
    with open(path, "wb") as file:
        for name, text in zip(IDS, TEXTS):
            line = json.dumps({"nan": float("nan"), "inf": float("-inf"), "lone": "\ud800",
                               "id": name, "text": text}) + "\n"
            file.write(gzip.compress(line.encode()))
    return f"gzip and json of Python {sys.version.split()[0]}"


def by_zstd(path):
    """A frame for each line, put together as cat does."""
    frames = [subprocess.run(["zstd", "-q", "-c"], input=line, stdout=subprocess.PIPE,
                             check=True).stdout
              for line in (path.parent / "plain.jsonl").read_bytes().splitlines(keepends=True)]
    path.write_bytes(b"".join(frames))
    words = subprocess.run(["zstd", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    return words.stdout.strip(" *\n")


FILES = {"plain.jsonl": by_hand, "datatrove.jsonl.gz": by_datatrove, "pandas.jsonl": by_pandas,
         "pandas.jsonl.gz": by_pandas, "pandas.jsonl.zst": by_pandas,
         "datasets.jsonl": by_datasets, "datasets.jsonl.gz": by_datasets,
         "members.jsonl.gz": by_gzip, "frames.jsonl.zst": by_zstd}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    writers = [f"{name}: {write(folder / name)}\n" for name, write in FILES.items()]
    (folder / "jsonl_writers.txt").write_text("".join(writers))
    print("".join(writers), end="")


main(Path(sys.argv[1]))
