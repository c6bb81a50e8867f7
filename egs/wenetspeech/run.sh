#!/usr/bin/env bash
set -euo pipefail
# WenetSpeech from its unpacked folder to shards, with a dictionary of characters and CMVN.

stage=0
stop_stage=2
data_dir=            # the unpacked corpus: the folder that holds WenetSpeech.json and audio, or the one that holds that
work_dir=            # where data and dump are written; the recipe's folder if empty
train_set=train_l    # train_s, train_m, train_l (100, 1000 and 10,000 hours) or train_w (weak labels)
test_sets="test_net test_meeting"
num_utts_per_shard=1000
num_workers=4        # processes that read recordings

help_message="usage: run.sh --data_dir DIR [--stage N] [--stop_stage M] [--train_set NAME] ...

  0 data directories, 1 dictionary and CMVN, 2 shards
  --data_dir DIR       the unpacked corpus: the folder that holds WenetSpeech.json and audio, or the one that holds that
  --work_dir DIR       where data and dump are written (default: the recipe's folder)
  --train_set NAME     train_s, train_m, train_l (default; 100, 1000 and 10,000 hours) or train_w (weak labels)
  --test_sets 'NAME ...'    (default: $test_sets)
  --num_utts_per_shard N    (default 1000)
  --num_workers N      processes that read recordings (default 4)"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
. "$recipe/../../tools/stages.sh"
. "$recipe/../mt5k/local/steps.sh"
[ "$stop_stage" -le 2 ] || refuse "there is no stage $stop_stage; the last one is 2"
[[ "$train_set" =~ ^train_[smlw]$ ]] || refuse "--train_set takes train_s, train_m, train_l or train_w, found '$train_set'"
for name in $test_sets; do
  [[ "$name" =~ ^test_(net|meeting)$ ]] || refuse "--test_sets takes test_net and test_meeting, found '$name'"
done
if [ "$stage" -le 0 ]; then
  [ -n "$data_dir" ] || refuse "name the unpacked corpus with --data_dir; it is downloaded with a password of its own, see README.md"
  require_folder "$data_dir"
  data_dir="$(realpath "$data_dir")"
fi
. "$recipe/path.sh"
mkdir -p "${work_dir:=$recipe}"
cd "$work_dir"
all_sets="$train_set dev $test_sets"

if begins 0 "data directories"; then
  for name in $all_sets; do
    once "$name" "data/.$name.prepared" "$data_dir" \
      python "$recipe/local/prepare_wenetspeech.py" --corpus_dir "$data_dir" --output_dir data --set "$name"
  done
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
  for name in $all_sets; do
    once "$name" "dump/$name/.packed" "$num_utts_per_shard $(tables "data/$name")" \
      mooer-make-list --data_dir "data/$name" --output_dir "dump/$name" --audio_format flac \
      --num_utts_per_shard "$num_utts_per_shard" --num_workers "$num_workers"
  done
  whole 3
fi
