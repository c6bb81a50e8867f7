#!/usr/bin/env bash
set -euo pipefail
# Downloads a file, going on where an earlier attempt stopped, and checks its MD5 sum. A file that is there already is not
# fetched again.

help_message="usage: tools/fetch.sh URL MD5 FILE"
[ $# -eq 3 ] || { echo "$help_message" >&2; exit 2; }
url="$1" md5="$2" file="$3"

[ -f "$file" ] && exit 0
mkdir -p "$(dirname "$file")"
command -v curl > /dev/null || { echo "fetch.sh: curl is needed to download $url" >&2; exit 2; }
if ! curl --fail --location --retry 5 --connect-timeout 30 --continue-at - --output "$file.part" "$url"; then
  echo "fetch.sh: $url could not be downloaded; run again to go on, or give an existing copy with --data_dir" >&2
  exit 1
fi
if ! echo "$md5  $file.part" | md5sum --check --status; then
  echo "fetch.sh: $file.part has another MD5 sum than $md5; remove it and run again" >&2
  exit 1
fi
mv "$file.part" "$file"
