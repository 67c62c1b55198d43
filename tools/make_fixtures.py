#!/usr/bin/env python3
"""Makes the checkpoints and inputs of tests/data anew that users' own libraries have written.

    tools/make_fixtures.py [--only NAME] [--work FOLDER]

Each writer is a script of this folder, run by a Python that has the packages below. Those are
installed by pip into environments below FOLDER (default build/fixtures), which stay there for the
next time. Every script stores the versions that it met beside what it wrote.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import subprocess
import sys
import venv
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
DATA = TOOLS.parent / "tests/data"

# name: script and its arguments, packages
WRITERS = {
    "transformers-4": (["fixtures_checkpoints.py", DATA / "writers/transformers-4"],
                       ["torch==2.15.0", "transformers==4.57.6"]),
    "transformers-5": (["fixtures_checkpoints.py", DATA / "writers/transformers-5"],
                       ["torch==2.15.0", "transformers==5.24.0"]),
    "jsonl": (["fixtures_jsonl.py"], ["datasets", "datatrove", "orjson", "pandas", "zstandard"]),
    "hdf5": (["fixtures_hdf5.py", DATA / "inputs"], ["h5py", "netCDF4", "pandas", "tables"]),
}


def python_with(packages, folder):
    """The interpreter of an environment that has the packages."""
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=WRITERS, help="one writer instead of all")
    parser.add_argument("--work", metavar="FOLDER", type=Path,
                        default=TOOLS.parent / "build/fixtures")
    args = parser.parse_args()
    for name, ((script, *arguments), packages) in WRITERS.items():
        if args.only in (None, name):
            python = python_with(packages, args.work / name)
            subprocess.run([python, TOOLS / script, *arguments], check=True)
            print(f"{name}: written by {' '.join(packages)}")


if __name__ == "__main__":
    sys.exit(main())
