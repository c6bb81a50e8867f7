#!/usr/bin/env bash
set -euo pipefail
# WenetSpeech, 3M-ASR's way: an embedding network, a dense Conformer, and from both a Conformer with a mixture of experts.

stage=0
stop_stage=5
data_dir=            # the unpacked corpus: the folder that holds WenetSpeech.json and audio, or the one that holds that
aishell_dir=         # an unpacked AISHELL-1, whose test set is then decoded too
work_dir=            # where data, dump and exp are written; the recipe's folder if empty
train_set=train_l    # train_s, train_m, train_l (100, 1000 and 10,000 hours) or train_w (weak labels)
test_sets="test_net test_meeting"
num_utts_per_shard=1000
num_workers=4        # processes that read recordings
conf=moe             # of conf/: moe, or base or embedding alone; what it starts from is trained first
conf_dir=            # folder with these files; the recipe's conf if empty
num_processes=1      # training processes on this machine, one an accelerator
mode=attention_rescoring    # of decoding
device=auto
changes=             # values to change in all configurations, as "training.max_epochs=1"

help_message="usage: run.sh --data_dir DIR [--stage N] [--stop_stage M] [--train_set NAME] ...

  0 data directories, 1 dictionary and CMVN, 2 shards, 3 training, 4 decoding, 5 scoring
  --data_dir DIR       the unpacked corpus: the folder that holds WenetSpeech.json and audio, or the one that holds that
  --aishell_dir DIR    an unpacked AISHELL-1, whose test set is then decoded too (stages 0, 4 and 5)
  --work_dir DIR       where data, dump and exp are written (default: the recipe's folder)
  --train_set NAME     train_s, train_m, train_l (default; 100, 1000 and 10,000 hours) or train_w (weak labels)
  --test_sets 'NAME ...'    (default: $test_sets)
  --num_utts_per_shard N    (default 1000)
  --num_workers N      processes that read recordings (default 4)
  --conf NAME          moe (default), or base or embedding alone; what it starts from is trained first
  --conf_dir DIR       folder with these files (default: the recipe's conf)
  --num_processes N    training processes on this machine, one an accelerator (default 1)
  --mode NAME          of decoding: attention_rescoring (default), attention, ctc_prefix_beam or ctc_greedy
  --device auto|cpu|cuda|musa         (default auto)
  --changes 'KEY=VALUE ...'           values to change in all configurations, as training.max_epochs=1"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
[ -z "$conf_dir" ] || conf_dir="$(realpath "$conf_dir")"
. "$recipe/../../tools/stages.sh"
. "$recipe/../mt5k/local/steps.sh"
chain="$(chain_of "$conf")" || exit 2
read -r -a chain <<< "${chain//$'\n'/ }"
require_folder "$aishell_dir"
[[ "$train_set" =~ ^train_[smlw]$ ]] || refuse "--train_set takes train_s, train_m, train_l or train_w, found '$train_set'"
for name in $test_sets; do
  [[ "$name" =~ ^test_(net|meeting)$ ]] || refuse "--test_sets takes test_net and test_meeting, found '$name'"
done
if [ "$stage" -le 0 ]; then
  [ -n "$data_dir" ] || refuse "name the unpacked corpus with --data_dir; it is downloaded with a password of its own, see README.md"
  require_folder "$data_dir"
  data_dir="$(realpath "$data_dir")"
fi
[ -z "$aishell_dir" ] || aishell_dir="$(realpath "$aishell_dir")"
. "$recipe/path.sh"
mkdir -p "${work_dir:=$recipe}"
cd "$work_dir"
all_sets="$train_set dev $test_sets"
decoded_sets="dev $test_sets${aishell_dir:+ aishell1}"

if begins 0 "data directories"; then
  for name in $all_sets; do
    once "$name" "data/.$name.prepared" "$data_dir" \
      python "$recipe/local/prepare_wenetspeech.py" --corpus_dir "$data_dir" --output_dir data --set "$name"
  done
  if [ -n "$aishell_dir" ]; then
    once aishell1 data/.aishell1.prepared "$aishell_dir" \
      python "$recipe/../aishell/local/prepare_aishell.py" --corpus_dir "$aishell_dir" --output_dir data/aishell
    ln -sfn aishell/test data/aishell1
  fi
  whole 1
fi

if begins 1 "dictionary and CMVN of $train_set"; then
  texts=(--text "data/$train_set/text")
  for name in dev $test_sets; do texts+=(--check_text "data/$name/text"); done
  once "dictionary" data/dictionary/.built "$train_set $(tables "data/$train_set")" \
    mooer-build-tokenizer --layout characters "${texts[@]}" --output_dir data/dictionary
  once "CMVN" "data/$train_set/.cmvn" "$(tables "data/$train_set")" \
    mooer-compute-cmvn --data_dir "data/$train_set" --output_file "data/$train_set/global_cmvn.json" --format json --window povey \
    --num_workers "$num_workers"
  whole 2
fi

if begins 2 "shards"; then
  for name in $train_set $decoded_sets; do
    once "$name" "dump/$name/.packed" "$num_utts_per_shard $(tables "data/$name")" \
      mooer-make-list --data_dir "data/$name" --output_dir "dump/$name" --audio_format flac \
      --num_utts_per_shard "$num_utts_per_shard" --num_workers "$num_workers"
  done
  whole 3
fi

if begins 3 "training: ${chain[*]}"; then
  read -r -a changed <<< "$changes"
  of_set=("data.train_list=dump/$train_set/data.list" "data.cmvn_path=data/$train_set/global_cmvn.json")
  train_chain "$conf" "$train_set ${changed[*]}" "${of_set[@]/#/--set=}" "${changed[@]/#/--set=}"
fi

if begins 4 "decoding"; then
  for name in $decoded_sets; do
    mooer-decode --data_list "dump/$name/data.list" --model_dir "exp/$conf/final" --mode "$mode" --device "$device" \
      --output_dir "exp/$conf/decode/$name" > /dev/null
  done
fi

if begins 5 "scoring"; then
  python "$recipe/local/results_table.py" --data_dir data --decode_dir "exp/$conf/decode" --system "$conf"
fi
