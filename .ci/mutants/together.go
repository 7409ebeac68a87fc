package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// binary is the test binary of one package, built with the variants of all mutations of its
// module.
type binary struct {
	path, dir string
	tests     []string        // all tests of the package
	named     []string        // the tests that mutations name in their by lines
	passed    map[string]bool // the named tests that pass without a mutation
}

// planned is where a mutation is tried first.
type planned struct {
	number   int
	binaries []*binary
}

// together builds as many mutations as it can into few binaries, and returns where each mutation
// is. A mutation that is missing in the result must be built alone. Tests that fail in these
// binaries without a mutation are written to say.
func together(say io.Writer, root, dir string, all []*mutation) (map[*mutation]planned, error) {
	modules := map[string][]*mutation{}
	for _, m := range all {
		// A mutation that must survive is built alone, so that a test cannot fail only because of
		// the variants.
		if path.Ext(m.file) == ".go" && m.by != "" && m.survives == "" {
			module, _ := moduleOf(root, m.file)
			modules[module] = append(modules[module], m)
		}
	}
	plan := map[*mutation]planned{}
	number := 0
	for i, module := range slices.Sorted(maps.Keys(modules)) {
		p := &project{say: say, root: root, module: module, dir: filepath.Join(dir, strconv.Itoa(i)), sources: map[string]*source{}, variants: map[int]*mutation{}}
		for _, m := range modules[module] {
			number++
			p.add(number, m)
		}
		if len(p.variants) == 0 {
			continue
		}
		if err := p.build(plan); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// project is one module with variants.
type project struct {
	say               io.Writer
	root, module, dir string
	sources           map[string]*source // by path
	variants          map[int]*mutation  // by number
}

// add makes a variant of a mutation, if that is possible.
func (p *project) add(number int, m *mutation) {
	text, c, err := m.change(p.root)
	if err != nil {
		return // alone reports the error
	}
	file := filepath.Join(p.root, m.file)
	s := p.sources[file]
	if s == nil {
		if s, err = parseSource(text); err != nil {
			return
		}
		p.sources[file] = s
	}
	if s.add(number, c) == nil {
		p.variants[number] = m
	}
}

// build builds the binaries and fills in the plan. It leaves out variants that do not compile.
func (p *project) build(plan map[*mutation]planned) error {
	packages, err := testPackages(p.module)
	if err != nil {
		return err
	}
	binaries := map[string]*binary{}
	for number, m := range p.variants {
		in := planned{number: number}
		naming := p.naming(m, packages)
		if len(naming) == 0 {
			delete(p.variants, number)
			continue
		}
		for _, pkg := range naming {
			b := binaries[pkg.Dir]
			if b == nil {
				b = &binary{path: filepath.Join(p.dir, path.Base(pkg.ImportPath)+".test"), dir: pkg.Dir, tests: pkg.tests}
				binaries[pkg.Dir] = b
			}
			b.named = append(b.named, m.by)
			in.binaries = append(in.binaries, b)
		}
		plan[m] = in
	}
	for {
		if len(p.variants) == 0 {
			return nil
		}
		failed, err := p.compile(slices.Sorted(maps.Keys(binaries)))
		if err != nil {
			return err
		}
		if len(failed) == 0 {
			break
		}
		for _, number := range failed {
			delete(plan, p.variants[number])
			delete(p.variants, number)
		}
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		turns = make(chan struct{}, 2)
	)
	for _, b := range binaries {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if failed := b.unmutated(); failed != "" {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(p.say, "%s: with variants and without a mutation, this fails: %s\n", filepath.Base(b.path), failed)
			}
		})
	}
	wg.Wait()
	return nil
}

