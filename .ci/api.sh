#!/usr/bin/env bash
# The public API as text, one file a package, so that a change to it is a diff
# that somebody has read. Without arguments: compare. With -update: write.
set -euo pipefail
cd "$(dirname "$0")/.."
for pkg in affinity affinity/affinityadmin affinity/affinityhttp affinity/affinityotel affinity/affinityprom affinity/affinitytest affinity/affinityws affinity/savings cache cache/cachetest cache/fallback cache/rediscache selector sessionid; do
  golden=.ci/api/${pkg//\//-}.txt
  if [ "${1-}" = -update ]; then
    (cd "$pkg" && go doc -all .) > "$golden"
  elif ! diff -u "$golden" <(cd "$pkg" && go doc -all .); then
    echo "The public API of $pkg changed. If that is meant: .ci/api.sh -update" >&2
    exit 1
  fi
done
