#!/usr/bin/env bash
set -euo pipefail
# Unpacks AISHELL-1: the archive, then the archives of the speakers inside it, each of which is removed when it is done.

help_message="usage: unpack.sh ARCHIVE FOLDER"
[ $# -eq 2 ] || { echo "$help_message" >&2; exit 2; }
archive="$1" folder="$2"

if [ ! -d "$folder/data_aishell" ]; then
  rm -rf "$folder/unpacking"
  mkdir -p "$folder/unpacking"
  tar --no-same-owner -xzf "$archive" -C "$folder/unpacking"
  mv "$folder/unpacking/data_aishell" "$folder"
  rm -rf "$folder/unpacking"
fi
for speaker in "$folder"/data_aishell/wav/*.tar.gz; do
  [ -f "$speaker" ] || continue
  tar --no-same-owner -xzf "$speaker" -C "$folder/data_aishell/wav"
  rm "$speaker"
done
