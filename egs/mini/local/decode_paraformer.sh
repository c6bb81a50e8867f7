#!/usr/bin/env bash
set -euo pipefail
# Decodes both test sets with the encoder alone and with the Paraformer, which estimates when each word is spoken.

help_message="usage: decode_paraformer.sh ENCODER_DIR MODEL_DIR OUTPUT_DIR DEVICE    (in the folder that holds data/)

  Writes OUTPUT_DIR/LANGUAGE/SYSTEM for the systems ctc, paraformer and the languages en, zh."
[ $# -eq 4 ] || { echo "$help_message" >&2; exit 2; }
encoder_dir="$1" model_dir="$2" output_dir="$3" device="$4"

for language in en zh; do
  speech=(--wav_scp "data/test_$language/wav.scp" --device "$device")
  mooer-decode "${speech[@]}" --model_dir "$encoder_dir" --output_dir "$output_dir/$language/ctc"
  mooer-decode "${speech[@]}" --model_dir "$model_dir" --estimate_times --output_dir "$output_dir/$language/paraformer"
done > /dev/null
