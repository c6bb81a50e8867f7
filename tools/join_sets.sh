#!/usr/bin/env bash
set -euo pipefail
# Prints the recordings of several data directories as one table, with absolute paths, so that one command decodes them all.

help_message="usage: tools/join_sets.sh DATA_DIR..."
[ $# -ge 1 ] || { echo "$help_message" >&2; exit 2; }
for data_dir in "$@"; do
  awk -v folder="$(realpath "$data_dir")" '{ id = $1; sub(/^[^ \t]+[ \t]+/, ""); print id, (/^\// ? $0 : folder "/" $0) }' \
    "$data_dir/wav.scp"
done
