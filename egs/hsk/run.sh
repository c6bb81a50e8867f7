#!/usr/bin/env bash
set -euo pipefail
# Real Mandarin words of one speaker to toned pinyin, words held out: an encoder with CTC, then an LLM.

stage=-1
stop_stage=5
data_dir=            # mp3/ID.mp3 and words.txt (`ID WORD` a line), instead of the download
test_dir=            # a further folder of that form to decode and score
work_dir=            # where data, dump, exp and downloads are written; the recipe's folder if empty
vocab_size=500       # most tokens: all initials, finals and tones fit
seed=1               # of the training strings; the training files have their own
num_processes=2      # training processes, one thread each
num_workers=2        # processes that make strings and read recordings
beam_size=4
conf=mooer
device=cpu
changes=             # values to change in all configurations, as "training.max_steps=5"

help_message="usage: run.sh [--stage N] [--stop_stage M] [--data_dir DIR] [--test_dir DIR] [--work_dir DIR] ...

  -1 download, 0 pinyin, split and training strings, 1 CMVN, 2 tokenizer and lists, 3 training, 4 decoding, 5 scoring
  --data_dir DIR       mp3/ID.mp3 and words.txt (ID WORD a line), instead of the download
  --test_dir DIR       a further folder of that form to decode and score (stages 4 and 5)
  --work_dir DIR       where data, dump, exp and downloads are written (default: the recipe's folder)
  --vocab_size N       most tokens (default 500)
  --seed N             of the training strings (default 1)
  --num_processes N    training processes, one thread each (default 2)
  --num_workers N      processes that make strings and read recordings (default 2)
  --beam_size N        of the LLM (default 4)
  --conf NAME          file of conf/, without .yaml (default mooer); what it starts from is trained first
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
cd "$work_dir"
export OMP_NUM_THREADS=1
recordings="${data_dir:-$PWD/downloads/hsk}"
strings="$recordings $seed $(cksum < "$recipe/conf/strings.yaml")"
read -r -a changed <<< "$changes"
test_sets=(dev test)
# An initial of pinyin is a token of its own, so that a syllable never heard is a new pair of known tokens.
initial=' ?(?:[zcs]h|[bpmfdtnlgkhjqxrzcsyw])(?=[a-z])'

if begins -1 "download"; then
  if [ -z "$data_dir" ] && ! finished downloads/.arranged; then
    rm -rf downloads/audio-cmn downloads/hsk
    git clone --depth 1 --filter=blob:none --sparse https://github.com/hugolpz/audio-cmn.git downloads/audio-cmn
    git -C downloads/audio-cmn sparse-checkout set 64k/hsk
    python "$recipe/local/arrange_recordings.py" --source downloads/audio-cmn/64k/hsk --output_dir downloads/hsk
    finish downloads/.arranged
  fi
fi

if begins 0 "pinyin, split and training strings"; then
  if ! finished data/.prepared "$strings"; then
    python "$recipe/local/prepare_words.py" --recordings "$recordings" --strings "$recipe/conf/strings.yaml" --output_dir data \
      --seed "$seed" --num_workers "$num_workers"
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
    mooer-build-tokenizer --text data/train/text --vocab_size "$vocab_size" --piece "$initial" --output_dir data/tokenizer
    finish dump/.packed "$strings $vocab_size"
  fi
fi

if begins 3 "training: ${chain[*]}"; then
  train_chain "$conf" "$strings $vocab_size ${changed[*]}" "${changed[@]/#/--set=}"
fi

if [ -n "$test_dir" ]; then test_sets+=(further); fi

if begins 4 "decoding"; then
  if [ -n "$test_dir" ]; then
    python "$recipe/local/prepare_test.py" --recordings "$test_dir" --output_dir data/further
  fi
  bash "$MOOER_ROOT/tools/decode_sets.sh" "exp/${chain[0]}/final" "exp/$conf/final" "exp/$conf/decode" \
    "$beam_size" "$device" asr "${test_sets[@]/#/data/}"
fi

if begins 5 "scoring"; then
  python "$recipe/local/word_table.py" --decode_dir "exp/$conf/decode" --train_text data/train/text "${test_sets[@]/#/data/}"
fi