// compile builds the tests in folders. If variants do not compile, it returns their numbers and has
// built nothing.
func (p *project) compile(folders []string) (failed []int, err error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	files, where := map[string]string{}, map[string]map[int]lines{}
	for file, s := range p.sources {
		for f := range s.of {
			s.of[f] = slices.DeleteFunc(s.of[f], func(v variant) bool { return p.variants[v.number] == nil })
		}
		files[file], where[file] = s.write()
		files[filepath.Join(filepath.Dir(file), "mutant_number.go")] = fmt.Sprintf(numberFile, s.file.Name.Name)
	}
	overlay, written, err := overlay(p.dir, files)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-c", "-vet=off", "-overlay", overlay, "-o", p.dir + "/"}, folders...)...)
	cmd.Dir = p.module
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil, nil
	}
	for _, at := range regexp.MustCompile(`(?m)^(\S+\.go):(\d+):`).FindAllStringSubmatch(string(out), -1) {
		file, line := at[1], atoi(at[2])
		if !filepath.IsAbs(file) {
			file = filepath.Join(p.module, file)
		}
		for original, variants := range where {
			for number, l := range variants {
				if written[original] == file && l.first <= line && line <= l.last {
					failed = append(failed, number)
				}
			}
		}
	}
	if len(failed) == 0 {
		return nil, fmt.Errorf("the variants of %s do not compile: %s", p.module, out)
	}
	return failed, nil
}

// testPackage is a package as `go list` describes it, with the names of its tests.
type testPackage struct {
	Dir, ImportPath           string
	TestGoFiles, XTestGoFiles []string
	tests                     []string
}

// testPackages returns the packages of a module.
func testPackages(module string) (out []testPackage, err error) {
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir, cmd.Stderr = module, os.Stderr
	said, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	test := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)
	for d := json.NewDecoder(strings.NewReader(string(said))); d.More(); {
		var p testPackage
		if err := d.Decode(&p); err != nil {
			return nil, err
		}
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			for _, found := range test.FindAllSubmatch(text, -1) {
				p.tests = append(p.tests, string(found[1]))
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// naming returns the packages that have the tests of a mutation's by line: the mutated package, or,
// if it has no such test, the others whose tests are run for the file.
func (p *project) naming(m *mutation, packages []testPackage) (out []testPackage) {
	own := filepath.Join(p.root, filepath.Dir(m.file))
	tree := filepath.Join(p.module, strings.TrimSuffix(testedBy(p.root, m.file), "..."))
	for _, pkg := range packages {
		if len(matching(m.by, pkg.tests)) == 0 {
			continue
		}
		if pkg.Dir == own {
			return []testPackage{pkg}
		}
		if pkg.Dir == tree || strings.HasPrefix(pkg.Dir, tree+"/") {
			out = append(out, pkg)
		}
	}
	return out
}

// matching returns the tests that go test would run for by.
func matching(by string, tests []string) (out []string) {
	re, err := regexp.Compile("^" + by + "$")
	if err != nil {
		return nil // alone reports the error
	}
	for _, name := range tests {
		if re.MatchString(name) {
			out = append(out, name)
		}
	}
	return out
}

// unmutated runs the named tests without a mutation, and returns the first that fails. A test that
// fails here fails because of the rewritten code, so its failure with a mutation proves nothing.
func (b *binary) unmutated() (failed string) {
	slices.Sort(b.named)
	b.passed = map[string]bool{}
	said, err := b.run(0, 5*time.Minute, "(?:"+strings.Join(slices.Compact(b.named), "|")+")", "-test.v")
	for _, found := range regexp.MustCompile(`(?m)^--- PASS: (\w+) `).FindAllStringSubmatch(said, -1) {
		b.passed[found[1]] = true
	}
	if err == nil {
		return ""
	}
	return noticed(said)
}

// trusts reports whether the tests of a by line pass without a mutation.
func (b *binary) trusts(by string) bool {
	return !slices.ContainsFunc(matching(by, b.tests), func(name string) bool { return !b.passed[name] })
}

// run runs tests with one mutation, or with none if the number is 0.
func (b *binary) run(number int, limit time.Duration, tests string, more ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.path, append(more,
		"-test.run=^"+tests+"$", "-test.timeout="+limit.String(), "-test.paniconexit0")...)
	cmd.Dir = b.dir
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("MUTANT=%d", number))
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// try returns the test that notices a mutation. It returns "" if there is none, or if the tests
// cannot be trusted: then the mutation must be built alone.
func (p planned) try(by string) string {
	for _, b := range p.binaries {
		if !b.trusts(by) {
			return ""
		}
		// A mutation can make a test hang. The timeout is short: the slowest test takes some
		// seconds.
		if out, err := b.run(p.number, 30*time.Second, by, "-test.failfast"); err != nil {
			return noticed(out)
		}
	}
	return ""
}

func atoi(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
