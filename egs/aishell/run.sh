#!/usr/bin/env bash
set -euo pipefail
# AISHELL-1 from the published archive to a character error rate.

stage=-1
stop_stage=5
data_dir=            # an existing copy: the folder data_aishell, or the one that holds it
work_dir=            # where data, dump, exp and downloads are written; the recipe's folder if empty
conf=mooer_7b        # a file of conf/, without .yaml
changes=             # values of the configuration to change, as "training.max_epochs=1 data.seed=2"
vocab_size=5000      # tokens, for configurations without a pretrained LLM
num_processes=1      # training processes, one an accelerator
num_workers=4        # processes that read recordings
beam_size=4
batch_seconds=120    # seconds of speech decoded at a time
device=auto

help_message="usage: run.sh [--stage N] [--stop_stage M] [--data_dir DIR] [--conf NAME] ...

  -1 download, 0 data directories, 1 CMVN, 2 shards and tokenizer, 3 training, 4 decoding, 5 scoring
  --data_dir DIR       an existing copy of AISHELL-1 (data_aishell), instead of the download
  --work_dir DIR       where data, dump, exp and downloads are written (default: the recipe's folder)
  --conf NAME          mooer_7b (default), mooer_1.5b, mooer_80k (these need pretrained_models, see README.md), conformer or mini
  --changes 'KEY=VALUE ...'    values of the configuration to change, as training.max_epochs=1
  --vocab_size N       tokens, for configurations without a pretrained LLM (default 5000)
  --num_processes N    training processes, one an accelerator (default 1)
  --num_workers N      processes that read recordings (default 4)
  --beam_size N, --batch_seconds S, --device auto|cpu|cuda|musa"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
. "$recipe/../../tools/stages.sh"
require_conf "$conf"
family="$(sed -n 's/^  family: //p' "$recipe/conf/$conf.yaml")"
require_folder "$data_dir"
. "$recipe/path.sh"
[ -z "$data_dir" ] || data_dir="$(realpath "$data_dir")"
mkdir -p "${work_dir:=$recipe}"
cd "$work_dir"
corpus="${data_dir:-downloads}"
exp="exp/$conf"

if begins -1 "download"; then
  if [ -z "$data_dir" ] && ! finished downloads/.unpacked; then
    bash "$MOOER_ROOT/tools/fetch.sh" https://www.openslr.org/resources/33/data_aishell.tgz \
      2f494334227864a8a8fec932999db9d8 downloads/data_aishell.tgz
    bash "$recipe/local/unpack.sh" downloads/data_aishell.tgz downloads
    finish downloads/.unpacked
  fi
fi

if begins 0 "data directories"; then
  if ! finished data/.prepared "$corpus"; then
    python "$recipe/local/prepare_aishell.py" --corpus_dir "$corpus" --output_dir data
    for name in train dev test; do mooer-check-data --data_dir "data/$name" --num_workers "$num_workers"; done
    finish data/.prepared "$corpus"
  fi
fi

if begins 1 "CMVN over the training set"; then
  if ! finished data/train/.cmvn "$corpus"; then
    mooer-compute-cmvn --data_dir data/train --output_file data/train/am.mvn --num_workers "$num_workers"
    finish data/train/.cmvn "$corpus"
  fi
  if [ "$family" = conformer ] && ! finished data/train/.cmvn_sums "$corpus"; then
    mooer-compute-cmvn --data_dir data/train --output_file data/train/global_cmvn --format json --window povey \
      --num_workers "$num_workers"
    finish data/train/.cmvn_sums "$corpus"
  fi
fi

if begins 2 "shards and tokenizer"; then
  if ! finished dump/.packed "$corpus $vocab_size"; then
    for name in train dev; do
      mooer-make-list --data_dir "data/$name" --output_dir "dump/$name" --audio_format flac --num_workers "$num_workers"
    done
    mooer-build-tokenizer --text data/train/text --vocab_size "$vocab_size" --output_dir data/tokenizer
    finish dump/.packed "$corpus $vocab_size"
  fi
  if [ "$family" = conformer ] && ! finished data/dictionary/.built "$corpus"; then
    mooer-build-tokenizer --layout characters --text data/train/text --check_text data/dev/text --check_text data/test/text \
      --output_dir data/dictionary
    finish data/dictionary/.built "$corpus"
  fi
fi

if begins 3 "training ($conf)"; then
  read -r -a changed <<< "$changes"
  launch_training "$num_processes" --config "$recipe/conf/$conf.yaml" --output_dir "$exp" --device "$device" --resume \
    "${changed[@]/#/--set=}"
fi

if begins 4 "decoding"; then
  options=(--beam_size "$beam_size" --batch_seconds "$batch_seconds")
  [ "$family" = speech_llm ] || options=()
  mooer-decode --wav_scp data/test/wav.scp --model_dir "$exp/final" --output_dir "$exp/test" \
    "${options[@]}" --device "$device" > /dev/null
fi

if begins 5 "scoring"; then
  mooer-score --ref data/test/text --hyp "$exp/test/1best_recog/text" --metric cer --output_dir "$exp/test/cer" --top 0
fi
