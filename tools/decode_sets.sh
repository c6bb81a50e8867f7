#!/usr/bin/env bash
set -euo pipefail
# Decodes test sets with the encoder alone and with the LLM in each task, and once with silence instead of the speech.

help_message="usage: tools/decode_sets.sh ENCODER_DIR MODEL_DIR OUTPUT_DIR BEAM_SIZE DEVICE 'TASK...' DATA_DIR...

  TASK is asr, ast or mtl; translations are Chinese. Writes OUTPUT_DIR/SYSTEM for the systems ctc, each task and silence (in
  the last task), each with the utterances of all the data directories."
[ $# -ge 7 ] || { echo "$help_message" >&2; exit 2; }
encoder_dir="$1" model_dir="$2" output_dir="$3" beam_size="$4" device="$5"
read -r -a tasks <<< "$6"
shift 6

mkdir -p "$output_dir/data"
here="$(dirname "${BASH_SOURCE[0]}")"
bash "$here/join_sets.sh" "$@" > "$output_dir/data/wav.scp"
python "$here/silence.py" --data_dir "$output_dir/data" --output_dir "$output_dir/silent_data"

decode() { # SYSTEM WAV_SCP OPTION...
  mooer-decode --wav_scp "$2" --device "$device" --output_dir "$output_dir/$1" "${@:3}" > /dev/null
}

decode ctc "$output_dir/data/wav.scp" --model_dir "$encoder_dir"
for task in "${tasks[@]}"; do
  llm=(--model_dir "$model_dir" --beam_size "$beam_size" --task "$task")
  [ "$task" = asr ] || llm+=(--target_language zh)
  decode "$task" "$output_dir/data/wav.scp" "${llm[@]}"
done
decode silence "$output_dir/silent_data/wav.scp" "${llm[@]}"
