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
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

type mutation struct {
	file, name, survives string
	by                   string
	old, new             []string
	at                   string // where the block stands
}

func main() {
	only := flag.String("only", "", "run the mutations whose name contains this")
	flag.Parse()
	root, err := filepath.Abs("../..")
	check(err)
	var all []mutation
	for _, list := range flag.Args() {
		ms, err := read(list)
		check(err)
		all = append(all, ms...)
	}
	if len(all) == 0 {
		check(fmt.Errorf("no mutations"))
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		turns  = make(chan struct{}, 3) // one links while two compile, on two cores
		killed int
		wrong  []string
	)
	for _, m := range all {
		if !strings.Contains(m.name, *only) {
			continue
		}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			begin := time.Now()
			by, err := m.run(root)
			mu.Lock()
			defer mu.Unlock()
			what := fmt.Sprintf("%s: %s: ", m.file, m.name)
			switch {
			case err != nil:
				wrong = append(wrong, what+err.Error())
			case by == "" && m.survives == "":
				wrong = append(wrong, what+"SURVIVES: no test notices")
			case by != "" && m.survives != "":
				wrong = append(wrong, what+"is noticed by "+by+", and said to survive")
			case by == "":
				fmt.Printf("survives   %s%s\n", what, m.survives)
			default:
				killed++
				fmt.Printf("%5.1f s    %s%s\n", time.Since(begin).Seconds(), what, by)
			}
		})
	}
	wg.Wait()
	for _, w := range wrong {
		fmt.Println(w)
	}
	fmt.Printf("%d mutations noticed, %d wrong\n", killed, len(wrong))
	if len(wrong) > 0 {
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
}

func read(path string) (out []mutation, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m mutation
	line := 0
	flush := func() error {
		defer func() { m = mutation{} }()
		switch {
		case m.file == "" && len(m.old) == 0:
			return nil
		case m.file == "" || m.name == "" || len(m.old) == 0:
			return fmt.Errorf("%s:%d: a block needs file, name and lines behind -", path, line)
		}
		out = append(out, m)
		return nil
	}
	for l := range strings.Lines(string(text)) {
		line++
		l = strings.TrimSuffix(l, "\n")
		switch {
		case l == "":
			if err := flush(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(l, "#"):
		case strings.HasPrefix(l, "file: "):
			m.file, m.at = l[len("file: "):], fmt.Sprintf("%s:%d", path, line)
		case strings.HasPrefix(l, "name: "):
			m.name = l[len("name: "):]
		case strings.HasPrefix(l, "by: "):
			m.by = l[len("by: "):]
		case strings.HasPrefix(l, "survives: "):
			m.survives = l[len("survives: "):]
		case l[0] == '-':
			m.old = append(m.old, l[1:])
		case l[0] == '+':
			m.new = append(m.new, l[1:])
		default:
			return nil, fmt.Errorf("%s:%d: %q is nothing that a block has", path, line, l)
		}
	}
	return out, flush()
}

// run returns the first test that fails, empty if all pass.
func (m *mutation) run(root string) (by string, err error) {
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	old := strings.Join(m.old, "\n")
	if n := strings.Count(string(text), old); n != 1 {
		return "", fmt.Errorf("%s: the old text stands %d times in the file, not once", m.at, n)
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	changed := filepath.Join(dir, "mutated"+filepath.Ext(m.file))
	broken := strings.Replace(string(text), old, strings.Join(m.new, "\n"), 1)
	overlay := filepath.Join(dir, "overlay.json")
	spec, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(changed, []byte(broken), 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, spec, 0o600); err != nil {
		return "", err
	}
	module, file := moduleOf(root, m.file)
	pkg := "./" + strings.SplitN(file, "/", 2)[0] + "/..."
	if module != root {
		pkg = "./..."
	}
	goTest := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-overlay", overlay, "-vet=off"}, args...)...)
		cmd.Dir = module
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// The file's own package first: it is the quickest to build.
	own := "./" + filepath.ToSlash(filepath.Dir(file))
	// The first test is built with the mutated file: one that does not compile shows
	// nothing. Without inlining it is built a quarter sooner; all tests, some of which
	// count allocations, are run as they are otherwise.
	first := m.by
	if first == "" {
		first = "$none"
	}
	// A test that a mutation hangs is stopped soon: the slowest of them takes some seconds.
	out, err := goTest("-gcflags=-l", "-count=1", "-failfast", "-timeout=30s", "-run", "^"+first+"$", own)
	if err != nil && (strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]")) {
		return "", fmt.Errorf("does not compile: %s", out)
	}
	if err == nil && m.by != "" {
		out, err = goTest("-count=1", "-failfast", "-timeout=60s", "-run", "^"+m.by+"$", pkg)
	}
	if err == nil {
		if out, err = goTest("-count=1", "-failfast", "-timeout=60s", pkg); err == nil {
			return "", nil
		}
	}
	for l := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), "--- FAIL: "); ok {
			name, _, _ := strings.Cut(rest, " ")
			return name, nil
		}
	}
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") {
			return strings.TrimSpace(l), nil
		}
	}
	return "", fmt.Errorf("the tests end without naming one: %s", out)
}

// moduleOf is the folder of the module that has a file, and the file's path in it.
func moduleOf(root, file string) (module, rest string) {
	for dir := filepath.Dir(file); dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(root, dir, "go.mod")); err == nil {
			rest, _ = filepath.Rel(dir, file) // dir is a part of file: no error
			return filepath.Join(root, dir), filepath.ToSlash(rest)
		}
	}
	return root, filepath.ToSlash(file)
}
