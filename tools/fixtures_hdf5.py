"""Makes the small HDF5 files of tests/data/inputs/hdf5.tar.gz, each by a writer that users have.

    python3 -m venv fixtures && fixtures/bin/pip install h5py netCDF4 tables pandas
    fixtures/bin/python tools/fixtures_hdf5.py FOLDER

All files have the same three sequences, except for those that must be refused. The versions of the
writers are in hdf5_writers.txt beside them, and in an attribute `writer` of each file that can have one.
"""
# SPDX-License-Identifier: Apache-2.0

import sys
from pathlib import Path

import h5py
import netCDF4
import numpy
import pandas
import tables

TOKENS = [5, 6, 7, 8, 9, 3]
OFFSETS = [0, 2, 5, 6]
IDS = [1, 2, 3]
WRITERS = {"h5py": h5py.__version__, "HDF5 of h5py": h5py.version.hdf5_version,
           "numpy": numpy.__version__, "netCDF4": netCDF4.__version__,
           "HDF5 of netCDF4": netCDF4.__hdf5libversion__, "pandas": pandas.__version__,
           "tables": tables.__version__}


def name_format(attributes, writer):
    attributes["format"] = "tetrarch-inputs"
    attributes["format_version"] = [1, 0]
    attributes["writer"] = f"{writer} {WRITERS[writer]}"


def with_h5py(path, tokens=TOKENS, ids=IDS, **how):
    """h5py's own choices: int64, contiguous, or `how` says otherwise."""
    with h5py.File(path, "w") as file:
        name_format(file.attrs, "h5py")
        file.create_dataset("tokens", data=tokens, **how)
        file.create_dataset("offsets", data=OFFSETS, **how)
        file.create_dataset("ids", data=ids, **how)


def with_netcdf(path, count):
    """NOFILL mode; of score_from, where `count` is less than all, the first `count` are written."""
    with netCDF4.Dataset(path, "w") as file:
        file.set_fill_off()
        file.format = "tetrarch-inputs"
        file.setncattr("format_version", numpy.array([1, 0]))
        file.writer = f"netCDF4 {WRITERS['netCDF4']}"
        for name, values in (("tokens", TOKENS), ("offsets", OFFSETS), ("ids", IDS)):
            file.createDimension(f"{name}_size", len(values))
            data = file.createVariable(name, "i8", (f"{name}_size",), chunksizes=(2,))
            data[:] = values
        if count < len(TOKENS):
            late = file.createVariable("score_from", "i8", ("ids_size",), chunksizes=(1,))
            late[:count] = 0


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with_h5py(folder / "h5py-default.h5")
    with_h5py(folder / "h5py-gzip.h5", compression="gzip", shuffle=True, fletcher32=True)
    with_h5py(folder / "h5py-texts.h5", ids=["one", "two", "three"])
    with_h5py(folder / "h5py-lzf.h5", compression="lzf")
    with_h5py(folder / "h5py-float.h5", tokens=[float(token) for token in TOKENS])
    with_netcdf(folder / "netcdf-nofill.h5", len(TOKENS))
    with_netcdf(folder / "netcdf-unfinished.h5", 1)
    table = pandas.DataFrame({"id": IDS, "tokens": [5, 7, 3]})
    table.to_hdf(folder / "pandas-to_hdf.h5", key="inputs", format="fixed")
    versions = "".join(f"{name} {version}\n" for name, version in WRITERS.items())
    (folder / "hdf5_writers.txt").write_text(versions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
