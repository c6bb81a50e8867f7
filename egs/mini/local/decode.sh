#!/usr/bin/env bash
set -euo pipefail
# Decodes both test sets with the encoder alone and with the LLM in each task, and once with silence instead of the speech. The
# two languages run side by side.

help_message="usage: decode.sh ENCODER_DIR MODEL_DIR OUTPUT_DIR BEAM_SIZE DEVICE    (in the folder that holds data/)

  Writes OUTPUT_DIR/LANGUAGE/SYSTEM for the systems ctc, asr, ast, mtl, silence and the languages en, zh.
  ENCODER_DIR may be -: no decoding with the encoder alone."
[ $# -eq 5 ] || { echo "$help_message" >&2; exit 2; }
encoder_dir="$1" model_dir="$2" output_dir="$3" beam_size="$4" device="$5"

decode() { # LANGUAGE OTHER_LANGUAGE
  local speech=(--wav_scp "data/test_$1/wav.scp" --device "$device")
  local llm=(--model_dir "$model_dir" --beam_size "$beam_size")
  if [ "$encoder_dir" != - ]; then
    mooer-decode "${speech[@]}" --model_dir "$encoder_dir" --output_dir "$output_dir/$1/ctc"
  fi
  mooer-decode "${speech[@]}" "${llm[@]}" --task asr --output_dir "$output_dir/$1/asr"
  mooer-decode "${speech[@]}" "${llm[@]}" --task ast --target_language "$2" --output_dir "$output_dir/$1/ast"
  mooer-decode "${speech[@]}" "${llm[@]}" --task mtl --target_language "$2" --output_dir "$output_dir/$1/mtl"
  mooer-decode --wav_scp "data/silence_$1/wav.scp" --device "$device" "${llm[@]}" --task mtl --target_language "$2" \
    --output_dir "$output_dir/$1/silence"
}

decode en zh > /dev/null &
english=$!
decode zh en > /dev/null
wait "$english"
