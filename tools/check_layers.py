#!/usr/bin/python3
"""Compares the table of rooms with the #include lines below lib/ and app/.

    tools/check_layers.py [--root FOLDER]    prints each violation as file:line: rule; exit 1 if any
    tools/check_layers.py --self-test        plants a violation of each kind, and checks that it is found

A room is a folder. A file may include only what the table allows for its room. Only certain files may
include the headers of an external library. No file includes itself, directly or through others.
lib/README.md shows the same table: change both.
"""
# SPDX-License-Identifier: Apache-2.0

import argparse
import re
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

# room -> rooms that it may include, besides itself
ROOMS = {
    "base": set(),
    "mpi": {"base"},
    "plan": {"base"},
    "storage/files": {"base"},
    "storage/h5": {"base", "storage/files"},
    "storage/weights": {"base", "plan", "storage/files", "storage/h5"},
    "storage/inputs": {"base", "plan", "mpi", "storage/files", "storage/h5"},
    "storage/run": {"base", "plan", "storage"},  # "storage": all of storage/
    "import": {"base", "plan", "storage"},
    "watch": {"base", "mpi"},
    "backend": {"base"},  # its public headers
    "backend/cpu": {"base", "backend", "mpi"},
    "backend/cuda": {"base", "backend", "mpi"},
    "model": {"base", "plan", "backend"},
    "engine": {"base", "mpi", "plan", "storage", "backend", "model"},
    "app": {"engine", "import", "watch", "plan", "storage", "mpi", "base"},
}

# file -> rooms that it alone may include as well
EXCEPTIONS = {"lib/engine/backends.cpp": {"backend/cpu", "backend/cuda"}}

# library, its headers, its home: files, or folders when they end in "/"
Library = namedtuple("Library", "name header homes")
LIBRARIES = [
    Library("MPI", r"mpi(-ext)?\.h", ["lib/mpi/"]),
    Library("HDF5", r"(hdf5(_hl)?|H5\w*)\.h", ["lib/storage/h5/h5_raw.hpp"]),
    Library("xxhash", r"xxh(ash|3)\.h", ["lib/storage/files/checksum.cpp"]),
    Library("zlib", r"(zlib|zconf)\.h", ["lib/storage/files/gzip_file.cpp"]),
    Library("zstd", r"zstd\w*\.h", ["lib/storage/files/zstd_file.cpp"]),
    Library("nlohmann-json", r"nlohmann/.*", ["lib/base/json.hpp", "lib/base/json_fwd.hpp"]),
    Library("oneDNN", r"(oneapi/dnnl/.*|dnnl\w*\.hp?p?)", ["lib/backend/cpu/"]),
    Library("OpenMP", r"omp\.h", ["lib/backend/cpu/"]),
    Library(
        "CUDA",
        r"(cuda|cublas|cudnn|cutensor|curand|cupti|nccl|nvml|nvrtc|nvToolsExt|driver_types"
        r"|vector_types|device_launch_parameters|cooperative_groups|math_constants|mma)\w*\.hp?p?"
        r"|(cuda|cub|thrust|nvtx3|cutlass|cute|cooperative_groups)/.*",
        ["lib/backend/cuda/"],
    ),
    Library("Boost.ProgramOptions", r"boost/program_options(\.hpp|/.*)", ["app/options.cpp"]),
    Library("fmt", r"fmt/.*", ["lib/", "app/"]),  # text is wanted in every room
]

# C++ has no dot in its names; these are C, POSIX, Linux and compiler headers
SYSTEM = re.compile(
    r"[a-z_0-9]+"
    r"|(assert|complex|ctype|errno|fenv|float|inttypes|limits|locale|math|setjmp|signal|stdarg"
    r"|stdatomic|stddef|stdint|stdio|stdlib|string|time|wchar)\.h"
    r"|(byteswap|cpuid|dirent|dlfcn|elf|endian|execinfo|fcntl|fnmatch|getopt|glob|grp|ifaddrs|link"
    r"|malloc|mntent|netdb|poll|pthread|pwd|sched|semaphore|spawn|strings|sysexits|termios|ucontext"
    r"|unistd|\w*intrin)\.h"
    r"|(sys|linux|netinet|arpa)/\w+\.h"
)

