#!/usr/bin/env bash
# Counts the instructions of one round of a benchmark, by package and by function, with callgrind
# (apt-get install valgrind). Unlike times, they are the same on a busy machine. The clock is a
# system call under valgrind, so what the kernel does for it is not counted.
#
#	bash instructions.sh BENCHMARK [SESSIONS [ROUNDS]]
#	bash instructions.sh 'Pick/^candidates=8$/^sessions=1$/./^body=2KB$/^report=no$/^who=llmaffinity$'
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
go test -c -o "$dir/benchmarks.test" .
# count ROUNDS FILE
count() {
  GODEBUG=cpu.avx512f=off,cpu.rdtscp=off,asyncpreemptoff=1 GOGC=off valgrind --tool=callgrind --callgrind-out-file="$2" \
    "$dir/benchmarks.test" -test.run '^$' -test.cpu 1 -test.benchtime "$1x" -test.bench "^Benchmark$bench" -sessions "$sessions" >"$dir/out" 2>&1 ||
    { cat "$dir/out" >&2; exit 1; }
  grep -q ns/op "$dir/out" || { echo "no benchmark has this name" >&2; exit 1; }
}
bench=$1 sessions=${2:-1} more=${3:-20000} few=1000
count $few "$dir/few"
count $((few + more)) "$dir/many"
# Lines that begin with a number are costs of the last function named by fn=, but for the line
# behind calls=, which is the cost of the function that was called.
awk -v rounds=$more '
  { sign = FILENAME ~ /few$/ ? -1 : 1 }
  match($0, /^c?fn=\([0-9]+\)/) {
    id = substr($0, 1, RLENGTH); sub(/^c?fn=/, "", id)
    if (length($0) > RLENGTH) { name = substr($0, RLENGTH + 2); sub(/\047[0-9]+$/, "", name); names[FILENAME, id] = name }
    if ($0 ~ /^fn/) now = names[FILENAME, id]
    next
  }
  /^calls=/ { called = 1; next }
  /^[-+*0-9]/ { if (called) called = 0; else cost[now] += sign * $2 }
  END {
    for (f in cost) {
      n = cost[f] / rounds
      if (n < 0.5) continue
      package = f
      sub(/\[.*/, "", package)
      sub(/^.*llmaffinity\/llmaffinity\//, "", package)
      at = match(package, /[^\/]*$/); rest = substr(package, at); sub(/\..*/, "", rest)
      package = substr(package, 1, at - 1) rest
      sub(/^.*llmaffinity\/llmaffinity\//, "", f)
      total += n; of[package] += n
      printf "function %6.0f %s\n", n, f | "sort -k2,2nr -k3"
    }
    close("sort -k2,2nr -k3")
    for (p in of) printf "package  %6.0f %s\n", of[p], p | "sort -k2,2nr -k3"
    close("sort -k2,2nr -k3")
    printf "all      %6.0f\n", total
  }' "$dir/few" "$dir/many"
