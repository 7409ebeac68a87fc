package benchmarks

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/rivals"
)

// BenchmarkInvalidateAuth measures how one of 1,000 auths is taken from its sessions, a thousandth
// of all. Meanwhile sessions are looked up. longest-hit-ns is the time of the longest look-up, and
// quiet-hit-ns that of the longest one in the same length of time without other work; both are the
// medians of all rounds. The rivals have no index of auths, so all their sessions are searched. Run
// it with -cpu 2.
func BenchmarkInvalidateAuth(b *testing.B) {
	n := min(1_000_000, *most)
	order := requests.Order(n, false)
	for _, r := range rivals.All {
		func() {
			c := fill(b, r, n)
			defer c.Close()
			b.Run(fmt.Sprintf("sessions=%d/who=%s", n, r.Name), func(b *testing.B) {
				// longest looks sessions up while do runs.
				longest := func(do func()) time.Duration {
					var began, over atomic.Bool
					most := make(chan time.Duration)
					go func() {
						var d time.Duration
						for i := 0; !over.Load(); i++ {
							k := keyOf(int(order[i&(len(order)-1)]))
							start := time.Now()
							c.Hit(k)
							d = max(d, time.Since(start))
							began.Store(true)
						}
						most <- d
					}()
					for !began.Load() {
						time.Sleep(10 * time.Microsecond)
					}
					do()
					over.Store(true)
					return <-most
				}
				var beside, quiet []time.Duration
				var sum time.Duration
				for i := range b.N {
					auth := i % len(names)
					var took time.Duration
					beside = append(beside, longest(func() {
						start := time.Now()
						dropped := c.Drop(names[auth])
						took = time.Since(start)
						sum += took
						if dropped != n/len(names) {
							b.Errorf("%d sessions have lost their auth, want all sessions of one auth", dropped)
						}
					}))
					quiet = append(quiet, longest(func() {
						for start := time.Now(); time.Since(start) < took; {
						}
					}))
					for s := auth; s < n; s += len(names) {
						c.Add(keyOf(s), names[auth])
					}
				}
				// StopTimer and StartTimer would stop all goroutines, also the one that looks sessions up.
				b.ReportMetric(float64(sum)/float64(b.N), "ns/op")
				slices.Sort(beside)
				slices.Sort(quiet)
				b.ReportMetric(float64(beside[len(beside)/2]), "longest-hit-ns")
				b.ReportMetric(float64(quiet[len(quiet)/2]), "quiet-hit-ns")
			})
		}()
	}
}
