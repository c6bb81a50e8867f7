#!/usr/bin/env bash
set -euo pipefail
# Decodes both test sets with a Conformer: by CTC alone, by its decoder alone, and by CTC's answers looked at by the decoder.

help_message="usage: decode_conformer.sh MODEL_DIR OUTPUT_DIR DEVICE    (in the folder that holds data/)

  Writes OUTPUT_DIR/MODE_LANGUAGE for the modes ctc_greedy, attention, attention_rescoring and the languages en, zh."
[ $# -eq 3 ] || { echo "$help_message" >&2; exit 2; }
model_dir="$1" output_dir="$2" device="$3"

for language in en zh; do
  for mode in ctc_greedy attention attention_rescoring; do
    mooer-decode --wav_scp "data/test_$language/wav.scp" --device "$device" --model_dir "$model_dir" --mode "$mode" \
      --output_dir "$output_dir/${mode}_$language"
  done
done > /dev/null
