#!/usr/bin/env bash
# Builds Tetrarch, makes a small model, runs it on 64 ranks and on 1, and compares the bits.
# SPDX-License-Identifier: Apache-2.0
#
#   bash jobs/quickstart.sh [FOLDER]      FOLDER: new or empty; default: a fresh one under TMPDIR
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${TETRARCH_PYTHON:-/usr/bin/python3}
tetrarch=$repo/build/cpu-release/app/tetrarch
# shellcheck source-path=SCRIPTDIR source=../tools/launch.sh
source "$repo/tools/launch.sh"

say() { printf '\n--- %s\n' "$*"; }

if (($# > 0)); then
  mkdir -p "$1"
  folder=$(cd "$1" && pwd)
  if [[ -n $(ls -A "$folder") ]]; then
    printf 'quickstart: %s is not empty (its files would mix with those of this run). Name a new folder.\n' "$folder" >&2
    exit 2
  fi
else
  folder=$(mktemp -d "${TMPDIR:-/tmp}/tetrarch-quickstart.XXXXXX")
fi

say 'Installing packages that are missing, if any.'
bash "$repo/tools/setup.sh"

say 'Building the program (CPU backend, Release).'
cd "$repo"
cmake --preset cpu-release
cmake --build --preset cpu-release --target tetrarch

say 'Versions of the program and its libraries.'
printf 'commit   %s\n' "$(git describe --always --dirty 2>/dev/null || echo 'none (not a git checkout)')"
printf 'modules  %s\n' "${LOADEDMODULES:-none loaded}"
"$tetrarch" --build-info

say 'Making a model of 16 layers with 16 experts each, and 64 prompts of 24 to 96 tokens.'
"$tetrarch" synth --preset tetrarch-64-mini --out "$folder/model" \
  --sequences 64 --min-tokens 24 --max-tokens 96

job=(
  "$tetrarch" run --weights "$folder/model/weights.h5" --inputs "$folder/model/inputs.h5"
  --outputs 'logprobs,last_logits,hidden,experts' --hidden-pooling mean
)

say 'Prefill on 64 ranks: 16 expert-parallel groups of 4 tensor-parallel ranks.'
OMP_NUM_THREADS=1 launch 64 "${job[@]}" --out "$folder/ranks-64" --ep 16 --tp 4

say 'The same job on 1 rank.'
launch 1 "${job[@]}" --out "$folder/ranks-1"

say 'Comparing the results of 64 ranks and of 1 rank, bit for bit.'
"$python" "$repo/tools/same_results.py" "$folder/ranks-64/results.h5" "$folder/ranks-1/results.h5"

say 'Contents of a results file.'
"$tetrarch" inspect "$folder/ranks-64/results.h5"

say 'A few results, read with plain h5py.'
"$python" - "$folder/ranks-64/results.h5" <<'PYTHON'
import sys
import h5py

with h5py.File(sys.argv[1], "r") as file:
    ids, offsets = file["/sequences/id"], file["/sequences/offsets"]
    for row in range(3):
        begin, end = int(offsets[row]), int(offsets[row + 1])
        name = ids[row].decode() if isinstance(ids[row], bytes) else ids[row]
        print(f"sequence {name}: {end - begin} tokens")
        print(f"  log p of the whole prompt      {file['/logprobs/sum'][row]:.4f}")
        print(f"  most likely next token         {file['/last_logits'][row].argmax()}")
        print(f"  mean hidden state, first four  {file['/hidden/final'][row, :4]}")
        print(f"  experts of token 0, layer 0    {file['/experts/00'][begin]}")
    timing = file["/timing"].attrs
    print(f"{timing['tokens']} tokens, time to first token {timing['ttft_seconds']:.3f} s, "
          f"{timing['tokens_per_second']:.0f} tokens/s (64 ranks share this machine's cores)")
PYTHON

say 'Done. The files:'
printf '%s\n' \
  "model and prompts     $folder/model/weights.h5, inputs.h5" \
  "results of 64 ranks   $folder/ranks-64/results.h5, log.txt" \
  "results of 1 rank     $folder/ranks-1/results.h5, log.txt" \
  "the program           $tetrarch --help"
