"""HDF5 files that reach out of themselves, promise what they do not hold, or break the library.

Each is refused by one message that names file and object, soon, in little memory, and without a
look at what it points to: that is a pipe that nobody writes, so that opening it would never end.
"""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing
import os
import shutil
import struct
import sys

import h5py
import numpy

import support

SECONDS = 20  # each; a fraction of one on an idle machine
MEGABYTES = 200
VOCAB = 512


def refused(test, what, code, command, words):
    """The program alone ends so, with its child for the files, in bounded memory."""
    test.num_commands += 1
    output = test.folder / f"output-{test.num_commands}.txt"
    job = support.Job([test.program, *command], 1, output)
    _, status, usage = os.wait4(job.process.pid, 0)
    job.process.returncode = os.waitstatus_to_exitcode(status)
    result = job.wait(1)
    test.expect(result, code, what)
    messages = result.messages()
    test.equal(len(messages), 1, f"messages, {what}\n{result.text}\n")
    for word in words:
        test.check(str(word) in result.text, f"{what}: \"{word}\" is not in\n{result.text}")
    test.check(len(result.text) < 5000, f"{what}: a message of {len(result.text)} bytes")
    test.check(result.seconds < SECONDS, f"{what}: {result.seconds:.1f} s")
    megabytes = usage.ru_maxrss / 1024
    test.check(megabytes < MEGABYTES, f"{what}: {megabytes:.0f} MB of memory")
    print(f"     {what}: {result.seconds:.2f} s, {megabytes:.0f} MB: {messages[0]}", flush=True)


def never_written(file, name, shape, dtype, layout=h5py.h5d.CONTIGUOUS):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(layout)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(numpy.dtype(dtype)), space, plist)


def virtual(file, name, shape, dtype, target):
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(target), "x", shape)
    file.create_virtual_dataset(name, layout)


def instead(name, target):
    """What may stand for a dataset: edit(file, shape, dtype), and the word that names it."""
    return {
        "external link": (lambda f, *_: f.__setitem__(name, h5py.ExternalLink(str(target), "/x")),
                          "external link"),
        "soft link": (lambda f, *_: f.__setitem__(name, h5py.SoftLink("/elsewhere")), "soft link"),
        "virtual dataset": (lambda f, *s: virtual(f, name, *s, target), "virtual dataset"),
        "external storage": (lambda f, shape, dtype: f.create_dataset(
            name, shape, dtype, external=[(str(target), 0, h5py.h5f.UNLIMITED)]),
                             "external storage"),
        "foreign filter": (lambda f, shape, dtype: f.create_dataset(
            name, shape, dtype, compression="lzf"), "filter 32000"),
        "type": (lambda f, *_: f.__setitem__(name, numpy.dtype("f4")), "no dataset"),
        "shape bomb": (lambda f, *_: never_written(f, name, (1 << 31, 1 << 21), "<u2"),
                       "2147483648"),
        "chunked shape bomb": (lambda f, shape, dtype: f.create_dataset(
            name, (1 << 40,) * len(shape), dtype, chunks=(1 << 10,) * len(shape)), "1099511627776"),
        "overflowing shape": (lambda f, *_: f.create_dataset(
            name, (1 << 62, 1 << 62), "u1", chunks=(16, 16), maxshape=(None, None)), name),
        "never written": (lambda f, shape, dtype: never_written(f, name, shape, dtype), "0 bytes"),
        "group": (lambda f, *_: f.create_group(name), name),
    }


def spoil(path, name, edit):
    with h5py.File(path, "r+") as file:
        shape, dtype, attributes = file[name].shape, file[name].dtype, dict(file[name].attrs)
        del file[name]
        edit(file, shape, dtype)
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            try:
                file[name].attrs.update(attributes)
            except (AttributeError, OSError):
                pass


def weights(test, model, target):
    def check(what, words, edit):
        folder = test.copy(model, f"weights {what}")
        path = folder / "weights.h5"
        editor = multiprocessing.Process(target=edit, args=(path,))  # keeps its memory to itself
        editor.start()
        editor.join()
        test.equal(editor.exitcode, 0, f"exit code of the editor, {what}")
        refused(test, f"weights, {what}", 4, ("verify", path), (path, *words))
        return path

    for what, (edit, word) in instead("head", target).items():
        path = check(what, ("/head", word), lambda path: spoil(path, "head", edit))
        if what == "external link":
            out = test.folder / "never"
            test.run(4, (path, model / "inputs.h5"), out, code=4, seconds=SECONDS)
            test.check(not out.exists(), "a run folder for weights that were refused")

    def many(path):
        with h5py.File(path, "r+") as file:
            for i in range(10_000):
                never_written(file, f"x{i}", (1 << 20, 1 << 10), "<f4")

    def huge(path):
        with h5py.File(path, "r+", libver="latest") as file:
            file.attrs["config_json"] = numpy.bytes_(b"x" * (20 << 20))

    def endless(path):
        with h5py.File(path, "r+") as file:
            group = file.create_group("again")
            for i in range(300):
                group[str(i)] = group

    check("10,000 datasets", ("problems", "/x1", "does not belong", "more"), many)
    check("huge attribute", ("config_json", "16 MiB"), huge)
    check("endless groups", ("/again", "another path also leads to"), endless)


