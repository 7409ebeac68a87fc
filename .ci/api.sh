#!/usr/bin/env bash
# Compares the public API of each package with its file in .ci/api, so that each change to the
# API is a diff that somebody reads. With -update it writes these files.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$(git ls-files '*.go' | xargs -n1 dirname | sort -u | grep -vE '(^|/)internal(/|$)|^(examples|\.ci)(/|$)')
for pkg in $packages; do
  golden=.ci/api/${pkg//\//-}.txt
  if [ "${1-}" = -update ]; then
    (cd "$pkg" && go doc -all .) > "$golden"
  elif ! diff -u "$golden" <(cd "$pkg" && go doc -all .); then
    echo "The public API of $pkg has changed. If the change is intended, run .ci/api.sh -update" >&2
    exit 1
  fi
done
