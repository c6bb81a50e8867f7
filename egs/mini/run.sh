#!/usr/bin/env bash
set -euo pipefail
# From nothing to a scored bilingual model in minutes on two CPU cores: synthetic English and Mandarin, an encoder with CTC, an
# LLM that transcribes, translates and does both. Nothing is downloaded. With --conf paraformer a Paraformer is trained in the
# LLM's place: it transcribes, and says when each word is spoken. With --conf conformer or conformer_moe it is a Conformer with
# CTC and an attention decoder, dense or with a mixture of experts.

stage=-1
stop_stage=5
work_dir=            # where data, dump and exp are written; the recipe's folder if empty
num_train=4000       # training utterances in each language
num_test=200         # test utterances in each language
vocab_size=640       # most tokens: the whole words of the grammar fit
seed=1               # of the synthetic speech; the training files have their own
num_processes=2      # training processes, one thread each
num_workers=2        # processes that synthesise and read recordings
conf=mooer           # of conf/: mooer, paraformer, conformer or conformer_moe; what it starts from is trained first
conf_dir=            # folder with these files; the recipe's conf if empty
beam_size=4
device=cpu

help_message="usage: run.sh [--stage N] [--stop_stage M] [--work_dir DIR] ...

  -1 download (none), 0 synthetic speech, 1 CMVN, 2 tokenizer and lists, 3 training, 4 decoding, 5 scoring
  --work_dir DIR       where data, dump and exp are written (default: the recipe's folder)
  --num_train N        training utterances in each language (default 4000)
  --num_test N         test utterances in each language (default 200)
  --vocab_size N       most tokens (default 640)
  --seed N             of the synthetic speech (default 1)
  --num_processes N    training processes, one thread each (default 2)
  --num_workers N      processes that synthesise and read recordings (default 2)
  --conf NAME          of conf/: mooer (default), paraformer, conformer or conformer_moe; what it starts from is trained first
  --conf_dir DIR       folder with these files (default: the recipe's conf)
  --beam_size N        of the LLM's search (default 4)
  --device auto|cpu|cuda|musa         (default cpu)"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
[ -z "$conf_dir" ] || conf_dir="$(realpath "$conf_dir")"
. "$recipe/../../tools/stages.sh"
chain="$(chain_of "$conf")" || exit 2
read -r -a chain <<< "${chain//$'\n'/ }"
. "$recipe/path.sh"
mkdir -p "${work_dir:-$recipe}"
cd "${work_dir:-$recipe}"
export OMP_NUM_THREADS=1
speech="$num_train $num_test $seed"
exp="exp/$conf"
family="$(sed -n 's/^  family: //p' "$conf_dir/$conf.yaml")"

if begins -1 "nothing to download: the synthesiser comes with the environment"; then
  python -c "import espeakng_loader"
fi

if begins 0 "synthetic speech in English and Mandarin"; then
  if [ ! -f data/test_en/ctm ] || ! finished data/.prepared "$speech"; then
    python "$recipe/local/synthesize.py" --output_dir data --num_train "$num_train" --num_test "$num_test" \
      --seed "$seed" --num_jobs "$num_workers"
    for name in train dev test_en test_zh; do mooer-check-data --data_dir "data/$name" --num_workers "$num_workers"; done
    for name in en zh; do
      python "$MOOER_ROOT/tools/silence.py" --data_dir "data/test_$name" --output_dir "data/silence_$name"
    done
    finish data/.prepared "$speech"
  fi
fi

if begins 1 "CMVN over the training set"; then
  if ! finished data/train/.cmvn "$speech"; then
    mooer-compute-cmvn --data_dir data/train --output_file data/train/am.mvn --num_workers "$num_workers"
    finish data/train/.cmvn "$speech"
  fi
  if [ "$family" = conformer ] && ! finished data/train/.cmvn_sums "$speech"; then
    mooer-compute-cmvn --data_dir data/train --output_file data/train/global_cmvn --format json --window povey \
      --num_workers "$num_workers"
    finish data/train/.cmvn_sums "$speech"
  fi
fi

if begins 2 "tokenizer and lists"; then
  if ! finished dump/.packed "$speech $vocab_size"; then
    for name in train dev; do
      mooer-make-list --data_dir "data/$name" --output_dir "dump/$name" --format raw --num_workers "$num_workers"
    done
    mooer-build-tokenizer --text data/train/text --vocab_size "$vocab_size" --output_dir data/tokenizer
    finish dump/.packed "$speech $vocab_size"
  fi
  if [ "$family" = paraformer ] && ! finished data/tokens/.built "$speech $vocab_size"; then
    mooer-build-tokenizer --layout paraformer --text data/train/text --vocab_size "$vocab_size" --output_dir data/tokens
    finish data/tokens/.built "$speech $vocab_size"
  fi
fi

if begins 3 "training: ${chain[*]}"; then
  train_chain "$conf" "$speech $vocab_size"
fi

if begins 4 "decoding the test sets"; then
  case "$family" in
    paraformer) bash "$recipe/local/decode_paraformer.sh" "exp/${chain[0]}/final" "$exp/final" "$exp/decode" "$device" ;;
    conformer)
      for name in en zh; do
        bash "$MOOER_ROOT/tools/decode_modes.sh" "$exp/final" "$exp/decode/$name" "$device" \
          "ctc_greedy attention attention_rescoring" "data/test_$name"
      done
      ;;
    *) bash "$recipe/local/decode.sh" "exp/${chain[0]}/final" "$exp/final" "$exp/decode" "$beam_size" "$device" ;;
  esac
fi

if begins 5 "scoring"; then
  python "$recipe/local/table.py" --data_dir data --decode_dir "$exp/decode"
fi
