#!/usr/bin/env bash
set -euo pipefail
# Unpacks one part of LibriSpeech, such as dev-clean.tar.gz, into FOLDER/LibriSpeech.

help_message="usage: unpack.sh ARCHIVE FOLDER"
[ $# -eq 2 ] || { echo "$help_message" >&2; exit 2; }
archive="$1" folder="$2"
part="$(basename "$archive" .tar.gz)"

[ -d "$folder/LibriSpeech/$part" ] && exit 0
rm -rf "$folder/unpacking"
mkdir -p "$folder/unpacking" "$folder/LibriSpeech"
tar --no-same-owner -xzf "$archive" -C "$folder/unpacking"
mv "$folder/unpacking/LibriSpeech/$part" "$folder/LibriSpeech"
rm -rf "$folder/unpacking"
