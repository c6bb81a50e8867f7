# Source this file in a recipe, after parse_options.sh: checks of its settings, stages and their finish markers.

# Where the training files are: the recipe's conf/, or the setting conf_dir of a recipe that has it.
conf_dir="${conf_dir:-$recipe/conf}"

# require_conf NAME...: ends the recipe where conf/NAME.yaml is missing.
require_conf() {
  local name
  for name in "$@"; do
    [ -f "$conf_dir/$name.yaml" ] || { echo "run.sh: there is no conf/$name.yaml" >&2; exit 2; }
  done
}

# chain_of NAME: the files of conf/ whose models conf/NAME.yaml starts from, as exp/OTHER/final or a file there, in order, and
# NAME itself.
chain_of() {
  local other
  require_conf "$1"
  for other in $(sed -nE 's#^ *([a-z]*_)?path: exp/([^/]*)/final(/[^/]*)?$#\2#p' "$conf_dir/$1.yaml"); do
    chain_of "$other"
  done
  echo "$1"
}

# require_folder DIR...: ends the recipe where a folder that is named is missing; an empty name asks for none.
require_folder() {
  local folder
  for folder in "$@"; do
    [ -z "$folder" ] || [ -d "$folder" ] || { echo "run.sh: folder $folder does not exist" >&2; exit 2; }
  done
}

# begins N "what it does": whether stage N is between stage and stop_stage; says so if it is.
begins() {
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  echo "$(date +%H:%M:%S) stage $1: $2" >&2
}

# finished MARKER [SETTINGS]: whether MARKER was written by `finish` under the same settings. Remove it to do the work again.
finished() {
  [ -f "$1" ] && [ "$(cat "$1")" = "${2:-}" ] && echo "$1 says that this is done already" >&2
}

# finish MARKER [SETTINGS]: written last, when all that it stands for is there.
finish() {
  echo "${2:-}" > "$1"
}

# launch_training PROCESSES OPTION...: mooer-train in one process or, by torchrun, in several.
launch_training() {
  local processes="$1"
  shift
  if [ "$processes" -gt 1 ]; then
    torchrun --standalone --nproc_per_node "$processes" "$MOOER_ROOT/bin/train.py" "$@"
  else
    mooer-train "$@"
  fi
}

# train_chain NAME SETTINGS OPTION...: trains what chain_of NAME lists, each in exp/, unless it was finished under the same
# settings by the same files; OPTIONs are mooer-train's. Reads num_processes and device.
train_chain() {
  local chain name settings
  chain="$(chain_of "$1")" || exit 2
  for name in $chain; do
    settings="$2 $(chain_of "$name" | sed "s|.*|$conf_dir/&.yaml|" | xargs -d '\n' cat | cksum)"
    if ! finished "exp/$name/.trained" "$settings"; then
      launch_training "$num_processes" --config "$conf_dir/$name.yaml" --output_dir "exp/$name" --device "$device" --resume "${@:3}"
      finish "exp/$name/.trained" "$settings"
    fi
  done
}
