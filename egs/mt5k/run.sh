#!/usr/bin/env bash
set -euo pipefail
# MT5K: several corpora and pseudo-labelled recordings to one model that transcribes and translates, and its table of results.

stage=0
stop_stage=5
corpora_dir=corpora  # has a folder, or a link to one, of the name of each corpus that is used, see README.md
work_dir=            # where data, dump and exp are written; the recipe's folder if empty
mixture=mixture      # a file of conf/, without .yaml: which corpora are trained on, and how much of each
dev_sets="aishell2/dev_ios librispeech/dev-clean"
test_sets="aishell1 aishell2_ios magicdata thchs30 fleurs_zh_dev fleurs_zh_test \
librispeech_clean librispeech_other fleurs_en_dev fleurs_en_test gigaspeech_dev gigaspeech_test covost1 covost2 ccmt2019"
label_model=         # recogniser that transcribes own, which else has its text already
second_label_model=  # a second recogniser, which has to agree
label_options=       # further options of mooer-pseudo-label for both, as "--min_confidence 0.9"
translation_model=   # translates into English what label_model writes, and the transcripts of the corpora of translated
translated="aishell2 multi_cn wenetspeech"
translation_options= # further options of mooer-pseudo-label for it, as "--source_language zh --max_length_ratio 3"
conf=mooer_7b        # a file of conf/, without .yaml: the model and its training
changes=             # values of the configuration to change, as "training.max_epochs=1 data.seed=2"
translation_task=ast # what the model is asked for on translation test sets: ast, or mtl (transcript and translation)
vocab_size=5000      # tokens, for configurations without a pretrained LLM
num_processes=1      # training processes, one an accelerator
num_workers=4        # processes that read recordings
beam_size=4
batch_seconds=120    # seconds of speech decoded at a time
device=auto

help_message="usage: run.sh --corpora_dir DIR [--stage N] [--stop_stage M] [--conf NAME] [--label_model DIR] [--translation_model DIR] ...

  0 data directories, 1 pseudo-labels and CMVN, 2 shards and tokenizer, 3 training, 4 decoding, 5 scores and their table
  --corpora_dir DIR    has a folder, or a link to one, of the name of each corpus that is used (default: corpora)
  --work_dir DIR       where data, dump and exp are written (default: the recipe's folder)
  --mixture NAME       a file of conf/, without .yaml: which corpora are trained on, and how much of each (default: mixture)
  --dev_sets 'CORPUS/SET ...'           (default: $dev_sets)
  --test_sets 'NAME ...'                (default: all of the table)
  --label_model DIR    recogniser that transcribes own, which else has its text already
  --second_label_model DIR              a second recogniser, which has to agree
  --label_options '--NAME VALUE ...'    further options of mooer-pseudo-label for both
  --translation_model DIR    translates into English what label_model writes, and the transcripts of the corpora of --translated
  --translated 'CORPUS ...'             (default: $translated)
  --translation_options '--NAME VALUE ...'    further options of mooer-pseudo-label for it
  --conf NAME          a file of conf/, without .yaml: the model and its training (default: mooer_7b)
  --changes 'KEY=VALUE ...'    values of the configuration to change, as training.max_epochs=1
  --translation_task ast|mtl   what the model is asked for on translation test sets (default: ast)
  --vocab_size N       tokens, for configurations without a pretrained LLM (default 5000)
  --num_processes N    training processes, one an accelerator (default 1)
  --num_workers N      processes that read recordings (default 4)
  --beam_size N, --batch_seconds S, --device auto|cpu|cuda|musa"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
. "$recipe/../../tools/stages.sh"
. "$recipe/local/steps.sh"
. "$recipe/local/corpora.sh"
. "$recipe/local/training_sets.sh"
. "$recipe/local/plan.sh"
. "$recipe/path.sh"
mkdir -p "${work_dir:=$recipe}"
cd "$work_dir"
exp="exp/$conf"

if begins 0 "data directories"; then
  for set in $all_sets; do
    once "$set" "data/${set%/*}/.${set#*/}.prepared" "$corpora_dir" prepare_set "$set" "$corpora_dir"
  done
  whole 1
fi

if begins 1 "pseudo-labels and CMVN"; then
  for set in $sets_to_label; do
    choose_models "$set"
    once "$set" "data/$set.labelled/.labelled" "$(tables "data/$set") ${models[*]}" \
      mooer-pseudo-label --data_dir "data/$set" --output_dir "data/$set.labelled" --device "$device" "${models[@]}"
  done
  if grep -q "cmvn_path: data/am.mvn" "$conf_file"; then
    first="$(labelled "${train_sets%% *}")"
    once "CMVN" data/.cmvn "$(tables "$first")" \
      mooer-compute-cmvn --data_dir "$first" --output_file data/am.mvn --num_workers "$num_workers"
  fi
  whole 2
fi

if begins 2 "shards and tokenizer"; then
  for corpus in $train_corpora; do join_lists "dump/$corpus" $(sets_to_train_on "$corpus"); done
  join_lists dump/dev $dev_sets
  if grep -q "tokenizer_path: data/tokenizer" "$conf_file"; then
    texts=()
    for set in $train_sets; do texts+=("$(labelled "$set")"/text*); done
    once "tokenizer" data/.tokenizer "$vocab_size $(cat "${texts[@]}" | cksum)" \
      mooer-build-tokenizer --text "${texts[@]}" --vocab_size "$vocab_size" --output_dir data/tokenizer
  fi
  whole 3
fi

if begins 3 "training ($conf)"; then
  read -r -a changed <<< "$changes"
  launch_training "$num_processes" --config "$conf_file" --output_dir "$exp" --device "$device" --resume \
    --set "data.mixture=$recipe/conf/$mixture.yaml" "${changed[@]/#/--set=}"
fi

if begins 4 "decoding"; then
  for task in asr "$translation_task"; do
    sets=()
    for name in $test_sets; do
      if [ "$(task_of "$name")" = "$task" ]; then sets+=(--set "$name=data/$(set_to_test_on "$name")"); fi
    done
    if [ ${#sets[@]} -eq 0 ]; then continue; fi
    complete "the test sets ($task)" python "$recipe/local/decode_test_sets.py" "${sets[@]}" --output_dir "$exp/results" --task "$task" \
      --model_dir "$exp/final" --beam_size "$beam_size" --batch_seconds "$batch_seconds" --device "$device" || true
  done
  whole 5
fi

if begins 5 "scores and their table"; then
  for name in $test_sets; do
    metric="$(metric_of "$name")"
    reference="data/$(set_to_test_on "$name")/text"
    hypotheses="$exp/results/$name/1best_recog/text"
    if [ "$metric" = bleu ]; then
      reference+=.en
      [ "$translation_task" = ast ] || hypotheses+=.ast
    fi
    mooer-score --ref "$reference" --hyp "$hypotheses" --metric "$metric" --output_dir "$exp/results/$name/$metric" --top 0 > /dev/null
  done
  python "$recipe/local/results_table.py" --published --system "$conf=$exp/results" | tee "$exp/results/table.md.part"
  mv "$exp/results/table.md.part" "$exp/results/table.md"
fi
