"""Lines in gzip and zstd give the bits of the same lines as they are, and leave nothing behind."""
# SPDX-License-Identifier: Apache-2.0

import gzip
import json
import shutil
import struct

import support

SPOOL = ".tmp-spool"
VOCAB = 512


def zstd(data):
    """Frames of raw blocks: what zstd makes of bytes that it cannot pack."""
    frames = b""
    for begin in range(0, len(data), 1000):
        block = data[begin:begin + 1000]
        frames += b"\x28\xb5\x2f\xfd\x00\x00" + struct.pack("<I", len(block) << 3 | 1)[:3] + block
    return frames


def members(data):
    return b"".join(gzip.compress(line) for line in data.splitlines(keepends=True))


def lines_of(sequences, first_id=0):
    return b"".join(json.dumps({"id": first_id + i, "input_ids": tokens}).encode() + b"\n"
                    for i, tokens in enumerate(sequences))


def no_spool(test, out, what):
    test.check(not (out / SPOOL).exists(), f"{what}: {out / SPOOL} is still there")


def same_as_plain(test, weights, folder, plain, arguments):
    """The folder has .gz and .zst, the same lines as `plain`."""
    expected = test.folder / "plain-run"
    test.run(1, (weights, plain), expected, *arguments)
    for num_ranks in (1, 4):
        out = test.folder / f"packed-{num_ranks}"
        result = test.run(num_ranks, (weights, folder), out, *arguments)
        test.check("2 of 4 entries are inputs by their names; left out: README.md, raw/"
                   in result.text, f"what is left out is not said:\n{result.text}")
        test.check("of 2 compressed files" in result.text, f"the spool is not said:\n{result.text}")
        no_spool(test, out, "after the run")
        found = support.by_id(out)
        for name, values in support.by_id(expected).items():
            for path in values:
                if path != "sequences/file":
                    test.check(found[name][path] == values[path], f"{name}: {path} differs")
        test.tetrarch("verify", out)


def dry_run(test, weights, path, size):
    out = test.folder / "dry"
    result = test.run(2, (weights, path), out, "--dry-run")
    test.check(f"compressed file takes {size} unpacked" in result.text,
               f"the size is not said:\n{result.text}")
    test.check(not out.exists(), "a dry run has made a folder")


def stopped(test, weights, path, data, arguments):
    """Goes on with the same content, however it is packed, and with no other; what a killed run has
    left is removed."""
    whole, out = test.folder / "whole", test.folder / "stopped"
    test.run(1, (weights, path), whole, *arguments)
    test.run(2, (weights, path), out, "--tokens-per-microbatch", 1, "--stop-after", "1e-6",
             *arguments, code=85)
    no_spool(test, out, "after a stop")
    test.tetrarch("verify", out, code=85)
    path.write_bytes(gzip.compress(data.replace(b"[", b"[7, ", 1)))
    result = test.run(1, (weights, path), out, *arguments, code=3)
    test.check("inputs.xxh3" in result.text, f"changed inputs: {result.text}")
    no_spool(test, out, "after a refusal")
    path.write_bytes(members(data))
    (out / SPOOL).mkdir()
    (out / SPOOL / "0000.jsonl").write_text("left by a killed run")
    test.run(4, (weights, path), out, *arguments)
    no_spool(test, out, "after the resumed run")
    test.same(whole, out, "resumed with the inputs packed anew")
    test.run(1, (weights, path), out, *arguments)
    no_spool(test, out, "of a complete run")


def refused(test, weights, data):
    packed = gzip.compress(data)
    cases = {"cut.jsonl.gz": (packed[:-5], f"is truncated (it ends at byte {len(packed) - 5}"),
             "cut.jsonl.zst": (zstd(data)[:-5], "is truncated"),
             "more.json.gz": (packed + b"more", "after its 1 gzip member"),
             "array.json.gz": (gzip.compress(b'[{"id": 1}]'), "its content is a JSON array"),
             "tar.jsonl.gz": (gzip.compress(bytes(1000)), "its content is made of zero bytes"),
             "none.jsonl.gz": (gzip.compress(b""), "its content is empty"),
             "window.jsonl.zst": (b"\x28\xb5\x2f\xfd\x00\x90\x09\x00\x00{", "128 MiB")}
    for name, (content, words) in cases.items():
        path = test.folder / name
        path.write_bytes(content)
        out = test.folder / f"refused-{name}"
        result = test.run(2, (weights, path), out, code=3)
        test.equal(len(result.messages()), 1, f"messages of {name}\n{result.text}\n")
        test.check(words in result.text and str(path) in result.text, f"{name}: {result.text}")
        test.check(not out.exists(), f"{name}: the folder is there")
        test.check(words in test.tetrarch("verify", path, code=3).text, f"verify {name}")


def bomb(test, weights):
    """512 MiB of blanks, in one line, take no memory."""
    path = test.folder / "bomb.jsonl.gz"
    with open(path, "wb") as file:
        file.write(gzip.compress(b'{"id": 1, "tokens": [1, 2]}\n'))
        blanks = gzip.compress(b" " * (64 << 20))
        for _ in range(8):
            file.write(blanks)
    limit = ["prlimit", f"--as={1 << 30}"]
    result = test.start([*limit, test.program, "inspect", path]).wait(60)
    test.expect(result, 0, "inspect")
    test.check("2 sequences" in result.text and "longer than 64 MiB" in result.text, result.text)


def body(test):
    model = test.synth("model", "--preset", "tiny")
    weights = model / "weights.h5"
    sequences = support.random_sequences((5, 40, 17, 130, 1, 9), VOCAB)
    data = lines_of(sequences)
    plain = test.folder / "plain.jsonl"
    plain.write_bytes(data)
    folder = test.folder / "folder"
    (folder / "raw").mkdir(parents=True)
    (folder / "README.md").write_text("No input.")
    (folder / "0.JSONL.GZ").write_bytes(members(lines_of(sequences[:2])))
    (folder / "1.json.zst").write_bytes(zstd(lines_of(sequences[2:], 2)))
    same_as_plain(test, weights, folder, plain, support.EVERYTHING)
    one = test.folder / "one.jsonl.gz"
    one.write_bytes(gzip.compress(data))
    dry_run(test, weights, one, f"{len(data) / 1024:.2f} KiB")
    refused(test, weights, data)
    bomb(test, weights)
    stopped(test, weights, one, data, ("--outputs", "logprobs,hidden"))
    shutil.rmtree(folder)


if __name__ == "__main__":
    support.main(body)
