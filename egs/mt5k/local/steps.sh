# Source this file in run.sh: steps that are not done twice, and stages that go on to their end where a step left something out.

left_out=()

# refuse MESSAGE: ends the recipe for wrong use.
refuse() {
  echo "run.sh: $1" >&2
  exit 2
}

# complete NAME COMMAND...: whether the command did everything. It may leave something out that it names (exit status 1), which
# `whole` remembers by NAME; anything worse ends the recipe.
complete() {
  local status=0
  "${@:2}" || status=$?
  [ "$status" -le 1 ] || exit "$status"
  [ "$status" -eq 0 ] || left_out+=("$1")
  return "$status"
}

# once NAME MARKER SETTINGS COMMAND...: the same, unless MARKER says that all was done under these settings.
once() {
  if finished "$2" "$3"; then return; fi
  rm -f "$2"
  if complete "$1" "${@:4}"; then finish "$2" "$3"; fi
}

# whole NEXT_STAGE: ends the recipe after a stage that left something out.
whole() {
  if [ ${#left_out[@]} -eq 0 ]; then return; fi
  echo "run.sh: of ${left_out[*]} something was left out, see above; if you agree, go on with --stage $1" >&2
  exit 1
}

# tables DIR: a checksum over the tables of a data directory, for a marker's settings.
tables() {
  (cd "$1" && cat wav.scp segments text* || true) 2> /dev/null | cksum
}
