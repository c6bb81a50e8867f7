# Source this file after the settings: every `--name value` (or --name=value, --some-name) on the command line sets the
# variable of that name, which must be among the settings already. A word that belongs to no option is an error.
#   stage=0
#   help_message="usage: ..."
#   . parse_options.sh
# Only variables in lower case are settings. A setting that holds a whole number or true/false only takes the like: a test such
# as [ "$stage" -le 0 ] would treat anything else as false and pass a stage by in silence.

option_error() {
  echo "$(basename "$0"): $1" >&2
  echo "${help_message:-}" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      echo "${help_message:-no help for $(basename "$0")}"
      exit 0
      ;;
    --*=*)
      option_value="${1#*=}"
      option_words=1
      ;;
    --*)
      [ $# -ge 2 ] || option_error "option $1 needs a value"
      option_value="$2"
      option_words=2
      ;;
    *) option_error "$1 belongs to no option" ;;
  esac
  option_name="${1#--}"
  option_name="${option_name%%=*}"
  option_name="${option_name//-/_}"
  [[ "$option_name" =~ ^[a-z][a-z0-9_]*$ && "$option_name" != option_* && "$option_name" != help_message ]] \
    && [ -n "${!option_name+set}" ] || option_error "unknown option $1"
  if [[ "${!option_name}" =~ ^-?[0-9]+$ ]] && ! [[ "$option_value" =~ ^-?[0-9]+$ ]]; then
    option_error "--$option_name takes a whole number, found '$option_value'"
  fi
  if [[ "${!option_name}" =~ ^(true|false)$ ]] && ! [[ "$option_value" =~ ^(true|false)$ ]]; then
    option_error "--$option_name takes true or false, found '$option_value'"
  fi
  printf -v "$option_name" '%s' "$option_value"
  shift "$option_words"
done
unset option_name option_value option_words
unset -f option_error
