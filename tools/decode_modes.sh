#!/usr/bin/env bash
set -euo pipefail
# Decodes test sets with a Conformer in several ways: mooer-decode's modes.

help_message="usage: tools/decode_modes.sh MODEL_DIR OUTPUT_DIR DEVICE "MODE..." DATA_DIR...

  Writes OUTPUT_DIR/MODE for each of the modes (ctc_greedy, ctc_prefix_beam, attention, attention_rescoring), with the
  utterances of all the data directories."
[ $# -ge 5 ] || { echo "$help_message" >&2; exit 2; }
model_dir="$1" output_dir="$2" device="$3"
read -r -a modes <<< "$4"
shift 4

mkdir -p "$output_dir/data"
bash "$(dirname "${BASH_SOURCE[0]}")/join_sets.sh" "$@" > "$output_dir/data/wav.scp"
for mode in "${modes[@]}"; do
  mooer-decode --wav_scp "$output_dir/data/wav.scp" --device "$device" --model_dir "$model_dir" --mode "$mode" \
    --output_dir "$output_dir/$mode" > /dev/null
done
