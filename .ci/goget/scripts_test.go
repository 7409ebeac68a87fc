package goget

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clone is a repository with one commit, which has this repository's files.
type clone struct {
	t       *testing.T
	dir     string
	version string // the version that the modules require
}

// newClone makes a clone with these files and folders only, or with all.
func newClone(t *testing.T, only ...string) clone {
	c := clone{t: t, dir: t.TempDir()}
	files, err := tracked()
	require.NoError(t, err)
	for _, name := range files {
		if only != nil && !slices.ContainsFunc(only, func(o string) bool { return name == o || strings.HasSuffix(o, "/") && strings.HasPrefix(name, o) }) {
			continue
		}
		to := filepath.Join(c.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		info, err := os.Stat(filepath.Join(top, name))
		require.NoError(t, err)
		text, err := os.ReadFile(filepath.Join(top, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, text, info.Mode()))
	}
	p, err := packed()
	require.NoError(t, err)
	c.version, _, _ = strings.Cut(p.version, "-head-")
	c.git("init", "-q", "-b", "main")
	c.commit()
	return c
}

func (c clone) git(args ...string) string {
	c.t.Helper()
	return command(c.t, c.dir, nil, append([]string{"git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"}, args...)...)
}

func (c clone) commit() {
	c.t.Helper()
	c.git("add", "-A")
	c.git("commit", "-q", "-m", "x")
}

func (c clone) tag(name string) { c.git("tag", "-a", "-m", "x", name) }

// script runs a script of .ci, and returns its output.
func (c clone) script(args ...string) (said string, ok bool) {
	cmd := exec.Command("bash", append([]string{filepath.Join(c.dir, ".ci", args[0])}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@example.com")
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func (c clone) edit(name string, change func(string) string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	old, _ := os.ReadFile(path)
	text := change(string(old))
	require.NotEqual(c.t, string(old), text)
	require.NoError(c.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(c.t, os.WriteFile(path, []byte(text), 0o644))
}

// .ci/release prints everything that is missing. It makes tags only with -tag, and they are the
// tags that Go looks for.
func TestReleaseMakesTheTags(t *testing.T) {
	c := newClone(t)
	c.edit(".github/CHANGELOG.md", func(text string) string {
		return regexp.MustCompile(`(?m)^## \[`+regexp.QuoteMeta(c.version[1:])+`\].*\n`).ReplaceAllString(text, "") + "\n## [" + c.version[1:] + "] - 2026-01-31\n"
	})
	said, ok := c.script("release", "v0.99.0")
	require.False(t, ok)
	for _, missing := range []string{
		"not ready: the working tree is not clean",
		"not ready: .github/CHANGELOG.md has no section [0.99.0]",
		"not ready: affinity/affinityprom/go.mod requires " + root + " " + c.version,
		"not ready: examples/gateway/full/go.mod requires " + root + "/cache/rediscache " + c.version,
	} {
		require.Contains(t, said, missing)
	}
	c.commit()

	c.edit("selector/selector.go", func(text string) string { return text + "\n// More is more.\nfunc More() {}\n" })
	c.commit()
	said, ok = c.script("release", c.version, "-tag")
	require.False(t, ok)
	require.Contains(t, said, "not ready: the public API differs from the files in .ci/api")
	require.Contains(t, said, "+func More()")
	require.Empty(t, c.git("tag"))
	c.git("revert", "--no-edit", "HEAD")

	said, ok = c.script("release", c.version)
	require.True(t, ok, said)
	require.Empty(t, c.git("tag"))
	tags := []string{c.version}
	for _, dir := range []string{"affinity/affinityotel", "affinity/affinityprom", "affinity/affinityws", "cache/rediscache", "examples/caddy"} {
		tags = append(tags, dir+"/"+c.version)
	}
	require.Contains(t, strings.SplitAfter(said, "\n")[0], " as "+c.version+"\n", "the first tag is the library's")
	for _, tag := range tags {
		require.Contains(t, said, " as "+tag+"\n")
	}
	said, ok = c.script("release", c.version, "-tag")
	require.True(t, ok, said)
	require.ElementsMatch(t, tags, strings.Fields(c.git("tag")))
	said, ok = c.script("release", c.version, "-tag")
	require.False(t, ok)
	for _, tag := range tags {
		require.Contains(t, said, "not ready: the tag "+tag+" exists already\n")
	}

	said, ok = c.script("release", "v0.99.0", "-require")
	require.True(t, ok, said)
	said, ok = c.script("release", "v0.99.0")
	require.False(t, ok)
	require.NotContains(t, said, "requires")
	require.Empty(t, c.git("diff", "--name-only", "--", "*.go", "go.mod"), "-require must not change code or the library's own go.mod, which requires none of the modules")
}

// A function that was released can be removed only with another minor version. Two small modules
// are enough to show it.
func TestApidiffFindsWhatBreaks(t *testing.T) {
	c := newClone(t, "go.mod", "go.sum", ".ci/", "selector/", "affinity/affinityprom/go.mod")
	said, ok := c.script("apidiff.sh")
	require.True(t, ok, said)
	require.Contains(t, said, "apidiff: . has no release yet")

	// The last release had the function Gone, which is removed since. The function More is new.
	c.edit("selector/gone.go", func(string) string { return "package selector\n\nfunc Gone() {}\n" })
	c.edit("cache/go.mod", func(string) string { return "module " + root + "/cache\n\ngo 1.25\n" })
	c.edit("cache/cache.go", func(string) string { return "package cache\n" })
	c.commit()
	c.tag(c.version)
	c.tag("cache/" + c.version)
	c.git("rm", "-q", "selector/gone.go")
	c.edit("cache/more.go", func(string) string { return "package cache\n\nfunc More() {}\n" })
	c.commit()
	said, ok = c.script("apidiff.sh")
	require.False(t, ok, said)
	require.Contains(t, said, "selector.Gone: removed")
	require.Equal(t, 1, strings.Count(said, "is not compatible"))
	require.Contains(t, said, "apidiff: cache is compatible with "+c.version)

	said, ok = c.script("release", "v0.99.0", "-require")
	require.True(t, ok, said)
	said, ok = c.script("apidiff.sh")
	require.True(t, ok, said)
	require.Contains(t, said, "selector.Gone: removed")
}
