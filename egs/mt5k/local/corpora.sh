# Source this file in run.sh: which sets the corpora and test sets of this recipe are, and how each becomes a data directory.
# A set is named CORPUS/SET, as its data directory below data/.

# corpora_of MIXTURE: the corpora that a file of conf/ mixes, by its lists dump/CORPUS/data.list.
corpora_of() {
  sed -n -e 's/#.*//' -e 's|.*[{, ]list: *dump/\([^/]*\)/data\.list.*|\1|p' "$1"
}

# sets_to_train_on CORPUS: its sets.
sets_to_train_on() {
  case "$1" in
    multi_cn) echo aishell/train aidatatang/train magicdata/train primewords/train stcmds/train thchs30/train ;;
    wenetspeech | gigaspeech) echo "$1/train_l" ;;
    own | aishell | aishell2 | aidatatang | magicdata | primewords | stcmds | thchs30) echo "$1/train" ;;
    librispeech | fleurs_zh | fleurs_en | covost1 | covost2) echo "$1/train" ;;
    *) refuse "$1 is no corpus to train on; local/corpora.sh knows those that are" ;;
  esac
}

# set_to_test_on TEST_SET: the set of a row of the table of results.
set_to_test_on() {
  case "$1" in
    aishell1) echo aishell/test ;;
    aishell2_ios) echo aishell2/test_ios ;;
    librispeech_clean | librispeech_other) echo "librispeech/test-${1#librispeech_}" ;;
    fleurs_zh_dev | fleurs_zh_test | fleurs_en_dev | fleurs_en_test | gigaspeech_dev | gigaspeech_test) echo "${1%_*}/${1##*_}" ;;
    magicdata | thchs30 | covost1 | covost2) echo "$1/test" ;;
    ccmt2019) echo ccmt2019/dev ;;
    *) refuse "$1 is no test set of local/results_table.py" ;;
  esac
}

# metric_of TEST_SET: how it is scored there.
metric_of() {
  case "$1" in
    covost* | ccmt*) echo bleu ;;
    librispeech_* | fleurs_en_* | gigaspeech_*) echo wer ;;
    *) echo cer ;;
  esac
}

# task_of TEST_SET: what the model is asked for there.
task_of() {
  if [ "$(metric_of "$1")" = bleu ]; then echo "$translation_task"; else echo asr; fi
}

# prepare_set CORPUS/SET CORPORA_DIR: writes data/CORPUS/SET from CORPORA_DIR/CORPUS. Recordings are not decoded here but when
# they are labelled or packed: doing it twice would take days.
prepare_set() {
  local corpus="${1%/*}" set="${1#*/}"
  local script="prepare_$corpus.py" options=(--set "$set")
  case "$corpus" in
    own) # is a data directory already
      mkdir -p data/own && rm -f data/own/train && ln -s "$2/own" data/own/train || return 2
      return
      ;;
    aishell)
      script=../../aishell/local/prepare_aishell.py
      options=() # writes train, dev and test at once
      ;;
    librispeech)
      script=../../librispeech/local/prepare_librispeech.py
      [ "$set" != train ] || options=(--set train=train-clean-100,train-clean-360,train-other-500)
      ;;
    wenetspeech) script=../../wenetspeech/local/prepare_wenetspeech.py ;;
    fleurs_*) script=prepare_fleurs.py ;;
    covost*)
      script=prepare_covost.py
      options+=(--version "${corpus#covost}")
      ;;
  esac
  python "$recipe/local/$script" --corpus_dir "$2/$corpus" --output_dir "data/$corpus" "${options[@]}"
}
