#!/usr/bin/env bash
# A checkpoint is imported and run on 1 and on 4 ranks: both agree with the golden of Hugging Face
# transformers, and with each other bit for bit.
# SPDX-License-Identifier: Apache-2.0
#
#   bash tests/systems/four_ranks.sh PROGRAM [GOLDEN]
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
golden=tests/data/goldens/${2:-mixtral-gqa}
python=${TETRARCH_PYTHON:-/usr/bin/python3}
source tools/launch.sh

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" tools/check_golden.py "$golden" --make-inputs "$folder/inputs.h5"
for dtype in f32 bf16; do
  "$program" import --from "$golden/model" --out "$folder/$dtype.h5" --dtype "$dtype"
  run=("$program" run --weights "$folder/$dtype.h5" --inputs "$folder/inputs.h5"
    --outputs logprobs,topk,last_logits,hidden,routing,experts --hidden-layers all)
  OMP_NUM_THREADS=1 "${run[@]}" --out "$folder/$dtype-1"
  OMP_NUM_THREADS=1 launch 4 "${run[@]}" --out "$folder/$dtype-4" --ep 2 --tp 2
  "$python" tools/check_golden.py "$golden" "$folder/$dtype-4/results.h5"
  "$python" tools/same_results.py "$folder/$dtype-1/results.h5" "$folder/$dtype-4/results.h5"
done
printf 'four_ranks: %s: 4 ranks agree with the golden and with 1 rank, f32 and bf16\n' "$golden"
