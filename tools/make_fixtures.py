#!/usr/bin/env python3
"""Makes those checkpoints and inputs of tests/data anew that other programs write.

    tools/make_fixtures.py [--only NAME] [--work FOLDER]

Each writer is a script of this folder. It is run by a Python that has the packages below. pip installs
them into environments below FOLDER (default build/fixtures), which are kept for the next time. Every
script stores the versions of its packages beside its files.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import gzip
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
DATA = TOOLS.parent / "tests/data"

# archive in tests/data: a script that writes its content into the folder it is told, packages
WRITERS = {
    "writers/transformers-4": ("fixtures_checkpoints.py",
                               ["torch==2.15.0", "transformers==4.57.6"]),
    "writers/transformers-5": ("fixtures_checkpoints.py",
                               ["torch==2.15.0", "transformers==5.24.0"]),
    "inputs/jsonl": ("fixtures_jsonl.py",
                     ["datasets", "datatrove", "orjson", "pandas", "zstandard"]),
    "inputs/hdf5": ("fixtures_hdf5.py", ["h5py", "netCDF4", "pandas", "tables"]),
}


def python_with(packages, folder):
    """The interpreter of an environment that has the packages."""
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def pack(folder, archive):
    """The same files always give the same bytes: no time, owner or mode of this machine."""
    def plain(member):
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    with open(archive, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as files:
        for path in sorted(folder.iterdir()):
            files.add(path, path.name, filter=plain)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=WRITERS, help="one writer instead of all")
    parser.add_argument("--work", metavar="FOLDER", type=Path,
                        default=TOOLS.parent / "build/fixtures")
    args = parser.parse_args()
    for name, (script, packages) in WRITERS.items():
        if args.only in (None, name):
            python = python_with(packages, args.work / name)
            written = args.work / f"{name}-written"
            shutil.rmtree(written, ignore_errors=True)
            subprocess.run([python, TOOLS / script, written], check=True)
            pack(written, DATA / f"{name}.tar.gz")
            print(f"{name}: written by {' '.join(packages)}")


if __name__ == "__main__":
    sys.exit(main())
