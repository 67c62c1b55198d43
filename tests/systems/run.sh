#!/usr/bin/env bash
# Builds Tetrarch in a root folder of another system, and runs the tests there.
# SPDX-License-Identifier: Apache-2.0
#
#   bash tests/systems/run.sh SYSTEM [--roots DIR] [--jobs N] [--quick | --build-only] [CTEST ARGUMENTS]
#   bash tests/systems/run.sh debian-13 --roots /var/tmp/roots -R storage
#
# SYSTEM     a name in the table below
# --roots    the folder of the root folders (default: build/systems). They are kept for the next call;
#            each has 1 to 2 GiB.
# --quick    a Debug build of the program and of the tests of HDF5 and MPI, which differ most between
#            systems
# exit       0 all passed; 1 something failed; 77 this machine cannot do it (the reason is printed)
#
# It needs root's rights, debootstrap and unshare; for aarch64 also qemu-user-static and its entry in
# binfmt_misc. The mirror is the one that this machine's apt uses. Everything is mounted in a mount
# namespace of its own, so nothing stays mounted, however the script ends.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
source "$here/roots.sh"

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

system=${1:-}
roots=$tree/build/systems jobs=$(nproc) extent=all
shift || usage
while (($# > 0)); do
  case $1 in
    --roots) roots=${2:?--roots needs a folder} && shift 2 ;;
    --jobs) jobs=${2:?--jobs needs a number} && shift 2 ;;
    --quick | --build-only) extent=${1#--} && shift ;;
    *) break ;;
  esac
done

# The table: a suite of Debian, its architecture, packages beyond those of tools/setup.sh, what is
# told to CMake, what is set in the environment, and which tests it is for.
# four_ranks: where the tests of the whole program do not run, a run on 4 ranks stands for them.
arch=amd64 packages=() configure=() settings=() tests=() four_ranks=no
unit_tests=(-LE 'end_to_end|faults')
case $system in
  debian-12) suite=bookworm ;;
  debian-13) suite=trixie ;;
  debian-sid) suite=sid ;;
  gcc-13)
    suite=trixie packages=(g++-13)
    settings=(CC=gcc-13 CXX=g++-13)
    ;;
  clang-14)
    suite=bookworm packages=(clang-14 libomp-14-dev)
    settings=(CC=clang-14 CXX=clang++-14)
    ;;
  clang-19)
    suite=trixie packages=(clang-19 libomp-19-dev)
    settings=(CC=clang-19 CXX=clang++-19)
    ;;
  mpich)
    suite=trixie packages=(mpich libmpich-dev)
    configure=(-DMPI_CXX_COMPILER=mpicxx.mpich)
    settings=(TETRARCH_MPIRUN=mpirun.mpich) four_ranks=yes
    tests=(-LE 'end_to_end|faults|np([5-9]|[1-9][0-9])')
    ;;
  aarch64)
    suite=bookworm arch=arm64
    settings=(CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++)
    configure=(-DTETRARCH_TIMEOUT_FACTOR=20) # emulated
    tests=("${unit_tests[@]}") four_ranks=yes
    ;;
  *) usage ;;
esac

build=/tetrarch/build/$system targets=(all)
if [[ $extent == quick ]]; then
  build+=-quick
  targets=(tetrarch storage_h5_test storage_verify_test mpi_communicator_test)
  tests=(-R '^(storage\.(h5|verify)|mpi\.communicator\.np[124])$')
  configure+=(-DCMAKE_BUILD_TYPE=Debug)
else
  configure+=(-DCMAKE_BUILD_TYPE=Release)
fi

cannot() {
  printf 'systems: %s was not run: %s\n' "$system" "$1" >&2
  exit 77
}

((EUID == 0)) || cannot 'making a root folder needs the rights of root. Use sudo.'
for program in debootstrap unshare chroot; do
  command -v "$program" >/dev/null || cannot "the program $program is missing. Install it."
done
[[ $arch == amd64 || -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]] ||
  cannot 'binfmt_misc has no entry for aarch64. Install qemu-user-static.'
unshare --mount --pid --fork true 2>/dev/null || cannot 'this machine does not allow mount namespaces.'
mirror=$(mirror_of_apt) || cannot 'apt has no Debian mirror, or no package lists. Run apt-get update.'

mkdir -p "$roots"
root=$(cd "$roots" && pwd)/$suite-$arch
make_root "$root" "$suite" "$arch" "$mirror"
copy_tree "$tree" "$root/tetrarch"

# Cross compilers run at full speed in the emulated root: theirs are lent by a root of this machine's
# own architecture.
tools=
if [[ $arch == arm64 ]]; then
  tools=$(dirname "$root")/$suite-amd64
  make_root "$tools" "$suite" amd64 "$mirror"
  install_packages "$tools" g++-aarch64-linux-gnu
fi

in_root "$root" '' env DEBIAN_FRONTEND=noninteractive dpkg --configure -a # an earlier call may have been interrupted
in_root "$root" "$tools" bash /tetrarch/tools/setup.sh --needed
if ((${#packages[@]} > 0)); then install_packages "$root" "${packages[@]}"; fi
say() { printf '\n== %s: %s\n' "$system" "$1"; }
say "building with $(in_root "$root" "$tools" env "${settings[@]}" sh -c '${CXX:-g++} --version' | head -n 1)"
in_root "$root" "$tools" env "${settings[@]}" cmake -S /tetrarch -B "$build" -G Ninja \
  -DTETRARCH_WERROR=ON "${configure[@]}"
in_root "$root" "$tools" cmake --build "$build" -j "$jobs" --target "${targets[@]}" -- -k 0
in_root "$root" '' "$build/app/tetrarch" --build-info
[[ $extent != build-only ]] || exit 0

say 'tests'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
in_root "$root" '' env "${settings[@]}" ctest --test-dir "$build" \
  --output-on-failure --no-tests=error "${tests[@]}" "$@" 2>&1 | tee "$log" || true
total=$(sed -n 's/.* tests failed out of \([0-9]*\)$/\1/p' "$log")
failed=$(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of .*/\1/p' "$log")
[[ -n $total ]] || { printf 'systems: %s: ctest ended without a summary\n' "$system" >&2 && exit 1; }
if [[ $four_ranks == yes && $# -eq 0 ]]; then
  say 'a run on 4 ranks'
  in_root "$root" '' env "${settings[@]}" bash /tetrarch/tests/systems/four_ranks.sh \
    "$build/app/tetrarch"
fi
printf '%s: %d passed, %d failed\n' "$system" $((total - failed)) "$failed"
((failed == 0))
