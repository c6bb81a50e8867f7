#!/usr/bin/env bash
set -euo pipefail
# The whole test suite and the checks of the source; what is given is passed on to pytest:
#   bash tools/run_tests.sh                 everything
#   bash tools/run_tests.sh -m "not slow"   the quick part
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ./path.sh
ruff check .
ruff format --check .
python tools/check_layers.py
python -m pytest "$@"
