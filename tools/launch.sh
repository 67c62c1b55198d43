#!/usr/bin/env bash
# Starts MPI ranks on this one machine, more of them than cores if need be.
# SPDX-License-Identifier: Apache-2.0
#
#   source tools/launch.sh; launch 64 build/cpu-release/app/tetrarch run ...
#   tools/launch.sh 4 build/cpu-release/app/tetrarch run ...      (the program may be a relative path)
#
# mpi_yield_when_idle is always said: ranks that share a core and spin make a 64-rank barrier
# some thousand times slower; for the same reason the threads of several ranks wait without spinning
# (OMP_WAIT_POLICY, unless it is set). TETRARCH_TRANSPORT=tcp lets the ranks speak over the loopback device, as
# those of several machines would over theirs. TETRARCH_MPIRUN names another launcher than mpirun, where
# several MPI libraries are installed; flags are added for Open MPI alone, MPICH needs none.

launch() {
  local ranks=$1 mpirun=${TETRARCH_MPIRUN:-mpirun} version major sm transport flags=() settings=()
  shift
  version=$("$mpirun" --version 2>&1) || {
    printf 'launch: %s does not start (%s). Run tools/setup.sh.\n' \
      "$mpirun" "${version%%$'\n'*}" >&2
    return 127
  }
  if [[ $version =~ \(Open\ MPI\)\ ([0-9]+) ]]; then
    major=${BASH_REMATCH[1]}
    if ((major >= 5)); then # the shared-memory transport changed its name
      sm=sm
      flags+=(--map-by :oversubscribe)
    else
      sm=vader
      flags+=(--oversubscribe)
    fi
    transport=${TETRARCH_TRANSPORT:-$sm}
    flags+=(--bind-to none --mca pml ob1 --mca btl "self,$transport" --mca mpi_yield_when_idle 1)
    if [[ $transport == tcp ]]; then flags+=(--mca btl_tcp_if_include lo); fi
    if ((EUID == 0)); then flags+=(--allow-run-as-root); fi
  fi
  if ((ranks > 1)); then settings+=("OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}"); fi
  env "${settings[@]}" "$mpirun" "${flags[@]}" -np "$ranks" "$@"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  set -euo pipefail
  if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    sed -n '2,/^$/{/SPDX/!s/^# \{0,1\}//p}' "$0"
  elif [[ ! ${1:-} =~ ^[1-9][0-9]*$ || $# -lt 2 ]]; then
    printf 'launch: the number of ranks and a program are missing. Use tools/launch.sh RANKS PROGRAM [its options].\n' >&2
    exit 2
  else
    launch "$@"
  fi
fi
