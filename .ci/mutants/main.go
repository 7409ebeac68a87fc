// Command mutants reads mutations, applies each of them alone, runs the tests of
// the mutated package, and demands that they fail.
//
//	cd .ci/mutants && go run . affinity.txt affinityhttp.txt cache.txt sessionid.txt
//
// Nothing is written into the repository: the go command sees the mutated file by
// an overlay. A file of mutations holds blocks, separated by blank lines:
//
//	file: affinity/report.go
//	name: Retry-After is ignored
//	-		return away, true
//	+		return p.away, false
//
// The text behind "-", one or more lines or a part of one, must stand exactly once in
// the file. A block can also have the line
//
//	survives: no test can see it, because …
//
// Such a mutation must survive: if a test notices it, the line has to go. The line
//
//	by: TestRetryAfter
//
// names the test that is run first, alone, to save time. If that test does not
// notice, all tests are run.
//
// To build the tests takes longer than to run one. So the mutations inside of functions are
// built together: each is in a copy of its function, and a process is told by a number which
// copy counts. What cannot be built so, and what nobody notices so, is built alone.
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
		check(fmt.Errorf("the lists have no such mutation"))
	}
	dir, err := os.MkdirTemp("", "mutants")
	check(err)
	wrong := run(os.Stdout, root, dir, all)
	check(os.RemoveAll(dir))
	if wrong > 0 {
		os.Exit(1)
	}
}

// run prints what becomes of each mutation, and returns how many are not as they must be.
func run(out io.Writer, root, dir string, all []*mutation) int {
	begin := time.Now()
	plan, err := together(out, root, dir, all)
	check(err)
	fmt.Fprintf(out, "%5.1f s    %d of %d mutations are built together\n", time.Since(begin).Seconds(), len(plan), len(all))
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		turns  = make(chan struct{}, 3) // one links or waits while two work, on two cores
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
				wrong = append(wrong, what+"is noticed by "+by+", and said to survive")
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
