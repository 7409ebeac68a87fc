package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const output = `machine: 2 cores, go1.26.8
goos: linux
cpu: Some CPU
BenchmarkPick/sessions=100000/body=2KB/who=llmaffinity   	  184200	      1286 ns/op	      24 B/op	       1 allocs/op
BenchmarkPick/sessions=100000/body=2KB/who=floor         	 1209212	       195.4 ns/op	       0 B/op	       0 allocs/op
BenchmarkPick/sessions=1/body=2KB/who=llmaffinity-2      	  184200	        1200000 ns/op	      24 B/op	       1 allocs/op
PASS
BenchmarkPick/sessions=100000/body=2KB/who=llmaffinity   	  184200	      1000 ns/op	      24 B/op	       1 allocs/op
BenchmarkPick/sessions=100000/body=2KB/who=floor         	 1209212	       100 ns/op	       0 B/op	       0 allocs/op
BenchmarkPick/sessions=100000/body=2KB/who=llmaffinity   	  184200	      1100 ns/op	      24 B/op	       1 allocs/op
BenchmarkPick/sessions=100000/body=2KB/who=floor         	 1209212	       200 ns/op	       0 B/op	       0 allocs/op
BenchmarkSessions/key=one/who=otter 	       1	       178.8 B/session	         0.5 gc-ms
`

func TestTables(t *testing.T) {
	res, err := read(strings.NewReader(output))
	require.NoError(t, err)
	text, err := renew(`before
<!-- machine -->
another
<!-- end -->
<!-- table Pick over=floor -->
old
<!-- end -->
between
<!-- table Pick unit=allocs/op where=sessions:1 -->
<!-- end -->
<!-- table Sessions unit=gc-ms -->
<!-- end -->
after
`, res)
	require.NoError(t, err)
	require.Equal(t, `before
<!-- machine -->
Measured on: 2 cores, go1.26.8, Some CPU. Runs: 3.
<!-- end -->
<!-- table Pick over=floor -->
| sessions | cores | llmaffinity | floor | llmaffinity / floor |
|---|---|---|---|---|
| 100,000 | 1 | 1.10 µs (1 µs–1.29 µs) | 195 ns (100 ns–200 ns) | 6.58× (5.50×–10×) |
| 1 | 2 | 1.20 ms |  |  |
<!-- end -->
between
<!-- table Pick unit=allocs/op where=sessions:1 -->
| llmaffinity |
|---|
| 1 |
<!-- end -->
<!-- table Sessions unit=gc-ms -->
| otter |
|---|
| 0.50 ms |
<!-- end -->
after
`, text)
}

func TestWhatCannotBeMadeIsAnError(t *testing.T) {
	for _, text := range []string{"", "PASS\n", output + "--- FAIL: BenchmarkPick\n", "BenchmarkPick/bound 	 1 	 2 ns/op\n"} {
		_, err := read(strings.NewReader(text))
		require.Error(t, err, text)
	}
	res, err := read(strings.NewReader(output))
	require.NoError(t, err)
	for _, readme := range []string{
		"no table",
		"<!-- table Hit -->\n<!-- end -->",
		"<!-- table Pick unit=miles -->\n<!-- end -->",
		"<!-- table Pick where=sessions:2 -->\n<!-- end -->",
		"<!-- table Pick ovr=floor -->\n<!-- end -->",
	} {
		_, err := renew(readme, res)
		require.Error(t, err, readme)
	}
}
