// Command replay tells what affinity would save, and how even it would leave the auths. It
// replays a trace of requests against several ways of placing them, through the real code, on
// a virtual clock. README.md says how it is used.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/spf13/pflag"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/virtual"
)

func main() {
	c, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	virtual.Main(func(t *testing.T, out io.Writer) error { return c.run(t, out) })
}
