// Package virtual gives a command a virtual clock. Inside a bubble of testing/synctest,
// time.Now returns the bubble's own time, which advances only when all its goroutines sleep.
// So hours of a trace pass in a second. The library that is measured is the real one, with no
// hook for a clock.
//
// A bubble needs a *testing.T. Main makes one in a command. It uses testing.Main, which Go
// keeps for systems that run tests without "go test".
package virtual

import (
	"flag"
	"fmt"
	"io"
	"os"
	"testing"
)

// Main runs work with a *testing.T, and ends the process: with 0, or with 1 if work has
// returned an error, which is written to stderr. out is the process's stdout.
func Main(work func(t *testing.T, out io.Writer) error) {
	testing.Init()
	// The command has read its arguments. The testing package must not read them, too.
	if err := flag.CommandLine.Parse(nil); err != nil {
		panic(err) // there are no arguments
	}
	// The testing package writes PASS or FAIL to os.Stdout, which is not part of our output.
	out := os.Stdout
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stdout = null
	} else {
		os.Stdout = os.Stderr
	}
	testing.Main(
		func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "replay", F: func(t *testing.T) {
			if err := work(t, out); err != nil {
				fmt.Fprintln(os.Stderr, err)
				t.Fail()
			}
		}}},
		nil, nil,
	)
}