SOURCE = re.compile(r"\.(cpp|hpp|cu|cuh|c|h|inl)(\.in)?$")
INCLUDE = re.compile(r"^\s*#\s*include\b\s*(?:([<\"])([^>\"]+)[>\"])?")

Violation = namedtuple("Violation", "file line rule")


def room_of(path):
    """The room of a path below lib/ or app/ ("lib/backend/cpu/x.cpp"), or None."""
    if path.startswith("app/"):
        return "app"
    parts = path.split("/")[1:-1]
    for depth in (2, 1):
        if "/".join(parts[:depth]) in ROOMS and parts[0] != "app":
            return "/".join(parts[:depth])
    return None


def includes_of(text):
    """(line, header or None when it is a macro) of each #include, comments left out."""
    keep_lines = lambda comment: "\n" * comment.group().count("\n")
    text = re.sub(r"/\*.*?\*/", keep_lines, text, flags=re.S)
    for number, line in enumerate(text.splitlines(), start=1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(2)


def resolve(root, file, header):
    """The project file that a header names, or None when it is an external one."""
    parts = []
    for part in f"{Path(file).parent.as_posix()}/{header}".split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    beside = "/".join(parts)
    for candidate in (beside, f"lib/{header}", f"app/{header}", header):
        if candidate.startswith(("lib/", "app/")) and (root / candidate).is_file():
            return candidate
    # a header that is generated later still names its room
    first = header.split("/")[0]
    rooms = {room.split("/")[0] for room in ROOMS}
    if "/" in header and first in rooms and first != "app":
        return f"lib/{header}"
    return None


def check_project_include(file, target):
    room, target_room = room_of(file), room_of(target)
    if target_room is None or target_room == room:
        return None
    allowed = ROOMS[room] | EXCEPTIONS.get(file, set())
    if target_room in allowed or target_room.startswith("storage/") and "storage" in allowed:
        return None
    if room == "app" and target_room.startswith("backend"):
        return f"app may not include {target_room} (only through engine/backends.hpp)"
    if room == "engine" and target_room.startswith("backend/"):
        return f"engine may include {target_room} in lib/engine/backends.cpp only"
    names = ", ".join(sorted(ROOMS[room])) or "no other room"
    return f"{room} may not include {target_room} (it may include: {names})"


def check_external_include(file, header):
    for library in LIBRARIES:
        if re.fullmatch(library.header, header):
            at_home = any(
                file.startswith(home) if home.endswith("/") else file == home
                for home in library.homes
            )
            homes = ", ".join(library.homes)
            return None if at_home else f"{library.name} ({header}) may be included in {homes} only"
    if SYSTEM.fullmatch(header):
        return None
    return (f"{header} is not a file here and not in a library of the table "
            "(LIBRARIES in check_layers.py)")


def circles(edges):
    """Each circle of files once: (file, line of its include, the way round)."""
    state, way, found = {}, [], []

    def visit(file):
        state[file] = "open"
        way.append(file)
        for line, target in edges.get(file, []):
            if state.get(target) == "open":
                found.append((file, line, way[way.index(target):] + [target]))
            elif target not in state:
                visit(target)
        way.pop()
        state[file] = "done"

    for file in sorted(edges):
        if file not in state:
            visit(file)
    return found


def check(root):
    """All violations below root, and the number of files read."""
    violations, edges, num_files = [], {}, 0
    for path in sorted(p for top in ("lib", "app") for p in (root / top).rglob("*")):
        file = path.relative_to(root).as_posix()
        if not path.is_file() or not SOURCE.search(path.name):
            continue
        num_files += 1
        if room_of(file) is None:
            violations.append(Violation(file, 1, f"no such room (rooms: {', '.join(ROOMS)})"))
            continue
        edges[file] = []
        for line, header in includes_of(path.read_text(encoding="utf-8", errors="replace")):
            target = resolve(root, file, header) if header else None
            if header is None:
                rule = "#include of a macro (cannot be checked; write the name)"
            elif target:
                edges[file].append((line, target))
                rule = check_project_include(file, target)
                if rule is None and room_of(target) is None:
                    rule = f"{target} is in no room"
            else:
                rule = check_external_include(file, header)
            if rule:
                violations.append(Violation(file, line, rule))
    for file, line, way in circles(edges):
        violations.append(Violation(file, line, "circle: " + " -> ".join(way)))
    return violations, num_files


# --- self-test: a clean tree has no violation, and each planted one is reported, alone ---

CLEAN = {
    "lib/base/error.hpp": "#pragma once\n#include <string>\n#include <fmt/format.h>\n",
    "lib/base/json.hpp": "#include <nlohmann/json.hpp>\n",
    "lib/mpi/session.hpp": "#include <mpi.h>\n#include \"base/error.hpp\"\n",
    "lib/plan/layout.hpp": "#include \"base/error.hpp\"\n#include \"base/json.hpp\"\n",
    "lib/storage/files/durable.hpp": "#include \"base/error.hpp\"\n",
    "lib/storage/files/checksum.cpp": "#include <xxhash.h>\n#include \"durable.hpp\"\n",
    "lib/storage/h5/h5.hpp": "#include \"storage/files/durable.hpp\"\n",
    "lib/storage/h5/h5_raw.hpp": "#include \"h5.hpp\"\n#include <hdf5.h>\n",
    "lib/storage/h5/h5.cpp": "#include \"h5_raw.hpp\"\n#include <sys/stat.h>\n",
    "lib/storage/weights/file.hpp":
        "#include \"storage/h5/h5.hpp\"\n#include \"plan/layout.hpp\"\n",
    "lib/storage/inputs/set.hpp":
        "#include \"storage/h5/h5.hpp\"\n#include \"mpi/session.hpp\"\n",
    "lib/storage/run/merge.hpp":
        "#include \"storage/weights/file.hpp\"\n#include \"storage/inputs/set.hpp\"\n",
    "lib/import/config.hpp": "#include \"storage/weights/file.hpp\"\n",
    "lib/watch/dog.hpp": "#include \"mpi/session.hpp\"\n",
    "lib/backend/compute.hpp": "#include \"base/error.hpp\"\n",
    "lib/backend/cpu/backend.hpp":
        "#include \"backend/compute.hpp\"\n#include \"mpi/session.hpp\"\n",
    "lib/backend/cpu/kernels/gemm.cpp":
        "#include \"../backend.hpp\"\n#include <dnnl.hpp>\n"
        "#include <omp.h>\n#include <immintrin.h>\n",
    "lib/backend/cuda/backend.hpp": "#include \"backend/compute.hpp\"\n",
    "lib/backend/cuda/kernels/gemm.cu":
        "#include <cublasLt.h>\n#include <cub/cub.cuh>\n"
        "#include <nccl.h>\n#include <cuda_runtime.h>\n",
    "lib/model/head.hpp": "#include \"plan/layout.hpp\"\n#include \"backend/compute.hpp\"\n",
    "lib/engine/backends.hpp": "#include \"backend/compute.hpp\"\n",
    "lib/engine/backends.cpp":
        "#include \"backend/cpu/backend.hpp\"\n#include \"backend/cuda/backend.hpp\"\n",
    "lib/engine/engine.cpp": "#include \"model/head.hpp\"\n#include \"storage/h5/h5.hpp\"\n",
    "app/options.hpp": "#include \"plan/layout.hpp\"\n",
    "app/options.cpp": "#include \"options.hpp\"\n#include <boost/program_options.hpp>\n",
    "app/run.cpp": "#include \"engine/backends.hpp\"\n#include \"app/options.hpp\"\n"
                   "// #include <mpi.h>\n/* old:\n#include <hdf5.h>\n*/\n",
}

# file, include line that is added to it, words that the report must contain
PLANTED = [
    ("lib/base/a.hpp", '"plan/layout.hpp"', "base may not include plan"),
    ("lib/base/a.hpp", '"mpi/session.hpp"', "base may not include mpi"),
    ("lib/mpi/a.cpp", '"plan/layout.hpp"', "mpi may not include plan"),
    ("lib/plan/a.cpp", '"mpi/session.hpp"', "plan may not include mpi"),
    ("lib/plan/a.cpp", '"../mpi/session.hpp"', "plan may not include mpi"),
    ("lib/plan/a.cpp", "<mpi/session.hpp>", "plan may not include mpi"),
    ("lib/plan/deeper/a.cpp", '"storage/h5/h5.hpp"', "plan may not include storage"),
    ("lib/storage/run/a.cpp", '"model/head.hpp"', "storage/run may not include model"),
    ("lib/storage/run/a.cpp", '"backend/compute.hpp"', "storage/run may not include backend"),
    ("lib/storage/files/a.cpp", '"storage/h5/h5.hpp"', "files may not include storage/h5"),
    ("lib/storage/h5/a.cpp", '"plan/layout.hpp"', "storage/h5 may not include plan"),
    ("lib/storage/weights/a.cpp", '"storage/inputs/set.hpp"', "may not include storage/inputs"),
    ("lib/storage/inputs/a.cpp", '"storage/run/merge.hpp"', "may not include storage/run"),
    ("lib/storage/run/a.cpp", '"import/config.hpp"', "storage/run may not include import"),
    ("lib/storage/a.cpp", "<vector>", "no such room"),
    ("lib/import/a.cpp", '"mpi/session.hpp"', "import may not include mpi"),
    ("lib/watch/a.cpp", '"storage/files/durable.hpp"', "watch may not include storage/files"),
    ("lib/plan/a.cpp", '"import/config.hpp"', "plan may not include import"),
    ("lib/engine/a.cpp", '"import/config.hpp"', "engine may not include import"),
    ("lib/backend/a.hpp", '"mpi/session.hpp"', "backend may not include mpi"),
    ("lib/backend/a.hpp", '"backend/cpu/backend.hpp"', "backend may not include backend/cpu"),
    ("lib/backend/cpu/a.cpp", '"plan/layout.hpp"', "backend/cpu may not include plan"),
    ("lib/backend/cpu/a.cpp", '"backend/cuda/backend.hpp"', "cpu may not include backend/cuda"),
    ("lib/backend/cuda/a.cpp", '"backend/cpu/backend.hpp"', "cuda may not include backend/cpu"),
    ("lib/model/a.cpp", '"storage/h5/h5.hpp"', "model may not include storage"),
    ("lib/model/a.cpp", '"mpi/session.hpp"', "model may not include mpi"),
    ("lib/model/a.cpp", '"backend/cpu/backend.hpp"', "model may not include backend/cpu"),
    ("lib/engine/a.cpp", '"backend/cpu/backend.hpp"', "in lib/engine/backends.cpp only"),
    ("lib/engine/backends.hpp", '"backend/cuda/backend.hpp"', "in lib/engine/backends.cpp only"),
    ("lib/engine/a.cpp", '"../../app/options.hpp"', "engine may not include app"),
    ("lib/engine/a.cpp", '"app/options.hpp"', "engine may not include app"),
    ("app/a.cpp", '"model/head.hpp"', "app may not include model"),
    ("app/a.cpp", '"backend/compute.hpp"', "only through engine/backends.hpp"),
    ("app/a.cpp", '"backend/cpu/backend.hpp"', "only through engine/backends.hpp"),
    ("lib/base/a.hpp", '"model/generated_later.hpp"', "base may not include model"),
    ("lib/backend/cpu/a.cpp", "<mpi.h>", "MPI (mpi.h)"),
    ("app/a.cpp", "<mpi.h>", "MPI (mpi.h)"),
    ("app/run.cpp", "<mpi.h>", "MPI (mpi.h)"),  # the right line after a long comment
    ("lib/storage/h5/h5.hpp", "<hdf5.h>", "HDF5 (hdf5.h)"),
    ("lib/storage/h5/a.cpp", "<H5Dpublic.h>", "HDF5 (H5Dpublic.h)"),
    ("lib/base/a.hpp", "<xxhash.h>", "xxhash"),
    ("lib/plan/a.cpp", "<nlohmann/json.hpp>", "nlohmann-json"),
    ("lib/base/a.hpp", "<nlohmann/json_fwd.hpp>", "nlohmann-json"),
    ("lib/model/a.cpp", "<dnnl.hpp>", "oneDNN"),
    ("lib/model/a.cpp", "<oneapi/dnnl/dnnl.hpp>", "oneDNN"),
    ("lib/engine/a.cpp", "<omp.h>", "OpenMP"),
    ("app/a.cpp", "<boost/program_options.hpp>", "Boost.ProgramOptions"),
    ("app/options.hpp", "<boost/program_options.hpp>", "Boost.ProgramOptions"),
    ("lib/plan/a.cpp", "<boost/program_options/parsers.hpp>", "Boost.ProgramOptions"),
    ("app/options.cpp", "<boost/asio.hpp>", "not in a library of the table"),
    ("lib/backend/cpu/a.cpp", "<cuda_runtime.h>", "CUDA (cuda_runtime.h)"),
    ("lib/backend/a.hpp", "<cublasLt.h>", "CUDA (cublasLt.h)"),
    ("lib/mpi/a.cpp", "<nccl.h>", "CUDA (nccl.h)"),
    ("lib/model/a.cpp", "<cudnn.h>", "CUDA (cudnn.h)"),
    ("lib/model/a.cpp", "<cub/cub.cuh>", "CUDA (cub/cub.cuh)"),
    ("lib/engine/a.cpp", "<eigen3/Eigen/Dense>", "not in a library of the table"),
    ("lib/base/a.hpp", '"not_there.hpp"', "not a file here"),
    ("lib/base/a.hpp", "SOME_MACRO", "#include of a macro"),
    ("lib/helpers/a.hpp", "<vector>", "no such room"),
    ("lib/base/error.hpp", '"base/error.hpp"', "circle: lib/base/error.hpp -> lib/base/error.hpp"),
    ("lib/base/error.hpp", '"base/json.hpp"', None),  # no circle: only one direction
]

CIRCLE = {
    "lib/plan/a.hpp": "#include \"plan/b.hpp\"\n",
    "lib/plan/b.hpp": "#include \"c.hpp\"\n",
    "lib/plan/c.hpp": "#include <string>\n#include \"plan/a.hpp\"\n",
}


def violations_of(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check(Path(folder))[0]


def self_test():
    failures = [f"clean tree: {violation}" for violation in violations_of(CLEAN)]
    for file, header, words in PLANTED:
        before = CLEAN.get(file, "")
        found = violations_of({**CLEAN, file: f"{before}#include {header}\n"})
        line = 1 if words == "no such room" else before.count("\n") + 1
        if words is None:
            good = not found
        else:
            good = len(found) == 1 and found[0][:2] == (file, line) and words in found[0].rule
        if not good:
            failures.append(f"{file} with #include {header}: expected {words!r}, found {found}")
    found = violations_of({**CLEAN, **CIRCLE})
    way = "circle: lib/plan/a.hpp -> lib/plan/b.hpp -> lib/plan/c.hpp -> lib/plan/a.hpp"
    if found != [Violation("lib/plan/c.hpp", 2, way)]:
        failures.append(f"circle of three: found {found}")
    for failure in failures:
        print("self-test:", failure)
    print(f"self-test: {len(PLANTED) + 2} trees, {len(failures)} failures")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description="Compares the table of rooms with the #include lines.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()

    violations, num_files = check(args.root)
    for violation in violations:
        print(f"{violation.file}:{violation.line}: {violation.rule}")
    if num_files == 0:
        print(f"check_layers: no source file below {args.root}/lib and {args.root}/app")
        return 1
    print(f"check_layers: {num_files} files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
