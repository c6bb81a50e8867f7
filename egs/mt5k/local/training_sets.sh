# Source this file in run.sh: which sets to train on get labels by models, by which models, and the lists of all.

# gets_labels CORPUS: whether models label it: own by --label_model, others by --translation_model only.
gets_labels() {
  [ "$1" = own ] && [ -n "$label_model" ] || { [ -n "$translation_model" ] && [[ " $translated " = *" $1 "* ]]; }
}

# choose_models CORPUS/SET: sets `models` to the options of mooer-pseudo-label that it needs.
choose_models() {
  local extra
  models=()
  if [ "$1" = own/train ] && [ -n "$label_model" ]; then
    read -r -a extra <<< "$label_options"
    models+=(--model_dir "$label_model" "${extra[@]}")
    [ -z "$second_label_model" ] || models+=(--second_model_dir "$second_label_model")
  fi
  if [ -n "$translation_model" ]; then
    read -r -a extra <<< "$translation_options"
    models+=(--translation_model "$translation_model" --target_language en "${extra[@]}")
  fi
}

# labelled CORPUS/SET: its data directory, the one with labels by models where there is one. Its report is written last.
labelled() {
  if [ -f "data/$1.labelled/report.json" ]; then echo "data/$1.labelled"; else echo "data/$1"; fi
}

# join_lists DIR CORPUS/SET...: packs each set as shards into dump/CORPUS/SET, and writes DIR/data.list, which has them all.
join_lists() {
  local set data
  for set in "${@:2}"; do
    data="$(labelled "$set")"
    [ -f "$data/text" ] || refuse "$data has no text; stage 1 labels it with --label_model"
    once "$set" "dump/$set/.packed" "$(tables "$data")" \
      mooer-make-list --data_dir "$data" --output_dir "dump/$set" --audio_format flac --num_workers "$num_workers"
  done
  mkdir -p "$1"
  # A list names its shards from its own folder, dump/NAME.
  for set in "${@:2}"; do sed "s|^|../$set/|" "dump/$set/data.list"; done > "$1/data.list.part"
  mv "$1/data.list.part" "$1/data.list"
}
