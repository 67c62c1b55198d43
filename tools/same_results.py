#!/usr/bin/python3
"""Compares two results.h5 bit for bit: python3 tools/same_results.py A.h5 B.h5 [--ignore-status]

Compared: type, shape, `dtype` attribute (bf16 is stored as u16) and each bit of every dataset outside
/timing. A NaN equals only a NaN of the same bits. Not compared: /timing, and the attributes of the
root, which say when and how the results were made. Exit 0: the same bits; 1: they differ, or cannot
be compared.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import sys

import h5py
import numpy

SLAB_BYTES = 32 << 20
INPUT_GROUPS = ("sequences", "inputs")  # compared as well, but they are no output
STATUS = ("sequences/status", "sequences/error")


def datasets(file):
    """Path -> dataset, for all that is to be compared."""
    found = {}

    def visit(path, thing):
        if isinstance(thing, h5py.Dataset) and path.split("/")[0] != "timing":
            found[path] = thing

    file.visititems(visit)
    return found


def description(dataset):
    """What must be equal before elements can be compared."""
    dtype = dataset.attrs.get("dtype", "")
    dtype = dtype.decode() if isinstance(dtype, bytes) else str(dtype)
    return f"{dataset.dtype}{' as ' + dtype if dtype else ''} {list(dataset.shape or ())}"


def slabs(dataset):
    """Selections along the first axis, each of at most about SLAB_BYTES."""
    if dataset.shape is None:  # a null dataspace has no elements
        return
    if dataset.shape == ():
        yield ()
        return
    row_bytes = max(1, dataset.dtype.itemsize * int(numpy.prod(dataset.shape[1:])))
    num_rows = max(1, SLAB_BYTES // row_bytes)
    for begin in range(0, dataset.shape[0], num_rows):
        yield slice(begin, min(begin + num_rows, dataset.shape[0]))


def differs(left, right):
    """A boolean per element, by bits."""
    if left.dtype.hasobject:  # variable-length values: equal objects are equal bytes
        return numpy.array(
            [not numpy.array_equal(a, b) for a, b in zip(left.flat, right.flat)], dtype=bool
        ).reshape(left.shape)
    as_bytes = [
        numpy.frombuffer(numpy.ascontiguousarray(side).tobytes(), dtype=numpy.uint8)
        for side in (left, right)
    ]
    unequal = (as_bytes[0] != as_bytes[1]).reshape(left.size, left.dtype.itemsize)
    return unequal.any(axis=1).reshape(left.shape)


def shown(element):
    """An element for a person; of a float also the bits, since they may be all that differs."""
    if isinstance(element, numpy.floating):
        return f"{element} (0x{element.tobytes()[::-1].hex()})"
    return str(element)


def compare(left, right):
    """Number of differing elements, and the first one as text."""
    num_differing, first = 0, None
    for selection in slabs(left):
        a, b = numpy.asarray(left[selection]), numpy.asarray(right[selection])
        different = differs(a, b)
        count = int(numpy.count_nonzero(different))
        if count and first is None:
            place = tuple(int(i) for i in numpy.argwhere(different)[0]) if a.ndim else ()
            absolute = list(place)
            if absolute and isinstance(selection, slice):
                absolute[0] += selection.start
            first = f"{absolute}: {shown(a[place])} | {shown(b[place])}"
        num_differing += count
    return num_differing, first


def main():
    parser = argparse.ArgumentParser(
        description="Compares two results.h5 bit for bit, without /timing and the root attributes."
    )
    parser.add_argument("left", metavar="A.h5")
    parser.add_argument("right", metavar="B.h5")
    parser.add_argument(
        "--ignore-status",
        action="store_true",
        help="do not compare " + " and ".join("/" + path for path in STATUS),
    )
    args = parser.parse_args()

    problems, num_bytes = [], 0
    try:
        with h5py.File(args.left, "r") as left_file, h5py.File(args.right, "r") as right_file:
            left, right = datasets(left_file), datasets(right_file)
            for name, found in ((args.left, left), (args.right, right)):
                if all(path.split("/")[0] in INPUT_GROUPS for path in found):
                    problems.append(f"{name}: no output dataset (nothing to compare)")
            paths = sorted(left.keys() | right.keys())
            if args.ignore_status:
                paths = [path for path in paths if path not in STATUS]
            for path in paths:
                if path not in left or path not in right:
                    owner = args.left if path in left else args.right
                    problems.append(f"/{path}: only in {owner}")
                    continue
                a, b = left[path], right[path]
                if description(a) != description(b):
                    problems.append(f"/{path}: {description(a)} | {description(b)}")
                    continue
                num_differing, first = compare(a, b)
                if num_differing:
                    share = f"{num_differing} of {a.size} elements differ"
                    problems.append(f"/{path}: {share}, first at {first}")
                num_bytes += (a.size or 0) * a.dtype.itemsize
    except OSError as error:
        print(f"same_results: {error}")
        return 1

    for problem in problems:
        print(problem)
    if problems:
        print(f"different: {len(problems)} differences in {len(paths)} datasets")
        return 1
    print(f"same bits: {len(paths)} datasets, {num_bytes} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
