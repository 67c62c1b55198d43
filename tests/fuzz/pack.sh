#!/usr/bin/env bash
# Makes a corpus archive from a folder of inputs: the same files always give the same bytes.
# SPDX-License-Identifier: Apache-2.0
#
#   bash tests/fuzz/pack.sh FOLDER tests/fuzz/corpus/TARGET.tar.gz
#
# Each input is named by its SHA-1, as libFuzzer does, so that equal inputs are kept once.
# exit  0 written; 1 the archive would have more than 1 MB, or another error; 2 usage
set -euo pipefail

if (($# != 2)) || [[ ! -d $1 || $2 != *.tar.gz ]]; then
  printf 'usage: bash tests/fuzz/pack.sh FOLDER ARCHIVE.tar.gz\n' >&2
  exit 2
fi
most_bytes=1000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/inputs"
while IFS= read -r -d '' input; do
  sum=$(sha1sum <"$input")
  cp "$input" "$work/inputs/${sum%% *}"
done < <(find "$1" -type f -print0)
count=$(find "$work/inputs" -type f | wc -l)
if ((count == 0)); then
  printf 'pack: %s holds no files.\n' "$1" >&2
  exit 1
fi

# The inputs' names, in order, then their bytes: no owner, time or mode of this machine.
(cd "$work/inputs" && find . -type f -printf '%f\n' | LC_ALL=C sort) >"$work/names"
tar --create --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 \
  --directory="$work/inputs" --files-from="$work/names" | gzip -9 --no-name >"$work/archive"
bytes=$(wc -c <"$work/archive")
if ((bytes > most_bytes)); then
  printf 'pack: %s would have %d bytes (at most %d). Minimise the inputs first: run.sh --keep.\n' \
    "$2" "$bytes" "$most_bytes" >&2
  exit 1
fi
cp "$work/archive" "$2"
printf '%s: %d inputs, %d bytes\n' "$2" "$count" "$bytes"
