// Package convert makes traces out of files of public data sets, in the format that package trace
// reads.
package convert

import (
	"fmt"
	"io"
	"time"
)

// Sources are the names of what can be converted.
var Sources = []string{"kv-cache-tester", "tau-bench"}

// Options are for sources that have times, which is kv-cache-tester.
type Options struct {
	// Idle is how long a pause of a session may be; longer ones are cut. 0 leaves them as they are.
	Idle time.Duration
	// AtOnce is how many sessions run at the same time; 0 is all of them. The next one begins when
	// one has ended.
	AtOnce int
	// Only are the sessions that are written, by the numbers that they have without it. If it is
	// nil, all are.
	Only []int
}

// Convert reads a file or folder of a source, and writes a trace.
func Convert(w io.Writer, source, path string, o Options) error {
	switch source {
	case "kv-cache-tester":
		return kvCacheTester(w, path, o)
	case "tau-bench":
		return tauBench(w, path)
	}
	return fmt.Errorf("unknown source %q, want one of %v", source, Sources)
}
