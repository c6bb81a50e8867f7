#!/usr/bin/env bash
set -euo pipefail
# Who is speaking: a small CAM++ from speaker labels alone, its equal error rate, and who speaks when in joined conversations.

stage=-1
stop_stage=5
data_dir=             # folder with train/SPEAKER-...(.ogg, .flac, ...) and test/SPEAKER/SPEAKER-...
work_dir=             # where data, dump and exp are written; the recipe's folder if empty
conf=campplus_small   # a file of conf/, without .yaml
num_dev_speakers=12   # training speakers held out, to settle how voices are grouped
seed=1                # of the conversations
num_processes=1       # training processes, one thread each
num_workers=1         # processes that read recordings for checks
device=cpu
changes=              # values of the configuration to change, as "training.max_steps=5"

help_message="usage: run.sh --data_dir DIR [--stage N] [--stop_stage M] ...

  -1 and 1 nothing, 0 data directories and conversations, 2 data list, 3 training, 4 whitening, embeddings and turns, 5 scoring
  --data_dir DIR        has train/SPEAKER-NAME.ogg (or .flac, .wav) and test/SPEAKER/SPEAKER-NAME.flac; needed for stage 0
  --work_dir DIR        where data, dump and exp are written (default: the recipe's folder)
  --conf NAME           a file of conf/, without .yaml (default campplus_small)
  --num_dev_speakers N  training speakers held out, to settle how voices are grouped (default 12)
  --seed N              of the conversations (default 1)
  --num_processes N     training processes, one thread each (default 1)
  --num_workers N       processes that read recordings for checks (default 1)
  --device auto|cpu|cuda|musa    (default cpu)
  --changes 'KEY=VALUE ...'      values of the configuration to change, as training.max_steps=5"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
. "$recipe/../../tools/stages.sh"
require_conf "$conf"
require_folder "$data_dir"
if [ -z "$data_dir" ] && [ "$stage" -le 0 ] && [ "$stop_stage" -ge 0 ]; then
  echo "run.sh: name the recordings with --data_dir; README.md says which" >&2
  exit 2
fi
. "$recipe/path.sh"
[ -z "$data_dir" ] || data_dir="$(realpath "$data_dir")"
mkdir -p "${work_dir:=$recipe}"
cd "$work_dir"
export OMP_NUM_THREADS=1
read -r -a changed <<< "$changes"
prepared="$data_dir $num_dev_speakers $seed $(cat "$recipe"/conf/*conversations.yaml | cksum)"
exp="exp/$conf" model="exp/$conf/whitened"

if begins 0 "data directories and conversations"; then
  if ! finished data/.prepared "$prepared"; then
    python "$recipe/local/prepare_speakers.py" --recordings "$data_dir" --num_dev_speakers "$num_dev_speakers" --output_dir data
    for name in train dev test; do mooer-check-data --data_dir "data/$name" --num_workers "$num_workers"; done
    join_turns() { # NAME CONF
      python "$recipe/local/write_conversations.py" --data_dir "data/$1" --conf "$recipe/conf/$2.yaml" --seed "$seed" \
        --output_dir "data/$1_conversations"
    }
    join_turns dev dev_conversations
    join_turns test conversations
    finish data/.prepared "$prepared"
  fi
fi

if begins 2 "data list"; then
  mooer-make-list --data_dir data/train --output_dir dump/train --format raw --num_workers "$num_workers"
fi

if begins 3 "training ($conf)"; then
  launch_training "$num_processes" --config "$recipe/conf/$conf.yaml" --output_dir "$exp" --device "$device" --resume \
    "${changed[@]/#/--set=}"
fi

if begins 4 "whitening, embeddings of the test set, and who speaks when"; then
  python "$recipe/local/whiten_embeddings.py" --model_dir "$exp/final" --data_dir data/train --device "$device" --output_dir "$model"
  python "$recipe/local/score_trials.py" --model_dir "$model" --data_dir data/test --device "$device" --output_file "$exp/scores"
  python "$recipe/local/calibrate_clustering.py" --model_dir "$model" --data_dir data/dev_conversations --device "$device"
  diarize() { # NAME OPTION...
    python "$recipe/local/diarize.py" --model_dir "$model" --data_dir data/test_conversations --device "$device" \
      --output_file "$exp/turns/$1.rttm" "${@:2}"
  }
  diarize counted --count_given
  diarize calibrated
  diarize published --clustering "$recipe/conf/clustering_published.yaml"
fi

if begins 5 "scoring"; then
  mooer-score --metric eer --ref data/test/trials --hyp "$exp/scores" --output_dir "$exp/eer"
  for name in counted calibrated published; do
    echo "$name"
    mooer-score --metric der --ref data/test_conversations/rttm --hyp "$exp/turns/$name.rttm" --output_dir "$exp/der_$name"
  done
fi
