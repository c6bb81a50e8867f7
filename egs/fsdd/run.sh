#!/usr/bin/env bash
set -euo pipefail
# Connected digits of real speakers, one of whom is held out: an encoder with CTC, then an LLM that transcribes and translates;
# with --conf conformer or conformer_moe a Conformer with CTC, dense or with a mixture of experts.

stage=-1
stop_stage=5
data_dir=            # recordings DIGIT_SPEAKER_INDEX.wav in one folder or a folder a speaker, instead of the download
test_speaker=theo    # held out for the test; none: train on all
test_dir=            # a further folder of recordings to build strings of, decode and score
work_dir=            # where exp and downloads are written; the recipe's folder if empty
num_train=12000      # training strings
num_test=300         # strings of each test set
num_synthetic=560    # synthetic speakers, who say half of the training strings; 560 is all of them, 0 none
vocab_size=340       # most tokens: the digits' words fit
seed=1               # of the strings; the training files have their own
num_processes=2      # training processes, one thread each
num_workers=2        # processes that make and read strings
beam_size=4
conf=mooer
device=cpu
changes=             # values to change in all configurations, as "training.max_steps=5"

help_message="usage: run.sh [--stage N] [--stop_stage M] [--data_dir DIR] [--test_speaker NAME] [--test_dir DIR] ...

  -1 download, 0 digit strings, 1 CMVN, 2 tokenizer and lists, 3 training, 4 decoding, 5 scoring
  --data_dir DIR       DIGIT_SPEAKER_INDEX.wav in one folder or a folder a speaker, instead of the download
  --test_speaker NAME  held out for the test (default theo); none: train on all
  --test_dir DIR       a further folder of recordings to build strings of, decode and score (stages 0, 4 and 5)
  --work_dir DIR       where exp and downloads are written (default: the recipe's folder)
  --num_train N        training strings (default 12000)
  --num_test N         strings of each test set (default 300)
  --num_synthetic N    synthetic speakers, who say half of the training strings (default 560, which is all; 0: none)
  --vocab_size N       most tokens (default 340)
  --seed N             of the strings (default 1)
  --num_processes N    training processes, one thread each (default 2)
  --num_workers N      processes that make and read strings (default 2)
  --beam_size N        of the LLM (default 4)
  --conf NAME          of conf/: mooer (default), conformer or conformer_moe; what it starts from is trained first
  --device auto|cpu|cuda|musa         (default cpu)
  --changes 'KEY=VALUE ...'           values to change in all configurations, as training.max_steps=5"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
. "$recipe/../../tools/stages.sh"
chain="$(chain_of "$conf")" || exit 2
read -r -a chain <<< "${chain//$'\n'/ }"
require_folder "$data_dir" "$test_dir"
. "$recipe/path.sh"
[ -z "$data_dir" ] || data_dir="$(realpath "$data_dir")"
[ -z "$test_dir" ] || test_dir="$(realpath "$test_dir")"
mkdir -p "${work_dir:=$recipe}"
downloads="$(realpath "$work_dir")/downloads"
recordings="${data_dir:-$downloads/free-spoken-digit-dataset/recordings}"
# A folder of its own for each test speaker, so that several can be held out in turn.
run="$work_dir/exp/without_$test_speaker"
mkdir -p "$run"
cd "$run"
export OMP_NUM_THREADS=1
strings="$recordings $num_train $num_test $num_synthetic $seed $(cat "$recipe"/conf/strings_*.yaml | cksum)"
read -r -a changed <<< "$changes"
family="$(sed -n 's/^  family: //p' "$recipe/conf/$conf.yaml")"
test_sets=(dev)
[ "$test_speaker" = none ] || test_sets+=(test)

if begins -1 "download"; then
  python -c "import espeakng_loader"
  if [ -z "$data_dir" ] && ! finished "$downloads/.cloned"; then
    rm -rf "$downloads/free-spoken-digit-dataset"
    git clone --depth 1 https://github.com/Jakobovski/free-spoken-digit-dataset.git "$downloads/free-spoken-digit-dataset"
    finish "$downloads/.cloned"
  fi
fi

if begins 0 "digit strings, without $test_speaker in training"; then
  if ! finished data/.prepared "$strings"; then
    prepare=(python "$recipe/local/prepare_digits.py" --recordings "$recordings" --test_speaker "$test_speaker" --output_dir data
      --conf_dir "$recipe/conf" --num_train "$num_train" --num_test "$num_test" --seed "$seed" --num_workers "$num_workers")
    # First what needs no synthetic voices, so that a speaker who is not there is told at once.
    "${prepare[@]}" --set dev --set test
    rm -rf data/synthetic
    if [ "$num_synthetic" != 0 ]; then
      python "$recipe/local/synthesize_digits.py" --output_dir data/synthetic --seed "$seed" --num_speakers "$num_synthetic"
      prepare+=(--synthetic data/synthetic)
    fi
    "${prepare[@]}" --set train
    for name in train "${test_sets[@]}"; do mooer-check-data --data_dir "data/$name" --num_workers "$num_workers"; done
    finish data/.prepared "$strings"
  fi
fi

if begins 1 "CMVN over the training set"; then
  if ! finished data/train/.cmvn "$strings"; then
    mooer-compute-cmvn --data_dir data/train --output_file data/train/am.mvn --num_workers "$num_workers"
    finish data/train/.cmvn "$strings"
  fi
fi

if begins 2 "tokenizer and lists"; then
  if ! finished dump/.packed "$strings $vocab_size"; then
    for name in train dev; do
      mooer-make-list --data_dir "data/$name" --output_dir "dump/$name" --format raw --num_workers "$num_workers"
    done
    mooer-build-tokenizer --text data/train/text data/train/text.zh --vocab_size "$vocab_size" --output_dir data/tokenizer
    finish dump/.packed "$strings $vocab_size"
  fi
fi

if begins 3 "training: ${chain[*]}"; then
  train_chain "$conf" "$strings $vocab_size ${changed[*]}" "${changed[@]/#/--set=}"
fi

if [ -n "$test_dir" ]; then test_sets+=(further); fi

if begins 4 "decoding"; then
  if [ -n "$test_dir" ]; then
    python "$recipe/local/prepare_test.py" --recordings "$test_dir" --conf_dir "$recipe/conf" \
      --num_test "$num_test" --seed "$seed" --num_workers "$num_workers" --output_dir data/further
  fi
  if [ "$family" = conformer ]; then
    bash "$MOOER_ROOT/tools/decode_modes.sh" "exp/$conf/final" "exp/$conf/decode" "$device" \
      "ctc_greedy ctc_prefix_beam" "${test_sets[@]/#/data/}"
  else
    bash "$MOOER_ROOT/tools/decode_sets.sh" "exp/${chain[0]}/final" "exp/$conf/final" "exp/$conf/decode" \
      "$beam_size" "$device" "asr ast mtl" "${test_sets[@]/#/data/}"
  fi
fi

if begins 5 "scoring"; then
  if grep -q "^  moe:" "$recipe/conf/$conf.yaml"; then
    python "$MOOER_ROOT/tools/expert_use.py" --model_dir "exp/$conf/final" --wav_scp "exp/$conf/decode/data/wav.scp" \
      --output_dir "exp/$conf"
  fi
  python "$recipe/local/digit_table.py" --decode_dir "exp/$conf/decode" "${test_sets[@]/#/data/}"
fi
