"""HDF5 inputs as other programs write them (made by tools/fixtures_hdf5.py), and files that HDF5's own
tools have packed again."""
# SPDX-License-Identifier: Apache-2.0

import shutil
import tarfile

import h5py

import support

ARCHIVE = support.SOURCE / "tests/data/inputs/hdf5.tar.gz"
GOOD = ("h5py-default", "h5py-gzip", "h5py-texts", "netcdf-nofill")
REFUSED = {  # what the message must say
    "h5py-float": ("/tokens is float64 (expected integers)", ".astype('int64')"),
    "h5py-lzf": ("/tokens: uses filter 32000 (lzf), which is not read", "compression='gzip'"),
    "netcdf-unfinished": ("/score_from: 2 of its 3 chunks were never written", "did not finish"),
    "pandas-to_hdf": ("attribute format is missing", "PyTables (pandas' to_hdf) wrote it"),
}
PACKED = (("as it is", ()), ("chunks", ("-l", "CHUNK=8")), ("gzip", ("-f", "GZIP=6")),
          ("compact", ("-l", "COMPA")), ("latest", ("-L",)), ("contiguous", ("-l", "CONTI")))


def repack(test, source, name, arguments):
    target = test.folder / f"{source.stem}-{name}.h5"
    result = test.start(["h5repack", *arguments, source, target]).wait(60)
    test.check(result.code == 0, f"h5repack {arguments} {source}\n{result.text}")
    return target


def written_by_others(test, model):
    data = test.folder / "data"
    with tarfile.open(ARCHIVE) as files:
        files.extractall(data)
    sums = []
    for name in GOOD:
        out = test.folder / name
        test.run(1, (model / "weights.h5", data / f"{name}.h5"), out)
        with h5py.File(out / "results.h5") as file:
            sums.append(file["logprobs/sum"][()].tolist())
            test.equal(file["logprobs/count"][()].tolist(), [1, 2, 0], f"count of {name}")
        test.equal(sums[-1], sums[0], f"sums of {name}")
    for name, words in REFUSED.items():
        result = test.run(1, (model / "weights.h5", data / f"{name}.h5"), test.folder / name,
                          code=3)
        test.equal(len(result.messages()), 1, f"messages\n{result.text}\n")
        for word in words:
            test.check(word in result.text, f"{name}: \"{word}\" is not in\n{result.text}")


def packed_again(test, model):
    test.check(shutil.which("h5repack"), "h5repack is not installed (hdf5-tools)")
    whole = test.folder / "whole"
    test.run(1, model, whole, *support.EVERYTHING)
    for name, arguments in PACKED:
        for source in (whole / "results.h5", model / "inputs.h5", model / "weights.h5"):
            target = repack(test, source, name, arguments)
            text = test.tetrarch("verify", target).text
            if source.stem != "weights":
                continue
            is_as_it_was = name in ("as it is", "latest", "contiguous")
            test.check(("h5repack -l CONTI -f NONE" in text) == (not is_as_it_was), text)
            out = test.folder / f"run-{name}"
            code = 0 if is_as_it_was else 4
            result = test.run(1, (target, model / "inputs.h5"), out, code=code)
            if code:
                test.check("h5repack -l CONTI -f NONE" in result.text, result.text)
                back = repack(test, target, "back", ("-l", "CONTI", "-f", "NONE"))
                test.run(1, (back, model / "inputs.h5"), out)


def body(test):
    model = test.synth("model", "--preset", "tiny", "--layers", 2, "--experts", 4)
    written_by_others(test, model)
    packed_again(test, model)


if __name__ == "__main__":
    support.main(body)
