#!/usr/bin/env bash
set -euo pipefail
# Makes the Python environment that the recipes and tests run in: .venv at the top of the checkout, with the tested
# versions of tools/constraints.txt. A second call returns at once unless setup.py or the constraints have changed.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
help_message="usage: tools/setup_env.sh [--keep_active]

  --keep_active  install into the environment that is already active (venv or conda) instead of making .venv;
                 MOOER_KEEP_ACTIVE_ENV=1 says the same
  PYTHON=...     the interpreter that .venv is made with (default: python3; 3.10 or newer)"

keep_active="${MOOER_KEEP_ACTIVE_ENV:-0}"
for argument in "$@"; do
  case "$argument" in
    --keep_active | --keep-active) keep_active=1 ;;
    -h | --help) echo "$help_message"; exit 0 ;;
    *) echo "setup_env.sh: unknown option $argument" >&2; echo "$help_message" >&2; exit 2 ;;
  esac
done

if [ "$keep_active" = 1 ]; then
  environment="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}"
  [ -n "$environment" ] || { echo "setup_env.sh: --keep_active, but no venv or conda environment is active" >&2; exit 2; }
else
  environment="$root/.venv"
fi

wanted="$(cat "$root/setup.py" "$root/tools/constraints.txt" <(ls "$root/mooer/cli") | cksum)"
marker="$environment/.mooer-installed"
installed() { [ -f "$marker" ] && [ "$(cat "$marker")" = "$wanted $root" ]; }
if installed; then exit 0; fi

# One installation at a time; the others wait for it.
mkdir -p "$environment"
exec 9> "$environment/.mooer-lock"
flock 9
if installed; then exit 0; fi

if [ ! -x "$environment/bin/python" ]; then
  "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || { echo "setup_env.sh: Python 3.10 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 2; }
  "${PYTHON:-python3}" -m venv "$environment"
fi
echo "setup_env.sh: installing into $environment (a few minutes the first time)" >&2
pip() { "$environment/bin/python" -m pip --disable-pip-version-check "$@"; }
# Modules are byte-compiled when they are first imported, which is a few of thousands.
install() { pip install --quiet --no-compile --constraint "$root/tools/constraints.txt" "$@"; }
# torch alone and first, by its exact version: so a build that is already at hand is taken, and nothing else pulls in another.
install "$(grep '^torch==' "$root/tools/constraints.txt")"
install "setuptools>=77" wheel
install --no-build-isolation --editable "$root[mini,dev]"
echo "$wanted $root" > "$marker"
echo "setup_env.sh: done" >&2
