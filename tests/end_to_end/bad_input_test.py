"""Whatever is wrong with the input: one message that helps, the right exit code, and soon.

0 ranks: the program alone, without a launcher.
"""
# SPDX-License-Identifier: Apache-2.0

import json
import os
import shutil
import signal
import time

import h5py
import numpy

import support

import edit_weights  # of tools/

SECONDS = 20
LENGTHS = (5, 40, 1, 17, 130, 9)
VOCAB = 512


def refused(test, what, code, num_ranks, model, *arguments, words=(), out=None, **how):
    """The run ends with this code and one message that has these words."""
    out = out or test.folder / f"refused-{test.num_commands}"
    result = test.run(num_ranks, model, out, *arguments, code=code, seconds=SECONDS, **how)
    messages = result.messages()
    test.equal(len(messages), 1, f"messages, {what}\n{result.text}\n")
    for word in words:
        test.check(str(word) in result.text, f"{what}: \"{word}\" is not in\n{result.text}")
    print(f"     {what}: {messages[0]}", flush=True)


def bad_weights(test, model):
    def spoilt(name, spoil):
        weights = shutil.copy(model / "weights.h5", test.folder / f"{name}.h5")
        spoil(weights)
        return weights, model / "inputs.h5"

    def truncate(path):
        os.truncate(path, os.path.getsize(path) * 2 // 3)

    def flip(path):
        """One bit of slice 1 of expert 13, which only one of ep 2 x tp 2 ranks reads."""
        with h5py.File(path) as file:
            data = file["layers/01/up"]
            row_bytes = data.shape[2] * data.dtype.itemsize
            place = data.id.get_offset() + (13 * data.shape[1] + 10) * row_bytes
        with open(path, "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1]))

    def transpose(path):
        with h5py.File(path, "r+") as file:
            stored, attributes = file["layers/00/k"][()], dict(file["layers/00/k"].attrs)
            del file["layers/00/k"]
            file["layers/00/k"] = stored.T.copy()
            file["layers/00/k"].attrs.update(attributes)

    def remove(path):
        with h5py.File(path, "r+") as file:
            del file["layers/01/moe_norm"]

    def retype(path):
        with h5py.File(path, "r+") as file:
            stored = file["layers/00/q"][()]
            del file["layers/00/q"]
            file["layers/00/q"] = stored.astype(numpy.float16)

    cases = {
        "of another type": (retype, ("of another type.h5", "/layers/00/q", "f32")),
        "truncated": (truncate, ("truncated.h5",)),
        "bit-flipped": (flip, ("bit-flipped.h5", "/layers/01/up", "expert 13")),
        "transposed": (transpose, ("transposed.h5", "/layers/00/k", "32", "64")),
        "incomplete": (remove, ("incomplete.h5", "/layers/01/moe_norm")),
        "no-hdf5": (lambda path: open(path, "wb").write(b"x" * 5000), ("no-hdf5.h5",)),
    }
    for name, (spoil, words) in cases.items():
        pair = spoilt(name, spoil)
        for num_ranks in (0, 4):
            refused(test, f"{name} weights", 4, num_ranks, pair, words=words)
    refused(test, "inputs as weights", 4, 0, (model / "inputs.h5", model / "inputs.h5"),
            words=("inputs.h5", "tetrarch-inputs", "tetrarch-weights"))
    refused(test, "no weights", 4, 4, (test.folder / "none.h5", model / "inputs.h5"),
            words=("none.h5",))


def bad_inputs(test, model):
    weights = model / "weights.h5"
    sequences = support.random_sequences(LENGTHS, VOCAB)

    doubled = support.write_inputs(test.folder / "doubled.h5", sequences, ids=[1, 2, 3, 4, 2, 6])
    refused(test, "doubled ids", 3, 4, (weights, doubled), words=("doubled.h5", "2"))
    doubled = support.write_inputs(test.folder / "doubled-names.h5", sequences,
                                   ids=[b"a", b"b", b"b", b"d", b"e", b"f"])
    refused(test, "doubled names", 3, 0, (weights, doubled), words=("doubled-names.h5", "b"))
    refused(test, "one file twice", 3, 0, model, "--inputs", model / "inputs.h5",
            words=("inputs.h5",))
    for name, offsets in {"falling": [0, 5, 4, 46, 63, 193, 202],
                          "too-far": [0, 5, 45, 46, 63, 193, 2**40]}.items():
        broken = support.write_inputs(test.folder / f"{name}.h5", sequences)
        with h5py.File(broken, "r+") as file:
            file["offsets"][...] = numpy.array(offsets, numpy.uint64)
        refused(test, f"{name} offsets", 3, 0, (weights, broken), words=(f"{name}.h5", "offsets"))
    refused(test, "weights as inputs", 3, 0, (weights, weights),
            words=("weights.h5", "is a file of weights", "--weights"))
    for name in ("tokens", "offsets", "ids"):
        broken = support.write_inputs(test.folder / f"{name}.h5", sequences)
        with h5py.File(broken, "r+") as file:
            stored = file[name][()]
            del file[name]
            file[name] = stored.astype(numpy.float64)
        text = test.tetrarch("verify", broken, code=3).text
        test.check(f"/{name} is float64 (expected integers" in text, f"{name} of another type: {text}")
        with h5py.File(broken, "r+") as file:
            del file[name]
        text = test.tetrarch("verify", broken, code=3).text
        test.check(f"/{name}: is missing" in text, f"{name} missing: {text}")
    truncated = shutil.copy(model / "inputs.h5", test.folder / "short.h5")
    os.truncate(truncated, 3000)
    refused(test, "truncated inputs", 3, 0, (weights, truncated), words=("short.h5",))
    refused(test, "no inputs", 3, 0, (weights, test.folder / "none.h5"), words=("none.h5",))


def bad_lines(test, model):
    weights = model / "weights.h5"

    def refused_file(what, code, data, *arguments, words, name="lines.jsonl", num_ranks=0):
        path = test.folder / name
        path.write_bytes(data)
        refused(test, what, code, num_ranks, (weights, path), *arguments, words=(path, *words))

    line = b'{"id": 1, "tokens": [1, 2]}\n'
    text = b'{"id": 2, "text": "word"}\n'
    refused_file("prose", 3, b"No JSON.\nAt all.\n", words=("not JSON lines", "line 1"))
    refused_file("one JSON document", 3, b'[{"id": 1, "tokens": [1, 2]}]', name="array.json",
                 words=("is a JSON array", "jq -c '.[]'"))
    other_kinds(test, weights)
    for name, data in (("lines.jsonl", (model / "inputs.h5").read_bytes()), ("lines.h5", line),
                       ("lines.txt", b"\xef\xbb\xbf\r\n" + line), ("LINES.JSONL", line)):
        (test.folder / name).write_bytes(data)
        test.run(0, (weights, test.folder / name), test.folder / f"kind-of-{name}")
    unusable_lines(test, weights)
    refused_file("an id twice", 3, line + b"\n" + line, num_ranks=4, words=("line 1", "line 3"))
    refused_file("text without a tokenizer", 2, line + text, num_ranks=4,
                 words=("line 2", "--tokenizer bytes"))
    (test.folder / "empty").mkdir()
    refused(test, "an empty folder", 3, 4, (weights, test.folder / "empty"), words=("no input",))

    small = test.synth("small", "--preset", "tiny", "--layers", 1, "--vocab", 200)
    (test.folder / "text.jsonl").write_bytes(text)
    refused(test, "bytes beyond the vocabulary", 2, 4,
            (small / "weights.h5", test.folder / "text.jsonl"), "--tokenizer", "bytes",
            words=("200", "256"))


def other_kinds(test, weights):
    """Each is told as what it is, by its first bytes, whatever it is called."""
    kinds = {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "Git LFS pointer",
             "PAR1\0\0PAR1": "is Parquet", "ARROW1\0\0": "is Arrow", "BZh91AY&SY": "is bzip2",
             "\u00fd7zXZ\0": "is xz", "PK\3\4": "is a zip archive", "\u0093NUMPY": "NumPy array",
             "\u00ff\u00fe{\0": "is UTF-16 text", "": "is empty", "Prose.\n": "is plain text",
             "{\n \"id\": 1,\n \"tokens\": [1]\n}": "one JSON document over many lines"}
    for number, (data, words) in enumerate(kinds.items()):
        path = test.folder / f"kind-{number}.{'h5' if number % 2 else 'txt'}"
        path.write_bytes(data.encode("latin-1"))
        refused(test, words, 3, 0, (weights, path), words=(path, words))
        text = test.tetrarch("verify", path, code=3).text
        test.check(words in text, f"verify: \"{words}\" is not in {text}")


def unusable_lines(test, weights):
    """A file of which nothing can be used is refused with the commonest reason."""
    path = test.folder / "unusable.jsonl"
    lines = ['{"url": "a"}'] * 3 + [f'{{"id": {i}, "tokens": [1.5]}}' for i in range(5)] + ["{"]
    path.write_text("\n".join(lines))
    for arguments in ((), ("--dry-run",)):
        refused(test, "nothing usable", 3, 2, (weights, path), *arguments,
                words=("none of its 9 lines", "is 1.5 (expected an unsigned integer): 5, first "
                       "line 4"))
    out = test.folder / "some-usable"
    path.write_text("\n".join([*lines, '{"input_ids": [1, 2]}']))
    result = test.run(0, (weights, path), out, code=8)
    for words in ("9 error records: the token at position 0 is 1.5 (expected an unsigned integer) "
                  f"(5, first {path}:4); tokens are missing", f"(3, first {path}:1)",
                  "1 line has no id"):
        test.check(words in result.text, f"\"{words}\" is not in\n{result.text}")


def error_records(test, model):
    """A bad sequence becomes a record; the others are bit for bit as without it."""
    weights = model / "weights.h5"
    good = support.random_sequences(LENGTHS, VOCAB)
    bad = {
        100: ([1, 2, VOCAB, 3], 0, 2, "512"),  # token id
        101: ([], 0, 1, "no tokens"),
        102: ([7] * 8193, 0, 3, "8193"),  # longer than max_position
        103: ([1, 2, 3], 4, 5, "score_from"),
        104: ([4294967295], 0, 2, "4294967295"),
    }
    without = support.write_inputs(test.folder / "without.h5", good)
    mixed, ids, score_from = list(good), list(range(len(good))), [0] * len(good)
    for place, (name, (tokens, first, _, _)) in enumerate(bad.items()):
        at = 2 * place
        mixed.insert(at, tokens)
        ids.insert(at, name)
        score_from.insert(at, first)
    with_bad = support.write_inputs(test.folder / "with.h5", mixed, ids=ids,
                                    score_from=score_from)
    clean = test.folder / "clean"
    test.run(1, (weights, without), clean, *support.EVERYTHING)
    expected = support.by_id(clean)
    for num_ranks in (1, 4):
        out = test.folder / f"records-{num_ranks}"
        result = test.run(num_ranks, (weights, with_bad), out, *support.EVERYTHING, code=8,
                          seconds=SECONDS)
        test.check(f"{len(bad)} error records" in result.text, f"not said:\n{result.text}")
        found = support.by_id(out)
        for name, values in expected.items():
            for path in values:
                if path.startswith("sequences/"):
                    continue
                test.check(found[name][path] == values[path], f"sequence {name}: {path} differs")
        check_records(test, out, bad)


def check_records(test, run_folder, bad):
    with h5py.File(run_folder / "results.h5") as file:
        ids = file["sequences/id"][()].tolist()
        offsets = file["sequences/offsets"][()].astype(int)
        for name, (_, _, status, word) in bad.items():
            at = ids.index(name)
            error = file["sequences/error"][at].decode()
            test.equal(int(file["sequences/status"][at]), status, f"status of {name}")
            test.check(word in error, f"\"{word}\" is not in the error \"{error}\"")
            rows = slice(offsets[at], offsets[at + 1])
            for path in ("logprobs/token", "hidden/00", "hidden/final"):
                test.check(numpy.isnan(file[path][rows]).all(), f"{path} of {name} is not NaN")
            test.check(numpy.isnan(file["last_logits"][at]).all(), "last logits are not NaN")
            test.check(numpy.isnan(file["topk/logprobs"][rows]).all(), "topk is not NaN")
            for path, value in (("experts/00", 0xFFFF), ("topk/ids", 0xFFFFFFFF), ("kv/01/k", 0),
                                ("kv/00/v", 0)):
                test.check((file[path][rows] == value).all(), f"{path} of {name} is not {value}")


def mixed_folder(test):
    """HDF5 and JSONL in one folder, with bad lines of all kinds; and what each id must become."""
    folder = test.folder / "mixed"
    folder.mkdir()
    sequences = support.random_sequences((5, 40, 17, 130, 1), VOCAB)
    texts = ["Tetrarch reads bytes: naïve, 東京.", "x" * 300]

    def line(name, tokens, **more):
        return json.dumps({"id": name, "tokens": tokens, **more}).encode()

    lines = [line("0", sequences[0]), b"no JSON",
             line(1, sequences[1], extra={"id": 5, "note": "x" * 10_000_000}), b"",
             b'{"id": "bad-utf8", "text": "\xff"}', b"[1, 2]", b'{"tokens": [1]}',
             line("float", [1, 2.5]), line("negative", [-1]), line("word", ["1"]),
             line("large", [2**32]), line("score", [1, 2], score_from=3), line("nothing", []),
             line("token", [1, VOCAB]), line("long", [7] * 8193), b'{"id": "no-tokens"}',
             b'{"id": "huge", "x": "' + b"x" * (64 << 20) + b'"}']
    (folder / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    support.write_inputs(folder / "b.h5", sequences[2:4], ids=[2, 3])
    (folder / "c.ndjson").write_text("".join(
        json.dumps({"id": f"text {i}", "text": text}, ensure_ascii=bool(i)) + "\n"
        for i, text in enumerate(texts)))
    (folder / "d.json").write_bytes(b'{"id": "truncated", "tokens": [1, 2\n' + line(4, sequences[4]))
    good = {**{str(i): tokens for i, tokens in enumerate(sequences)}, "a.jsonl:7": [1],
            **{f"text {i}": list(text.encode()) for i, text in enumerate(texts)}}
    bad = {"a.jsonl:2": (5, "not JSON"), "bad-utf8": (5, "not UTF-8"),
           "a.jsonl:6": (5, "not an object"),
           "float": (5, "2.5"), "negative": (5, "-1"), "word": (5, "a text"),
           "large": (5, "4294967296"), "score": (5, "score_from 3"), "nothing": (1, "no tokens"),
           "token": (2, "token 512 at position 1"), "long": (3, "8193"),
           "no-tokens": (5, "tokens are missing"), "a.jsonl:17": (5, "longer than 64 MiB"),
           "truncated": (5, "not JSON")}
    return folder, good, bad


def json_lines(test, model):
    """A folder of both formats gives the bits of one HDF5 file, and its bad lines are records."""
    weights = model / "weights.h5"
    folder, good, bad = mixed_folder(test)
    as_hdf5 = support.write_inputs(test.folder / "as-hdf5.h5", list(good.values()),
                                   ids=[name.encode() for name in good])
    whole = test.folder / "as-hdf5"
    test.run(1, (weights, as_hdf5), whole, *support.EVERYTHING)
    expected = support.by_id(whole)
    arguments = ("--tokenizer", "bytes", *support.EVERYTHING)
    for num_ranks in (1, 4):
        out = test.folder / f"mixed-{num_ranks}"
        result = test.run(num_ranks, (weights, folder), out, *arguments, code=8, seconds=SECONDS)
        test.check(f"{len(bad)} error records" in result.text, f"not said:\n{result.text}")
        found = support.by_id(out)
        test.equal(set(found), {name.encode() for name in (*good, *bad)}, "ids")
        for name, values in expected.items():
            for path in values:
                if not path.startswith("sequences/"):
                    test.check(found[name][path] == values[path], f"{name}: {path} differs")
        with h5py.File(out / "results.h5") as file:
            ids = [name.decode() for name in file["sequences/id"][()]]
            for name, (status, word) in bad.items():
                at = ids.index(name)
                error = file["sequences/error"][at].decode()
                test.equal(int(file["sequences/status"][at]), status, f"status of {name}")
                test.check(word in error, f"{name}: \"{word}\" is not in \"{error}\"")
        test.tetrarch("verify", out)
    changed_lines(test, weights, test.folder / "as-hdf5", folder, arguments)


def ten_megabytes(test, model):
    """In one line: more tokens than the model has positions become a record, more else is read."""
    path = test.folder / "ten-megabytes.jsonl"
    tokens = support.random_sequences((40,), VOCAB)[0]
    path.write_text(json.dumps({"id": 1, "tokens": [7] * 3_500_000}) + "\n" +
                    json.dumps({"note": "x" * 10_000_000, "id": 2, "tokens": tokens}) + "\n")
    out = test.folder / "ten-megabytes"
    test.run(2, (model / "weights.h5", path), out, code=8, seconds=SECONDS)
    with h5py.File(out / "results.h5") as file:
        test.equal(file["sequences/status"][()].tolist(), [3, 0], "status of long lines")
        test.check(b"3500000" in file["sequences/error"][0], "the length is not named")


def changed_lines(test, weights, whole, folder, arguments):
    """A stopped run goes on with the same lines and tokenizer, and with no others."""
    out, path = test.folder / "stopped", folder / "d.json"
    test.run(2, (weights, folder), out, "--tokens-per-microbatch", 1, "--stop-after", "1e-6",
             *arguments, code=85, seconds=SECONDS)
    before = path.read_bytes()
    for what, after in {"another token": before.replace(b"[", b"[7, "),
                        "a mended line": before.replace(b"[1, 2", b"[1, 2]}")}.items():
        path.write_bytes(after)
        refused(test, what, 3, 4, (weights, folder), *arguments, out=out,
                words=("stopped", "inputs"))
    path.write_bytes(before)
    (folder / "c.ndjson").rename(test.folder / "c.ndjson")
    without = test.folder / "without-tokenizer"
    test.run(2, (weights, folder), without, "--tokens-per-microbatch", 1, "--stop-after", "1e-6",
             code=85, seconds=SECONDS)
    refused(test, "another tokenizer", 2, 4, (weights, folder), "--tokenizer", "bytes",
            out=without, words=("tokenizer",))
    (test.folder / "c.ndjson").rename(folder / "c.ndjson")
    test.tetrarch("verify", out, code=85)
    test.tetrarch("merge", out, "--keep-parts")
    test.run(4, (weights, folder), out, *arguments, code=8, seconds=SECONDS)
    found = support.by_id(out)
    for name, values in support.by_id(whole).items():
        test.check(found[name]["logprobs/token"] == values["logprobs/token"],
                   f"{name} of the resumed run differs")


def non_finite(test, model):
    """A NaN in a weight that all tokens meet: every sequence is a record of status 4."""
    folder = test.copy(model, "nan")
    edit_weights.edit(folder / "weights.h5", "layers/01/o", (3, 5), numpy.nan)
    for num_ranks in (1, 4):
        out = folder / f"run-{num_ranks}"
        test.run(num_ranks, folder, out, *support.EVERYTHING, code=8, seconds=SECONDS)
        with h5py.File(out / "results.h5") as file:
            status = file["sequences/status"][()].tolist()
        test.equal(status, [4] * len(LENGTHS), "status of the sequences")


def wrong_grids(test, model):
    for num_ranks, grid, words in (
        (4, ("--ep", 3, "--tp", 1), ("3", "4")),
        (4, ("--ep", 4, "--tp", 2), ("8", "4")),
        (3, ("--ep", 3), ("ep", "16")),
        (3, ("--tp", 3), ("tp", "4")),
        (8, ("--tp", 8), ("tp", "4")),
        (0, ("--ep", 2), ("2", "1")),
    ):
        refused(test, f"grid {grid} on {num_ranks} ranks", 2, num_ranks, model, *grid, words=words)
    refused(test, "a layer that is not there", 2, 4, model, "--outputs", "hidden",
            "--hidden-layers", "0,7", words=("7",))
    refused(test, "an output that is not there", 2, 4, model, "--outputs", "logprob",
            words=("logprob",))


def unusable_folders(test, model):
    """As an unprivileged user: nothing stops root."""
    os.chmod(test.folder, 0o755)
    program, launcher = (shutil.copy(path, test.folder) for path in (test.program, test.launcher))
    prefix = ()
    if os.geteuid() == 0:
        prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    locked = test.folder / "locked"
    locked.mkdir(mode=0o555)
    test.launcher = launcher
    for num_ranks in (0, 4):
        refused(test, "read-only folder", 5, num_ranks, model, out=locked / "run", prefix=prefix,
                program=program, words=("locked/run",))
    refused(test, "read-only run folder", 5, 4, model, out=locked, prefix=prefix, program=program,
            words=("locked",))
    test.launcher = support.TOOLS / "launch.sh"
    closed = test.folder / "closed"
    closed.mkdir()
    hidden = closed / "hidden.jsonl"
    hidden.write_text('{"id": 1, "tokens": [1, 2]}')
    how = {"prefix": prefix, "program": program, "words": ("closed", "Permission denied")}
    writable = test.folder / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    secret = shutil.copy(model / "weights.h5", test.folder / "closed.h5")
    os.chmod(secret, 0)
    refused(test, "unreadable weights", 4, 0, (secret, model / "inputs.h5"),
            out=writable / "run", **how)
    for path, mode in ((hidden, 0), (closed, 0)):
        path.chmod(mode)
        refused(test, f"unreadable {path.name}", 3, 0, (model / "weights.h5", closed),
                out=writable / "run", **how)
        result = test.start([*prefix, program, "verify", path]).wait(SECONDS)
        test.expect(result, 3, f"verify of unreadable {path.name}")
        test.equal(len(result.messages()), 1, f"messages\n{result.text}\n")
        test.check(str(path) in result.text and "Permission denied" in result.text, result.text)
    in_the_way = test.folder / "in-the-way"
    in_the_way.write_text("a file")
    refused(test, "a file in the way", 5, 4, model, out=in_the_way, words=("in-the-way",))


def odd_places(test, model):
    """A working folder whose name is no UTF-8; files that may not be looked at."""
    odd = os.fsencode(test.folder) + b"/odd-\xe9"
    os.mkdir(odd)
    out = test.folder / "from-odd"
    test.run(2, model, out, prefix=("env", "-C", os.fsdecode(odd)))
    test.tetrarch("verify", out)
    name = test.folder / ("x" * 300)
    refused(test, "a name that is too long", 5, 1, ("synth:tiny", model / "inputs.h5"), out=name,
            words=("xxx", "too long"))


def idle_rank(test, model):
    """Also a rank that draws no microbatch tells how long it loaded."""
    one = support.write_inputs(test.folder / "one.h5", support.random_sequences((5,), VOCAB))
    out = test.folder / "idle"
    test.run(2, (model / "weights.h5", one), out, "--dp", 2)
    with h5py.File(out / "results.h5") as file:
        rows = file["timing/phases"][()]
    ranks = {int(row["rank"]) for row in rows if row["phase"].rstrip(b"\0") == b"load"}
    test.equal(ranks, {0, 1}, "ranks that tell when they loaded")


def bad_synthetic(test, model):
    """A preset as weights: refused before it is written, and only taken where it is that preset."""
    out = test.folder / "synthetic"
    inputs = model / "inputs.h5"
    refused(test, "a preset on a grid that it does not admit", 2, 3, ("synth:tiny", inputs),
            "--ep", 3, out=out, words=("ep", "16"))
    test.check(not out.exists(), "a run folder for a preset that cannot be run")
    out.mkdir()
    shutil.copy(model / "weights.h5", out / "synth-tiny.h5")
    refused(test, "another model under a preset's name", 4, 4, ("synth:tiny", inputs), out=out,
            words=("synth-tiny.h5", "not the model synth:tiny"))
    (out / "synth-tiny.h5").unlink()
    test.run(4, ("synth:tiny", inputs), out)


def second_job(test, model):
    """While another job holds the folder, one is refused; the first goes on unharmed."""
    out = test.folder / "held"
    job = test.start_ranks(1, "run", "--weights", model / "weights.h5", "--inputs",
                           model / "inputs.h5", "--out", out)
    while not (out / "run.json").exists():
        if job.process.poll() is not None:
            raise support.Failed(f"the first job ended:\n{job.text()}")
        time.sleep(0.001)
    (rank,) = job.ranks(test.program)
    os.kill(rank, signal.SIGSTOP)
    refused(test, "folder in use", 5, 2, model, out=out, words=("held/lock", str(rank), "in use"))
    os.kill(rank, signal.SIGCONT)
    test.expect(job.wait(60), 0, "the first job")
    test.check((out / "results.h5").exists(), "the first job has no results")


def changed_since_the_start(test, model):
    folder = test.copy(model, "changed")
    out = folder / "run"
    test.run(2, folder, out, "--tokens-per-microbatch", 1, "--stop-after", "1e-6", code=85)

    other = test.synth("other", "--preset", "tiny", "--layers", 2, "--seed", 2)
    refused(test, "other weights", 4, 4, (other / "weights.h5", folder / "inputs.h5"), out=out,
            words=("changed/run", "weights"))
    inputs = support.write_inputs(folder / "inputs.h5", support.random_sequences(LENGTHS, VOCAB, 9))
    refused(test, "other inputs", 3, 4, (folder / "weights.h5", inputs), out=out,
            words=("changed/run", "inputs"))
    shutil.copy(model / "inputs.h5", inputs)
    refused(test, "other outputs", 2, 4, folder, "--outputs", "logprobs,hidden", out=out,
            words=("changed/run", "outputs"))
    test.run(4, folder, out)
    whole = folder / "whole"
    test.run(1, folder, whole)
    test.same(whole, out, "resumed after three refusals")


def body(test):
    model = test.synth("model", "--preset", "tiny", "--layers", 2, "--dtype", "f32")
    support.write_inputs(model / "inputs.h5", support.random_sequences(LENGTHS, VOCAB))
    for case in (bad_weights, bad_inputs, bad_lines, error_records, json_lines, ten_megabytes,
                 non_finite, wrong_grids, bad_synthetic, unusable_folders, odd_places,
                 idle_rank, second_job, changed_since_the_start):
        case(test, model)


if __name__ == "__main__":
    support.main(body)
