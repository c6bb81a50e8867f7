# Source this file: it makes the environment on first use, activates it and exports MOOER_ROOT.
# An environment of your own is kept with MOOER_KEEP_ACTIVE_ENV=1.
MOOER_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export MOOER_ROOT
bash "$MOOER_ROOT/tools/setup_env.sh" || return 1
if [ "${MOOER_KEEP_ACTIVE_ENV:-0}" != 1 ]; then
  # shellcheck disable=SC1091
  . "$MOOER_ROOT/.venv/bin/activate"
  # The environment's modules are byte-compiled by their first import; without that every command starts twice as slowly.
  unset PYTHONDONTWRITEBYTECODE
fi
export PYTHONIOENCODING=UTF-8
export LC_ALL=C.UTF-8
export TOKENIZERS_PARALLELISM=false
