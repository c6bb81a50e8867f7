#!/usr/bin/env bash
set -euo pipefail
# Mandarin speech in, English speech out, from nothing on two CPU cores: synthetic speech, audio tokens by k-means, an LLM that writes
# a translation and then its audio tokens, and a vocoder that speaks the LLM's hidden states. Nothing is downloaded. The packaged
# recogniser of egs/mini says how much of it can be understood.

stage=-1
stop_stage=5
work_dir=            # where data, dump and exp are written; the recipe's folder if empty
num_train=5000       # training utterances
num_test=200         # test utterances
vocab_size=640       # most tokens beside those of audio
num_audio_tokens=200 # sounds
seed=1               # of the synthetic speech; the training files have their own
num_processes=2      # training processes, one thread each
num_workers=2        # processes that synthesise and read recordings
conf=mooer           # of conf/: the LLM; what it starts from is trained first
vocoder_conf=vocoder # of conf/: the vocoder, the same; vocoder_mel is one without discriminators
conf_dir=            # folder with these files; the recipe's conf if empty
device=cpu

help_message="usage: run.sh [--stage N] [--stop_stage M] [--work_dir DIR] ...

  -1 download (none), 0 synthetic speech, 1 CMVN and audio tokens, 2 tokenizers and lists, 3 training of encoder and LLM,
  4 latents and training of the vocoder, 5 spoken translations, what the packaged recogniser hears in them, pictures
  --work_dir DIR        where data, dump and exp are written (default: the recipe's folder)
  --num_train N         training utterances (default 5000)
  --num_test N          test utterances (default 200)
  --vocab_size N        most tokens beside those of audio (default 640)
  --num_audio_tokens N  sounds (default 200)
  --seed N              of the synthetic speech (default 1)
  --num_processes N     training processes, one thread each (default 2)
  --num_workers N       processes that synthesise and read recordings (default 2)
  --conf NAME           of conf/: the LLM (default mooer); what it starts from is trained first
  --vocoder_conf NAME   of conf/: the vocoder (default vocoder), the same; vocoder_mel is one without discriminators
  --conf_dir DIR        folder with these files (default: the recipe's conf)
  --device auto|cpu|cuda|musa          (default cpu)"

recipe="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$recipe/../../tools/parse_options.sh"
[ -z "$conf_dir" ] || conf_dir="$(realpath "$conf_dir")"
. "$recipe/../../tools/stages.sh"
require_conf "$conf" "$vocoder_conf"
. "$recipe/path.sh"
mkdir -p "${work_dir:-$recipe}"
cd "${work_dir:-$recipe}"
export OMP_NUM_THREADS=1
speech="$num_train $num_test $seed"
tokens="$speech $num_audio_tokens"
lists="$tokens $vocab_size"
sounds="data/sounds_${speech// /_}_$num_audio_tokens.safetensors"
llm="exp/$conf" vocoder="exp/$vocoder_conf"

if begins -1 "nothing to download: the synthesiser comes with the environment"; then
  python -c "import espeakng_loader"
fi

if begins 0 "synthetic speech: Mandarin, and its translations"; then
  if ! finished data/.prepared "$speech"; then
    python "$recipe/local/speak_pairs.py" --output_dir data --num_train "$num_train" --num_test "$num_test" --seed "$seed" \
      --num_jobs "$num_workers"
    for name in train dev test; do mooer-check-data --data_dir "data/$name" --num_workers "$num_workers"; done
    finish data/.prepared "$speech"
  fi
fi

if begins 1 "CMVN over the training set, audio tokens of the translations"; then
  if ! finished data/.tokens "$tokens"; then
    mooer-compute-cmvn --data_dir data/train --output_file data/train/am.mvn --num_workers "$num_workers"
    learning=(--num_tokens "$num_audio_tokens" --learn_utterances 300 --starts 1)
    for name in train dev test; do
      mooer-tokenize-speech --data_dir "data/${name}_target" --tokenizer_path "$sounds" --output_file "data/$name/text.audio" \
        --num_workers "$num_workers" --resume "${learning[@]}"
      learning=()
    done
    finish data/.tokens "$tokens"
  fi
fi

if begins 2 "tokenizers and lists"; then
  if ! finished dump/.packed "$lists"; then
    for name in train dev test; do
      mooer-make-list --data_dir "data/$name" --output_dir "dump/$name" --format raw --num_workers "$num_workers"
    done
    mooer-build-tokenizer --text data/train/text --vocab_size "$vocab_size" --output_dir data/tokenizer
    mooer-build-tokenizer --text data/train/text.en --vocab_size "$vocab_size" --audio_tokens "$num_audio_tokens" \
      --output_dir data/speech_tokenizer
    finish dump/.packed "$lists"
  fi
fi

if begins 3 "training of encoder and LLM"; then
  train_chain "$conf" "$lists"
fi

if begins 4 "latents, training of the vocoder"; then
  trained="$(cat "$llm/.trained")"
  for name in train dev test; do
    if ! finished "dump/latents_$name/.dumped" "$trained"; then
      mooer-dump-latents --model_dir "$llm/final" --data_list "dump/$name/data.list" --target_dir "data/${name}_target" \
        --output_dir "dump/latents_$name" --device "$device" --resume
      finish "dump/latents_$name/.dumped" "$trained"
    fi
  done
  train_chain "$vocoder_conf" "$trained"
fi

if begins 5 "translating into speech, and hearing it"; then
  rm -rf exp/decode
  # A translation without speech counts as missing.
  mooer-speak --task s2s_trans --model_dir "$llm/final" --vocoder_path "$vocoder/final/vocoder.safetensors" \
    --vocoder_config "$vocoder/final/config.json" --wav_scp data/test/wav.scp --greedy --max_new_tokens 200 \
    --device "$device" --output_dir exp/decode/text > /dev/null || [ $? -eq 1 ]
  python "$recipe/local/copy_synthesis.py" --data_list dump/latents_test/data.list --vocoder_dir "$vocoder/final" \
    --output_dir exp/decode/wav_copy
  mkdir -p exp/decode/wav_speech exp/decode/heard
  for wav in exp/decode/text/*.wav; do
    echo "$(basename "$wav" .wav) ../text/$(basename "$wav")"
  done > exp/decode/wav_speech/wav.scp
  for name in data/test_target exp/decode/wav_copy exp/decode/wav_speech; do
    bash "$MOOER_ROOT/tools/join_sets.sh" "$name" | sed "s|^|$(basename "$name"):|"
  done > exp/decode/heard/wav.scp
  mooer-decode --model_dir mini --task asr --wav_scp exp/decode/heard/wav.scp --device "$device" \
    --output_dir exp/decode/heard > /dev/null || [ $? -eq 1 ]
  python "$recipe/local/spectrograms.py" reference=data/test_target/wav.scp "copy synthesis=exp/decode/wav_copy/wav.scp" \
    translation=exp/decode/wav_speech/wav.scp --text data/test/text.en --output_dir exp/decode/pictures
  python "$recipe/local/table.py" --data_dir data/test --decode_dir exp/decode
fi
