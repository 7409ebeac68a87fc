package rediscache_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// After all tests, also those with faults, no goroutine of a store is left.
func TestMain(m *testing.M) {
	code := m.Run()
	if g := left(); g != "" {
		fmt.Fprintf(os.Stderr, "all stores are closed, but this goroutine of a store still runs:\n%s\n", g)
		code = 1
	}
	os.Exit(code)
}

// left waits until no goroutine of a store or of its client runs. It returns the stack of one that
// still runs after ten seconds.
func left() (stack string) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if stack = running(); stack == "" || time.Now().After(end) {
			return stack
		}
	}
}

func running() string {
	buf := make([]byte, 1<<16)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	for g := range strings.SplitSeq(string(buf[:n]), "\n\n") {
		if strings.Contains(g, "redis/rueidis") || strings.Contains(g, "rediscache.(") || strings.Contains(g, "fallback.(") {
			return g
		}
	}
	return ""
}
