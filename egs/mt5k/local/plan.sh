# Source this file in run.sh, after its settings: what they ask for, and an end to those that cannot work, before anything is
# written. Sets conf_file, train_corpora, train_sets, sets_to_label and all_sets, and makes paths absolute.

require_conf "$mixture" "$conf"
require_folder "$translation_model"
conf_file="$recipe/conf/$conf.yaml"
[[ "$translation_task" =~ ^(ast|mtl)$ ]] || refuse "--translation_task takes ast or mtl, found '$translation_task'"

train_corpora="$(corpora_of "$recipe/conf/$mixture.yaml")"
[ -n "$train_corpora" ] || refuse "conf/$mixture.yaml has no list dump/CORPUS/data.list"
train_sets=
sets_to_label=
tested=
for corpus in $train_corpora; do
  sets="$(sets_to_train_on "$corpus")"
  train_sets+="$sets "
  if gets_labels "$corpus"; then sets_to_label+="$sets "; fi
done
for name in $test_sets; do tested+="$(set_to_test_on "$name") "; done
all_sets="$(printf '%s\n' $train_sets $dev_sets $tested | sort -u)"

for corpus in $translated; do sets_to_train_on "$corpus" > /dev/null; done
for set in $dev_sets; do [[ "$set" = */* ]] || refuse "--dev_sets takes CORPUS/SET, found '$set'"; done
if [ -z "$label_model" ] && [ -n "$second_label_model$label_options" ]; then
  refuse "--second_label_model and --label_options mean nothing without --label_model"
elif [ -z "$translation_model" ] && [ -n "$translation_options" ]; then
  refuse "--translation_options means nothing without --translation_model"
elif [ -n "$label_model" ] && [[ " $train_sets " != *" own/train "* ]]; then
  refuse "--label_model labels own, which is not in conf/$mixture.yaml"
fi

if [ "$stage" -le 0 ]; then
  require_folder "$corpora_dir"
  for set in $all_sets; do require_folder "$corpora_dir/${set%/*}"; done
  if [[ " $train_sets " = *" own/train "* ]] && [ -z "$label_model" ] && [ ! -f "$corpora_dir/own/text" ]; then
    refuse "$corpora_dir/own has no text; name a recogniser that labels it with --label_model"
  fi
  corpora_dir="$(realpath "$corpora_dir")"
fi
for name in label_model second_label_model translation_model; do
  # What is no folder is the name of a packaged model.
  if [ -d "${!name}" ]; then printf -v "$name" '%s' "$(realpath "${!name}")"; fi
done
