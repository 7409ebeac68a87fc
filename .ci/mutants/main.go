// Command mutants reads lists of mutations. A mutation is a small change that breaks the code.
// The command applies each mutation alone, runs the tests of the mutated package, and fails if
// no test fails.
//
//	cd .ci/mutants && go run . affinity.txt affinityhttp.txt cache.txt sessionid.txt
//
// It writes nothing into the repository: the go command gets the mutated file in an overlay. A
// list has blocks, separated by blank lines:
//
//	file: affinity/report.go
//	name: Retry-After is ignored
//	-		return away, true
//	+		return p.away, false
//
// The text behind "-", one or more lines or a part of one, must be in the file exactly once. The
// text behind "+" replaces it. A block can also have the line
//
//	survives: no test can see it, because …
//
// Such a mutation must survive: if a test notices it, the command fails, and the line has to be
// removed. The line
//
//	by: TestRetryAfter
//
// is a regular expression for the tests that notice it, to save time. If none of them fails, all
// tests are run, which can take minutes. So the command says when another test has noticed the
// mutation. That is no failure, because with some mutations it is chance which test fails.
//
// Building the tests takes longer than running one. So mutations inside functions are built
// together: each is in a copy of its function, and the variable MUTANT tells a process by a
// number which copy to call. A mutation that cannot be built that way is built alone. So is one
// that no test notices when it is built that way.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

func main() {
	only := flag.String("only", "", "run only the mutations whose name contains this")
	flag.Parse()
	root, err := filepath.Abs("../..")
	check(err)
	var all []*mutation
	for _, list := range flag.Args() {
		ms, err := read(list)
		check(err)
		for _, m := range ms {
			if strings.Contains(m.name, *only) {
				all = append(all, &m)
			}
		}
	}
	if len(all) == 0 {
		check(fmt.Errorf("the lists have no mutation, or none whose name contains the text of -only"))
	}
	dir, err := os.MkdirTemp("", "mutants")
	check(err)
	wrong := run(os.Stdout, root, dir, all)
	check(os.RemoveAll(dir))
	if wrong > 0 {
		os.Exit(1)
	}
}

// run tries each mutation and prints the result. It returns the number of wrong results: mutations
// that no test notices, that a test notices although they should survive, or that cannot be built.
func run(out io.Writer, root, dir string, all []*mutation) int {
	begin := time.Now()
	plan, err := together(out, root, dir, all)
	check(err)
	fmt.Fprintf(out, "%5.1f s    %d of %d mutations are built together\n", time.Since(begin).Seconds(), len(plan), len(all))
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		turns  = make(chan struct{}, 4) // for two cores: some wait, most of all those that make a test hang
		killed int
		again  int
		wrong  []string
	)
	for _, m := range all {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			begin := time.Now()
			var by string
			var err error
			p, ok := plan[m]
			if ok {
				by = p.try(m.by)
			}
			alone := by == ""
			if alone {
				by, err = m.alone(root)
			}
			mu.Lock()
			defer mu.Unlock()
			if alone {
				again++
			}
			what := fmt.Sprintf("%s: %s: ", m.file, m.name)
			switch {
			case err != nil:
				wrong = append(wrong, what+err.Error())
			case by == "" && m.survives == "":
				wrong = append(wrong, what+"SURVIVES: no test has failed")
			case by != "" && m.survives != "":
				wrong = append(wrong, what+"is noticed by "+by+", but its block says that it survives")
			case by == "":
				fmt.Fprintf(out, "survives   %s%s\n", what, m.survives)
			default:
				killed++
				fmt.Fprintf(out, "%5.1f s    %s%s%s\n", time.Since(begin).Seconds(), what, by, map[bool]string{true: " (built alone)"}[alone])
			}
		})
	}
	wg.Wait()
	for _, w := range wrong {
		fmt.Fprintln(out, w)
	}
	fmt.Fprintf(out, "%d mutations noticed, %d wrong; %d were built alone\n", killed, len(wrong), again)
	return len(wrong)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
}
