#!/usr/bin/env bash
# Installs what Debian (12 or later) or Ubuntu (22.04 or later) lacks to build, test and try Tetrarch.
# SPDX-License-Identifier: Apache-2.0
#
#   tools/setup.sh               if a needed package is missing: installs it, and the optional ones
#   tools/setup.sh --optional    installs missing packages, needed and optional ones
#   tools/setup.sh --needed      installs needed packages only
#   tools/setup.sh --fuzz        needed packages, and clang with its libFuzzer, if it is available
#   tools/setup.sh --gate        needed packages, and those of .ci/run: clang as above, clang-tidy,
#                                clang-format, ccache
#   TETRARCH_SETUP=skip          does nothing (libraries from environment modules)
#
# exit  0 all needed packages are installed; 1 apt-get failed; 2 it has no rights to install, and
#       prints the command that installs them
set -euo pipefail

needed=(
  g++ cmake ninja-build git
  openmpi-bin libopenmpi-dev libhdf5-dev hdf5-tools libdnnl-dev
  libboost-program-options-dev libfmt-dev libxxhash-dev nlohmann-json3-dev libgtest-dev
  zlib1g-dev libzstd-dev
  python3-h5py python3-numpy
)
optional=(ccache clang-format python3-matplotlib libbenchmark-dev)
[[ ${1:-} != --needed ]] || optional=()
[[ ${1:-} != --fuzz ]] || optional=(clang libclang-rt-dev)
[[ ${1:-} != --gate ]] || optional=(clang libclang-rt-dev clang-tidy clang-format ccache)
python=${TETRARCH_PYTHON:-/usr/bin/python3}

# Prints those of its arguments that are not installed.
missing() {
  local installed name
  installed=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' "$@" 2>/dev/null || true)"
  for name in "$@"; do
    [[ $installed == *" $name:installed "* ]] || printf '%s\n' "$name"
  done
}

# Runs apt-get as root, quietly; shows the log's end only when it fails.
apt() {
  local log rc=0
  log=$(mktemp)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
    -o DPkg::Lock::Timeout=600 -o Acquire::Retries=2 "$@" </dev/null >"$log" 2>&1 || rc=$?
  if ((rc == 0)); then
    rm -f "$log"
  else
    printf 'setup: apt-get %s failed (exit %d). The last lines of %s:\n' "$1" "$rc" "$log" >&2
    tail -n 30 "$log" >&2
  fi
  return "$rc"
}

[[ ${TETRARCH_SETUP:-} != skip ]] || exit 0
if ! command -v dpkg-query >/dev/null; then
  printf 'setup: this system is neither Debian nor Ubuntu (there is no dpkg). Install the ' >&2
  printf 'equivalents of these packages, then set TETRARCH_SETUP=skip:\n  %s\n' "${needed[*]}" >&2
  exit 2
fi

mapfile -t lacking < <(missing "${needed[@]}")
mapfile -t wanted < <(missing "${optional[@]}")
if ((${#lacking[@]} == 0)) && [[ -z ${1:-} || ${#wanted[@]} -eq 0 ]]; then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  as_root=(sudo -n)
  if ! sudo -n true 2>/dev/null; then
    printf 'setup: packages are missing, and this user may not install them (not root, and no sudo ' >&2
    printf 'without a password). Run this, or ask an administrator to run it:\n' >&2
    printf '  sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n' \
      "${lacking[*]:-${wanted[*]}}" >&2
    exit 2
  fi
fi

# A foreign package source that does not answer fails the update, but need not stop the install.
apt update || printf 'setup: continuing with the package lists of the last update.\n' >&2
if ((${#lacking[@]} > 0)); then
  printf 'setup: installing %s\n' "${lacking[*]}"
  apt install --no-install-recommends "${lacking[@]}" || exit 1
fi
for name in "${wanted[@]}"; do
  apt install --no-install-recommends "$name" 2>/dev/null ||
    printf 'setup: %s cannot be installed. It is optional; continuing without it.\n' "$name"
done

# Another python3 may come first in PATH; the packages belong to the system's own.
"$python" -c 'import h5py, numpy' || {
  printf 'setup: %s cannot import h5py and numpy. ' "$python" >&2
  printf 'Set TETRARCH_PYTHON to the path of a python3 that can.\n' >&2
  exit 1
}
printf 'setup: done.\n'
