#!/usr/bin/env bash
# Compares the public API with the last release, module by module. What a user's code may
# use must stay, unless the version that is being prepared allows otherwise: another minor
# version before v1, another major version from then on. That version is what the nested
# modules require of the library. The files of .ci/api show every change; this shows which
# of them break.
set -euo pipefail
cd "$(dirname "$0")/.."
apidiff=$(mktemp -d)/apidiff
old=$(mktemp -d)
trap 'rm -rf "$(dirname "$apidiff")" "$old"' EXIT

next=$(sed -n "s|.*$(go list -m) ||p" affinity/affinityprom/go.mod | grep -v '=>')
failed=0
modules=$(.ci/release modules)
for dir in $modules; do
  case $dir in examples/*) continue ;; esac # configured like a program, not called
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
    echo "That needs another version than $next: .ci/release VERSION -require, and a word in .github/CHANGELOG.md"
    failed=1
  fi
done
exit "$failed"
