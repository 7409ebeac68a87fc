package rediscache_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// After all tests, those with faults among them, no goroutine of a store is left.
func TestMain(m *testing.M) {
	code := m.Run()
	if g := left(); g != "" {
		fmt.Fprintf(os.Stderr, "after all tests this goroutine is left:\n%s\n", g)
		code = 1
	}
	os.Exit(code)
}

// left is a goroutine of a store or of its client that does not end in ten seconds.
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
