// Command skips says what `go test -json` has run as go test itself says it, and writes down
// which tests were skipped, and why:
//
//	go test -json ./... | skips file
//
// It fails where a test has failed. go test without -v does not name the tests that it skips.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: skips file")
		os.Exit(2)
	}
	skipped, err := os.OpenFile(os.Args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		err = read(os.Stdin, os.Stdout, skipped)
		err = errors.Join(err, skipped.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

func read(in io.Reader, out, skipped io.Writer) error {
	said := map[[2]string][]string{} // by a package and a test
	var failed error
	for r := bufio.NewReader(in); ; {
		line, err := r.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				fmt.Fprint(out, line) // what go says before it tests
			} else if err := e.handle(said, out, skipped); err != nil {
				failed = err
			}
		}
		if err == io.EOF {
			return failed
		}
		if err != nil {
			return err
		}
	}
}

// handle keeps what a test says until it is known how it ends.
func (e event) handle(said map[[2]string][]string, out, skipped io.Writer) error {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "build-fail":
		return errors.New(e.ImportPath + " does not build")
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			said[key] = append(said[key], e.Output)
		}
	case "pass", "skip":
		if lines := said[key]; e.Test == "" && len(lines) > 0 {
			fmt.Fprint(out, lines[len(lines)-1]) // ok, and the time
		} else if e.Test != "" && e.Action == "skip" {
			why := "without a reason"
			for _, line := range lines {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "---") {
					why = line
				}
			}
			if _, err := fmt.Fprintf(skipped, "%s %s: %s\n", e.Package, e.Test, why); err != nil {
				return err
			}
		}
		delete(said, key)
	case "fail":
		if e.Test == "" { // what a panic has ended says no more how it ends
			for other, lines := range said {
				if other[0] == e.Package && other[1] != "" {
					fmt.Fprint(out, strings.Join(lines, ""))
					delete(said, other)
				}
			}
		}
		fmt.Fprint(out, strings.Join(said[key], ""))
		delete(said, key)
		return errors.New("a test has failed")
	}
	return nil
}
