package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// alone builds the tests with one mutation only, and returns the first test that fails,
// empty if all pass. If the tests that the block names have not failed, but another one has, it
// says so.
func (m *mutation) alone(root string) (by string, err error) {
	text, c, err := m.change(root)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, _, err := overlay(dir, map[string]string{filepath.Join(root, m.file): c.in(text)})
	if err != nil {
		return "", err
	}
	module, file := moduleOf(root, m.file)
	pkg := testedBy(root, m.file)
	goTest := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-overlay", overlay, "-vet=off"}, args...)...)
		cmd.Dir = module
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// The file's own package comes first, because it is the quickest to build.
	own := "./" + filepath.ToSlash(filepath.Dir(file))
	// The first run also shows whether the mutated file compiles. Without inlining (-l) the
	// build takes a quarter less time. The later runs have inlining, because some tests count
	// allocations.
	first := m.by
	if first == "" {
		first = "$none"
	}
	// A mutation can make a test hang. The timeout is short: the slowest test takes some seconds.
	out, err := goTest("-gcflags=-l", "-count=1", "-failfast", "-timeout=30s", "-run", "^"+first+"$", own)
	if err != nil && (strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]")) {
		return "", fmt.Errorf("does not compile: %s", out)
	}
	if err == nil && m.by != "" {
		out, err = goTest("-count=1", "-failfast", "-timeout=60s", "-run", "^"+m.by+"$", pkg)
	}
	late := err == nil
	if late {
		// This timeout is long, because all tests may take long beside other work, and a timeout
		// counts as a failed test.
		if out, err = goTest("-count=1", "-failfast", "-timeout=180s", pkg); err == nil {
			return "", nil
		}
	}
	if by = noticed(out); by == "" {
		return "", fmt.Errorf("the tests have failed, but name no test: %s", out)
	}
	if late && m.by != "" {
		by += ", but not " + m.by
	}
	return by, nil
}

// noticed returns the name of the first failed test in the output of go test. If none is named, it
// returns the line of a panic or a fatal error.
func noticed(out string) string {
	for l := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), "--- FAIL: "); ok {
			name, _, _ := strings.Cut(rest, " ")
			return name
		}
	}
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

// overlay writes texts into a folder, and an overlay for the go command in which they replace the
// files that the map names. replace has the path of each text.
func overlay(dir string, files map[string]string) (path string, replace map[string]string, err error) {
	replace = map[string]string{}
	for name, text := range files {
		replace[name] = filepath.Join(dir, fmt.Sprintf("%d%s", len(replace), filepath.Ext(name)))
		if err := os.WriteFile(replace[name], []byte(text), 0o600); err != nil {
			return "", nil, err
		}
	}
	spec, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, replace, os.WriteFile(path, spec, 0o600)
}

// moduleOf returns the folder of the module that a file belongs to, and the file's path in it.
func moduleOf(root, file string) (module, rest string) {
	for dir := filepath.Dir(file); dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(root, dir, "go.mod")); err == nil {
			rest, _ = filepath.Rel(dir, file) // no error, because dir contains file
			return filepath.Join(root, dir), filepath.ToSlash(rest)
		}
	}
	return root, filepath.ToSlash(file)
}

// testedBy returns the pattern of the packages whose tests are run for a file: the whole module,
// or in the library's own module the top folder of the file.
func testedBy(root, file string) string {
	module, file := moduleOf(root, file)
	if module != root {
		return "./..."
	}
	return "./" + strings.SplitN(file, "/", 2)[0] + "/..."
}
