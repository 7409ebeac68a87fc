// Command skips prints the output of `go test -json` in the usual form of go test, and appends
// the names of skipped tests to a file, each with its reason:
//
//	go test -json ./... | skips file
//
// It is needed because go test without -v does not name the tests that it skips. It fails if a
// test has failed.
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
	said := map[[2]string][]string{} // the output so far, by package and test
	var failed error
	for r := bufio.NewReader(in); ; {
		line, err := r.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				fmt.Fprint(out, line) // not JSON: the go command itself has written it
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

// handle keeps the output of a test until the test ends. It prints the output of a test that has
// failed.
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
			fmt.Fprint(out, lines[len(lines)-1]) // the line with ok and the time
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
		if e.Test == "" { // tests that a panic has ended have no event of their own
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
