// Command replay shows what affinity would save, and how evenly it would load the auths: what
// the gateway chooses among, such as credentials, accounts or replicas. It replays a trace of
// requests with several policies for placing them, through the real code, on a virtual clock.
// README.md says how to use it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/spf13/pflag"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/convert"
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
	if c.convert != "" {
		if err := convert.Convert(os.Stdout, c.convert, c.source, c.conversion); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	virtual.Main(func(t *testing.T, out io.Writer) error { return c.run(t, out) })
}
