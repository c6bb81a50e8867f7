#!/usr/bin/env bash
set -euo pipefail
# Decodes test sets with the encoder alone and with the LLM in each task, and once with silence instead of the speech.

help_message="usage: decode.sh ENCODER_DIR MODEL_DIR OUTPUT_DIR BEAM_SIZE DEVICE DATA_DIR...

  Writes OUTPUT_DIR/SYSTEM for the systems ctc, asr, ast, mtl and silence, each with the strings of all the data directories."
[ $# -ge 6 ] || { echo "$help_message" >&2; exit 2; }
encoder_dir="$1" model_dir="$2" output_dir="$3" beam_size="$4" device="$5"
shift 5

mkdir -p "$output_dir/data"
for data_dir in "$@"; do
  awk -v folder="$PWD/$data_dir" '{ print $1, folder "/" $2 }' "$data_dir/wav.scp"
done > "$output_dir/data/wav.scp"
python "$(dirname "${BASH_SOURCE[0]}")/silence.py" --data_dir "$output_dir/data" --output_dir "$output_dir/silent_data"

speech=(--wav_scp "$output_dir/data/wav.scp" --device "$device")
llm=(--model_dir "$model_dir" --beam_size "$beam_size")
mooer-decode "${speech[@]}" --model_dir "$encoder_dir" --output_dir "$output_dir/ctc" > /dev/null
mooer-decode "${speech[@]}" "${llm[@]}" --task asr --output_dir "$output_dir/asr" > /dev/null
mooer-decode "${speech[@]}" "${llm[@]}" --task ast --target_language zh --output_dir "$output_dir/ast" > /dev/null
mooer-decode "${speech[@]}" "${llm[@]}" --task mtl --target_language zh --output_dir "$output_dir/mtl" > /dev/null
mooer-decode --wav_scp "$output_dir/silent_data/wav.scp" --device "$device" "${llm[@]}" --task mtl --target_language zh \
  --output_dir "$output_dir/silence" > /dev/null
