#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for SECONDS of CPU time; two run at a time. A target
# starts from the inputs of corpus/TARGET.tar.gz, which the build unpacks.
# SPDX-License-Identifier: Apache-2.0
#
#   bash tests/fuzz/run.sh 60                    all targets
#   bash tests/fuzz/run.sh 1800 hdf5 options     only these targets
#   bash tests/fuzz/run.sh --keep                adds the inputs found to the archives, minimised
#
# New inputs are in build/fuzz/found/TARGET, findings and logs in build/fuzz/findings. Damaged HDF5
# files may cause faults inside libhdf5 itself; such findings are counted separately.
# exit  0 no finding in Tetrarch's code; 1 a finding, or a target did not run; 2 usage
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

all=(safetensors hf_config model_spec jsonl_record jsonl_reader gzip zstd options run_folder hdf5 hdf5_damage)
out=build/fuzz
corpora=$out/tests/fuzz/corpus
limits=(-rss_limit_mb=512 -malloc_limit_mb=256 -timeout=10)
corpus_bytes=200000 # most bytes for one target
export UBSAN_OPTIONS=print_stacktrace=1
# ASan keeps 256 MB of freed memory by default; with a large corpus that alone reaches the limit
export ASAN_OPTIONS=quarantine_size_mb=32

# Where the fault of an input is: ours, theirs (inside libhdf5) or lost (it does not happen again,
# because an earlier input had made the library damage the heap).
owner_of() {
  local trace known='sanitizer|__asan|__interceptor|fuzzer::|libc\.so|libc_start'
  known+='| in (malloc|calloc|realloc|free|abort|raise|mem[a-z]+|str[a-z]+) '
  if trace=$("$out/tests/fuzz/fuzz_hdf5_damage" "${limits[@]}" "$1" 2>&1); then
    printf 'lost'
  elif grep -E '^ *#[0-9]+ ' <<<"$trace" | grep -vE "$known" | head -n 1 | grep -q 'libhdf5'; then
    printf 'theirs'
  else
    printf 'ours'
  fi
}

# awk program: CPU seconds of finished child processes, from the output of bash's `times`.
# shellcheck disable=SC2016  # $1 and $2 are awk's
cpu_seconds='NR == 2 { split($1 "m" $2, t, /[ms]+/); printf "%d", 60 * (t[1] + t[3]) + t[2] + t[4] }'

# Runs one target and prints its row of the table.
fuzz() {
  local target=$1 seconds=$2 dictionary=tests/fuzz/$1.dict found=$out/found/$1
  local log=$out/findings/$1.log options=(-print_final_stats=1)
  local input owner last rc=0 runs=0 cpu=0
  local -A count=([ours]=0 [theirs]=0 [lost]=0)
  mkdir -p "$found"
  rm -f "$log" "$out/findings/$target-"{crash,leak,oom,timeout}-*
  [[ -f $dictionary ]] && options+=(-dict="$dictionary")
  if [[ $target == hdf5* ]]; then
    options+=(-len_control=0 -max_len=256)
    export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 # libhdf5 leaks if it cannot read a file
  fi
  # libhdf5 may itself fail on damaged files: the target goes on, and owner_of judges each failure
  [[ $target == hdf5_damage ]] &&
    options+=(-fork=1 -ignore_crashes=1 -ignore_ooms=1 -ignore_timeouts=1)
  # on a busy machine a run gets less CPU time than its wall time: then another run follows
  while ((cpu < seconds)) && [[ $rc == 0 || $target == hdf5_damage ]]; do
    "$out/tests/fuzz/fuzz_$target" "${limits[@]}" "${options[@]}" -max_total_time=$((seconds - cpu)) \
      -artifact_prefix="$out/findings/$target-" "$found" "$corpora/$target" \
      >"$log.piece" 2>&1 || rc=$?
    last=$(grep -oE '^#[0-9]+' "$log.piece" | tail -n 1 | tr -dc 0-9)
    runs=$((runs + ${last:-0})) # no number if the target did not start
    cat "$log.piece" >>"$log"
    times >"$log.piece" # not in $(), which would be another shell
    cpu=$(awk "$cpu_seconds" "$log.piece")
  done
  rm -f "$log.piece"
  if [[ $target == hdf5_damage ]]; then
    for input in "$out/findings/$target-"{crash,leak,oom,timeout}-*; do
      [[ -f $input ]] || continue
      owner=$(owner_of "$input")
      count[$owner]=$((count[$owner] + 1))
    done
  elif ((rc != 0)); then
    count[ours]=1
  fi
  printf '%-13s %6d s %10d runs  cov %5s  findings: ours %d, inside libhdf5 %d, not again %d\n' \
    "$target" "$cpu" "$runs" "$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | tr -dc 0-9)" \
    "${count[ours]}" "${count[theirs]}" "${count[lost]}"
  ((count[ours] == 0)) || {
    tail -n 40 "$log" >&2
    return 1
  }
}

build() {
  cmake --preset fuzz >/dev/null && cmake --build --preset fuzz >/dev/null
}

keep() {
  local target kept
  export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
  build || return 1
  for target in "${all[@]}"; do
    kept=$out/kept/$target
    [[ -d $out/found/$target ]] || continue
    rm -rf "$kept"
    mkdir -p "$kept"
    # without counters: keep one input per place reached, not one per number of times
    "$out/tests/fuzz/fuzz_$target" "${limits[@]}" -use_counters=0 -set_cover_merge=1 \
      "$kept" "$corpora/$target" "$out/found/$target" >/dev/null 2>&1 || return 1
    while (($(cat "$kept"/* | wc -c) > corpus_bytes)); do
      find "$kept" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2 | xargs rm
    done
    bash tests/fuzz/pack.sh "$kept" "tests/fuzz/corpus/$target.tar.gz" || return 1
  done
}

if [[ ${1:-} == --keep ]]; then
  keep
  exit
fi
if [[ ! ${1:-} =~ ^[0-9]+$ ]]; then
  printf 'usage: bash tests/fuzz/run.sh SECONDS [TARGET ...] | --keep\n' >&2
  exit 2
fi
seconds=$1
shift
targets=("$@")
(($# > 0)) || targets=("${all[@]}")

build || exit 1
mkdir -p "$out/findings"
failed=0 running=0
for target in "${targets[@]}"; do
  if ((running == 2)); then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$target" "$seconds" &
  running=$((running + 1))
done
while ((running > 0)); do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
