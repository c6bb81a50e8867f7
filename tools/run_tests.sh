#!/usr/bin/env bash
set -euo pipefail
# The whole test suite and the checks of the source; what is given is passed on to pytest:
#   bash tools/run_tests.sh                 everything
#   bash tools/run_tests.sh -m "not slow"   the quick part
# Two test files at a time, each process with one thread; MOOER_TEST_PROCESSES=0 runs one after another.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ./path.sh
ruff check .
ruff format --check .
python tools/check_layers.py
export OMP_NUM_THREADS=1
python -m pytest --numprocesses "${MOOER_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
