#!/usr/bin/env bash
# Measures everything, five times unless another number is given, each time in processes of
# their own. It needs two cores with nothing else to do and 4 GB of memory.
#
#	bash run.sh >results.txt
#	go run ./table README.md <results.txt
set -euo pipefail
cd "$(dirname "$0")"
runs=${1:-5}
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
echo "machine: $(nproc) cores, $(go version | cut -d" " -f3)"
go test -c -o "$dir/benchmarks.test" .
# measure CORES TIME BENCHMARKS; a name that is not run at all is found by the command table.
measure() {
  "$dir/benchmarks.test" -test.run '^$' -test.cpu "$1" -test.benchtime "$2" -test.bench "$3"
}
for ((i = 1; i <= runs; i++)); do
  echo "run $i of $runs, $SECONDS s" >&2
  measure 1 0.1s '^Benchmark(Pick|Place|Decision)$'
  measure 1 0.05s '^Benchmark(Content|Conversation|Identity)$'
  measure 1 0.1s '^BenchmarkNewInAFullStore$'
  measure 1,2 0.1s '^Benchmark(Hit|Cores)$'
  measure 2 20x '^BenchmarkInvalidateAuth$/./^who=llmaffinity$'
  measure 2 1x '^BenchmarkSessions$/^key=one$/./././^who=(llmaffinity|floor)$'
done
# What others hold, and how long it takes to search them, needs more time than it is worth
# five times.
echo "the rest, $SECONDS s" >&2
measure 2 1x '^BenchmarkInvalidateAuth$/./^who=[^l]'
measure 2 1x '^BenchmarkSessions$/^key=one$/./././^who=[^lf]'
measure 2 1x '^BenchmarkSessions$/^key=content$'
measure 2 1x '^Benchmark(Held|Stay)$'
