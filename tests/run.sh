#!/usr/bin/env bash
# Builds Tetrarch (CPU, Release) and runs its tests; further arguments go to ctest.
# SPDX-License-Identifier: Apache-2.0
#
#   bash tests/run.sh                 all tests
#   bash tests/run.sh -R token_exchange -V
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh
cmake --preset cpu-release
cmake --build --preset cpu-release
ctest --preset cpu-release --output-on-failure --no-tests=error "$@"
