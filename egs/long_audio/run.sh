#!/usr/bin/env bash
set -euo pipefail
# Long recordings to text with marks, times and speakers, all models trained on this machine: voice activity detection,
# recognition, punctuation. Conversations of synthetic voices, of which everything is known. Nothing is downloaded.

stage=-1
stop_stage=5
work_dir=              # where data, dump and exp are written; the recipe's folder if empty
num_sentences=6000     # spoken ones to train on
num_joined=240         # recordings to train voice activity detection on
num_paragraphs=3000    # written ones in each language to train punctuation on
num_conversations=2    # in each language
minutes=3              # of each conversation
seed=1                 # of all that is synthetic; the training files have their own
num_processes=2        # training processes, one thread each
asr_dir=               # recogniser to use in the place of the one trained here, such as ../mini/exp/encoder_ctc/final
spk_dir=               # CAM++ to tell speakers apart with, such as ../speakers/exp/campplus_small/whitened; empty: nobody is
num_speakers=          # in each conversation; empty: found out
max_end_silence_ms=500 # pause that ends a segment
device=cpu
changes=               # values of the training files to change, as "training.max_steps=5"

help_message="usage: run.sh [--stage N] [--stop_stage M] [--work_dir DIR] ...

  -1 download (none), 0 synthetic speech and text, 1 CMVN, 2 tokenizers and lists, 3 training, 4 transcribing, 5 scoring
  --work_dir DIR           where data, dump and exp are written (default: the recipe's folder)
  --num_sentences N        spoken sentences to train on (default 6000)
  --num_joined N           recordings to train voice activity detection on (default 240)
  --num_paragraphs N       paragraphs in each language to train punctuation on (default 3000)
  --num_conversations N    conversations in each language (default 2)
  --minutes N              length of each (default 3)
  --seed N                 of all that is synthetic (default 1)
  --num_processes N        training processes, one thread each (default 2)
  --asr_dir DIR            recogniser in the place of the one trained here
  --spk_dir DIR            published CAM++ to tell speakers apart with (default: none)
  --num_speakers N         speakers of each conversation (default: found out)
  --max_end_silence_ms N   pause that ends a segment (default 500)
  --device auto|cpu|cuda|musa          (default cpu)
  --changes 'KEY=VALUE ...'            values of the training files to change, as training.max_steps=5"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
. "$recipe/../../tools/stages.sh"
require_folder "$asr_dir" "$spk_dir"
asr_dir="${asr_dir:+$(realpath "$asr_dir")}" spk_dir="${spk_dir:+$(realpath "$spk_dir")}"
. "$recipe/path.sh"
mkdir -p "${work_dir:-$recipe}"
cd "${work_dir:-$recipe}"
export OMP_NUM_THREADS=1
local="$recipe/local"
speech="$num_sentences $num_joined $seed"
text="$num_paragraphs $seed"
conversations="$num_conversations $minutes $seed"
read -r -a changed <<< "$changes"
models=(vad punctuation)
[ -n "$asr_dir" ] || models+=(recogniser)

make_sentences() { # SET SENTENCES SEED
  python "$local/speak_sentences.py" --output_dir "data/speech_$1" --num_sentences "$2" --surround --seed "$3"
  mooer-check-data --data_dir "data/speech_$1"
}

make_joined() { # SET RECORDINGS SEED
  python "$local/speak_sentences.py" --output_dir "data/clean_$1" --num_sentences "$((2 * $2))" --seed "$3"
  mooer-find-speech --data_dir "data/clean_$1" --output_file "data/clean_$1/text.speech"
  python "$local/join_sentences.py" --sentence_dir "data/clean_$1" --output_dir "data/vad_$1" --num_recordings "$2" --seed "$3"
  mooer-check-data --data_dir "data/vad_$1"
}

if begins -1 "nothing to download: the synthesiser comes with the environment"; then
  python -c "import espeakng_loader"
fi

if begins 0 "synthetic speech and text"; then
  if ! finished data/.speech "$speech"; then
    make_sentences train "$num_sentences" "$((2 * seed))" &
    sentences=$!
    make_sentences dev "$((num_sentences / 40 + 1))" "$((2 * seed + 1))"
    make_joined train "$num_joined" "$((2 * seed))"
    make_joined dev "$((num_joined / 8 + 1))" "$((2 * seed + 1))"
    wait "$sentences"
    finish data/.speech "$speech"
  fi
  if ! finished data/.text "$text"; then
    python "$local/write_text.py" --output_dir data/punctuation --num_train "$num_paragraphs" --seed "$seed"
    finish data/.text "$text"
  fi
  if ! finished data/.conversations "$conversations"; then
    python "$local/speak_conversations.py" --output_dir data/conversations --num_conversations "$num_conversations" \
      --minutes "$minutes" --seed "$seed"
    mooer-check-data --data_dir data/conversations
    finish data/.conversations "$conversations"
  fi
fi

if begins 1 "CMVN over the training sets"; then
  if ! finished data/.cmvn "$speech"; then
    mooer-compute-cmvn --data_dir data/speech_train --output_file data/speech_train/am.mvn
    mooer-compute-cmvn --data_dir data/vad_train --output_file data/vad_train/am.mvn --lfr_m 5
    finish data/.cmvn "$speech"
  fi
fi

if begins 2 "tokenizers and lists"; then
  if ! finished dump/.packed "$speech $text"; then
    for name in speech_train speech_dev vad_train vad_dev; do
      mooer-make-list --data_dir "data/$name" --output_dir "dump/$name" --format raw
    done
    mooer-build-tokenizer --text data/speech_train/text --vocab_size 640 --output_dir data/tokenizer
    mooer-build-tokenizer --text data/punctuation/train.txt --vocab_size 1000 --layout words --output_dir data/punctuation
    finish dump/.packed "$speech $text"
  fi
fi

if begins 3 "training: ${models[*]}"; then
  for name in "${models[@]}"; do
    trained="$speech $text $(cksum < "$recipe/conf/$name.yaml") $changes"
    if ! finished "exp/$name/.trained" "$trained"; then
      launch_training "$num_processes" --config "$recipe/conf/$name.yaml" --output_dir "exp/$name" --device "$device" --resume \
        ${changed[@]+"${changed[@]/#/--set=}"}
      finish "exp/$name/.trained" "$trained"
    fi
  done
fi

if begins 4 "transcribing the conversations, and marks for texts without a mistake"; then
  rm -rf exp/transcribed
  speakers=()
  [ -z "$spk_dir" ] || speakers=(--spk_dir "$spk_dir" --formats rttm,srt ${num_speakers:+--num_speakers "$num_speakers"})
  mooer-transcribe --wav_scp data/conversations/wav.scp --model_dir "${asr_dir:-exp/recogniser/final}" \
    --vad_dir exp/vad/final --punc_dir exp/punctuation/final --max_end_silence_ms "$max_end_silence_ms" \
    ${speakers[@]+"${speakers[@]}"} --device "$device" --output_dir exp/transcribed > /dev/null
  python "$local/punctuate.py" --punc_dir exp/punctuation/final --text data/punctuation/test.txt --output_file exp/punctuated
fi

if begins 5 "scoring"; then
  python "$local/conversation_table.py" --data_dir data --exp_dir exp
fi
