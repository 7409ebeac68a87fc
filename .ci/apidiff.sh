#!/usr/bin/env bash
# Compares the public API with the last release, module by module. A change that breaks a
# user's code needs another minor version before v1, and another major version from v1 on.
# The version that is being prepared is the one that the nested modules require of the library.
# The files of .ci/api show every change; this shows which changes break code.
set -euo pipefail
cd "$(dirname "$0")/.."
apidiff=$(mktemp -d)/apidiff
old=$(mktemp -d)
trap 'rm -rf "$(dirname "$apidiff")" "$old"' EXIT

next=$(sed -n "s|.*$(go list -m) ||p" affinity/affinityprom/go.mod | grep -v '=>')
failed=0
modules=$(.ci/release modules)
for dir in $modules; do
  case $dir in examples/*) continue ;; esac # users configure it, and do not call its code
  prefix=${dir#.}
  prefix=${prefix:+$prefix/}
  tag=$(git tag --merged HEAD --list "${prefix}v[0-9]*" --sort=-version:refname | head -n1)
  if [ -z "$tag" ]; then
    echo "apidiff: $dir has no release yet, so there is nothing to compare with"
    continue
  fi
  [ -x "$apidiff" ] || (cd .ci/tools && go build -o "$apidiff" golang.org/x/exp/cmd/apidiff)
  [ -d "$old/$tag" ] || { mkdir -p "$old/$tag" && git archive "$tag" | tar -x -C "$old/$tag"; }
  (cd "$old/$tag/$dir" && "$apidiff" -m -w "$old/export" "$(go list -m)") 2>"$old/stderr" || { cat "$old/stderr" && exit 1; }
  said=$(cd "$dir" && "$apidiff" -m -incompatible "$old/export" "$(go list -m)" 2>"$old/stderr") || { cat "$old/stderr" && exit 1; }
  release=${tag##*/}
  [ -n "$said" ] || { echo "apidiff: $dir is compatible with $release" && continue; }
  printf 'apidiff: %s is not compatible with %s:\n%s\n' "$dir" "$release" "$said"
  case $release in
  v0.*) allowed=$([ "${next%.*}" != "${release%.*}" ] && echo yes || true) ;;
  *) allowed=$([ "${next%%.*}" != "${release%%.*}" ] && echo yes || true) ;;
  esac
  if [ -z "$allowed" ]; then
    echo "This change needs a later version than $next: run .ci/release VERSION -require, and describe the change in .github/CHANGELOG.md"
    failed=1
  fi
done
exit "$failed"
