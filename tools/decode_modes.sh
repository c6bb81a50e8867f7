#!/usr/bin/env bash
set -euo pipefail
# Decodes test sets with a Conformer: by CTC alone, by its decoder alone, and by CTC's answers looked at by the decoder.

help_message="usage: tools/decode_modes.sh MODEL_DIR OUTPUT_DIR DEVICE DATA_DIR...

  Writes OUTPUT_DIR/MODE for the modes ctc_greedy, attention and attention_rescoring, each with the utterances of all the data
  directories."
[ $# -ge 4 ] || { echo "$help_message" >&2; exit 2; }
model_dir="$1" output_dir="$2" device="$3"
shift 3

mkdir -p "$output_dir/data"
bash "$(dirname "${BASH_SOURCE[0]}")/join_sets.sh" "$@" > "$output_dir/data/wav.scp"
for mode in ctc_greedy attention attention_rescoring; do
  mooer-decode --wav_scp "$output_dir/data/wav.scp" --device "$device" --model_dir "$model_dir" --mode "$mode" \
    --output_dir "$output_dir/$mode" > /dev/null
done
