#!/usr/bin/env bash
# Builds Tetrarch (CPU, Release) and runs its tests; further arguments go to ctest.
# SPDX-License-Identifier: Apache-2.0
#
#   bash tests/run.sh                 all tests
#   bash tests/run.sh fast            unit tests, and the short tests of the whole program
#   bash tests/run.sh slow            the others
#   bash tests/run.sh -R token_exchange -V
#
# The end lists the tests that were skipped, with the reason. A reason that tests/skips.py does not
# allow is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

labels=()
case ${1:-} in
  fast | slow)
    labels=(-L "^$1\$")
    shift
    ;;
esac

bash tools/setup.sh
cmake --preset cpu-release
cmake --build --preset cpu-release
ctest --preset cpu-release --output-on-failure --no-tests=error "${labels[@]}" "$@"
"${TETRARCH_PYTHON:-/usr/bin/python3}" tests/skips.py \
  build/cpu-release/Testing/Temporary/LastTest.log