def inputs(test, model, target):
    good = support.random_sequences((5, 40, 9), VOCAB)
    for name in ("tokens", "ids"):
        for what, (edit, word) in instead(name, target).items():
            path = support.write_inputs(test.folder / f"{name} {what}.h5", good)
            spoil(path, name, edit)
            words = (path, f"/{name}", word)
            if what in ("shape bomb", "overflowing shape", "type", "group", "never written",
                        "chunked shape bomb"):
                words = words[:2]
            refused(test, f"inputs, {name}, {what}", 3, ("verify", path), words)


def break_heap(path):
    """The attribute format lies in a heap; its object claims more bytes than there are."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, data.index(b"GCOL") + 24, 0xFF00000000000005)
    path.write_bytes(data)


def crashes(test, model):
    """HDF5 1.10 reads beyond its buffer; a later one may only refuse."""
    good = support.random_sequences((5, 40, 9), VOCAB)
    path = test.folder / "crash.h5"
    support.write_inputs(path, good)
    break_heap(path)
    for command in ("verify", "inspect"):
        refused(test, f"{command} of a file that crashes the library", 3, (command, path), (path,))
    for num_ranks in (1, 4):
        result = test.run(num_ranks, (model / "weights.h5", path), test.folder / "never", code=3,
                          seconds=SECONDS)
        test.equal(len(result.messages()), 1, f"messages\n{result.text}\n")
        test.check(str(path) in result.text, result.text)
        print(f"     {result.messages()[0]}", flush=True)
    out = test.folder / "stopped"
    path = support.write_inputs(test.folder / "later.h5", good)
    test.run(1, (model / "weights.h5", path), out, "--tokens-per-microbatch", 1, "--stop-after",
             "1e-6", code=85)
    break_heap(path)
    for command in ("verify", "merge"):
        refused(test, f"{command} of a run of such inputs", 3, (command, out), (path,))


def results(test, model, target):
    """A results.h5 in a run folder is as foreign as any other file."""
    good = support.random_sequences((5, 40, 9), VOCAB)
    inputs = support.write_inputs(test.folder / "for-results.h5", good)
    whole = test.folder / "whole"
    test.run(1, (model / "weights.h5", inputs), whole, "--keep-parts")

    def check(what, words, edit):
        out = test.folder / f"results {what}"
        shutil.copytree(whole, out)
        edit(out / "results.h5")
        refused(test, f"verify of a folder with results, {what}", 3, ("verify", out),
                (out / "results.h5", *words))
        return out

    def claim(path):
        with h5py.File(path, "r+") as file:
            dtype, attributes = file["timing/phases"].dtype, dict(file["timing/phases"].attrs)
            del file["timing/phases"]
            file.create_dataset("timing/phases", (1 << 50,), dtype, chunks=(1 << 10,))
            file["timing/phases"].attrs.update(attributes)

    check("times without end", ("/timing/phases", "chunks were never written"), claim)
    check("external link", ("external link",), lambda path: spoil(
        path, "logprobs/token", instead("logprobs/token", target)["external link"][0]))
    out = check("crash", ("HDF5",), lambda path: shutil.copy(test.folder / "crash.h5", path))
    # merge and run ask only whose results they are
    for command, code in (("inspect", 3), ("merge", 2)):
        refused(test, f"{command} of a folder with results that crash", code, (command, out),
                (out / "results.h5",))
    result = test.run(2, (model / "weights.h5", inputs), out, code=2, seconds=SECONDS)
    test.check("run_uuid" in result.text, result.text)


def body(test):
    target = test.folder / "pipe"
    os.mkfifo(target)
    model = test.synth("model", "--preset", "tiny", "--layers", 1, "--experts", 4)
    crashes(test, model)
    weights(test, model, target)
    inputs(test, model, target)
    results(test, model, target)


if __name__ == "__main__":
    sys.exit(support.main(body))
