#!/usr/bin/env bash
# Starts MPI ranks on this one machine. There may be more ranks than cores.
# SPDX-License-Identifier: Apache-2.0
#
#   tools/launch.sh RANKS PROGRAM [options of PROGRAM]
#   source tools/launch.sh; launch RANKS PROGRAM [options of PROGRAM]
#
#   tools/launch.sh 4 build/cpu-release/app/tetrarch run ...
#
# PROGRAM is a path, absolute or relative to the current folder, or a name that is found in PATH.
#
# TETRARCH_MPIRUN=NAME      starts NAME instead of mpirun, where several MPI libraries are installed
# TETRARCH_TRANSPORT=tcp    ranks exchange data by TCP over the loopback device, as between machines;
#                           default: by shared memory
# OMP_WAIT_POLICY           set to passive for two or more ranks, unless it is already set
#
# With Open MPI these options are added: oversubscription is allowed, ranks are not bound to cores,
# root may start ranks, and mpi_yield_when_idle is 1. The last one and OMP_WAIT_POLICY=passive are
# needed where ranks share a core: a rank or a thread that waits without giving up its core keeps the
# core from the rank that it waits for. MPICH needs no options.
#
# exit  that of the launcher; 2 wrong usage; 127 the launcher or PROGRAM was not found

# Ranks, program, options of the program.
launch() {
  local ranks=${1:-} program=${2:-} mpirun=${TETRARCH_MPIRUN:-mpirun}
  local version major sm transport flags=() settings=()
  if [[ $ranks == --help || $ranks == -h ]]; then
    sed -n '2,/^$/{/SPDX/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    return 0
  fi
  if [[ ! $ranks =~ ^[1-9][0-9]*$ || -z $program ]]; then
    printf 'launch: a number of ranks and a program are needed. Use tools/launch.sh RANKS PROGRAM [its options].\n' >&2
    return 2
  fi
  shift 2
  if [[ $program != */* && -x $program && ! -d $program ]] && ! type -P "$program" >/dev/null; then
    program=./$program
  fi
  if ! type -P "$program" >/dev/null; then
    printf 'launch: %s cannot be started (there is no executable file of this name). Build it, or correct the path.\n' "$program" >&2
    return 127
  fi
  version=$("$mpirun" --version 2>&1) || {
    printf 'launch: the launcher %s cannot be started (%s). Run tools/setup.sh, which installs Open MPI.\n' \
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
  env "${settings[@]}" "$mpirun" "${flags[@]}" -np "$ranks" "$program" "$@"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  set -euo pipefail
  launch "$@"
fi
