package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository has two packages and a list of mutations. TestSub reads the variable MUTANT, so it
// fails in each binary with variants.
var repository = map[string]string{
	"go.mod": "module m\n\ngo 1.25\n",
	"a/a.go": `package a

import "m/a/b"

const Most = 3

func Add(n, m int) int { return b.Same(n) + m }

func Sub(n, m int) int { return n - m }

func Unseen(n int) int { return n }
`,
	"a/a_test.go": `package a

import (
	"os"
	"testing"
)

func TestAdd(t *testing.T) { if Add(1, 2) != 3 { t.Fatal() } }

func TestMost(t *testing.T) { if Most != 3 { t.Fatal() } }

func TestSub(t *testing.T) { if Sub(3, 2) != 1 || os.Getenv("MUTANT") != "" { t.Fatal() } }
`,
	"a/b/b.go": `package b

func Same(n int) int { return n }
`,
	"list": `# Mutations.
file: a/a.go
name: a sum is a difference
by: TestAdd
-b.Same(n) + m }
+b.Same(n) - m }

file: a/b/b.go
name: another package notices
by: TestAdd
-func Same(n int) int { return n }
+func Same(n int) int { return n + 1 }

file: a/a.go
name: a constant
by: TestMost
-Most = 3
+Most = 4

file: a/a.go
name: a name that nothing has
by: TestAdd
-return n }
+return none }

file: a/a.go
name: only an import is too much
by: TestAdd
-b.Same(n) + m }
+n - m }

file: a/a.go
name: a test that fails with variants
by: TestSub
-n - m
+n + m

file: a/a.go
name: another test notices
by: TestMost
-n - m
+m - n

file: a/a.go
name: nobody notices
by: TestAdd
-func Unseen(n int) int { return n }
+func Unseen(n int) int { return n + 1 }

file: a/a.go
name: nobody can notice
by: TestAdd
survives: no test calls it
-func Unseen(n int) int { return n }
+func Unseen(n int) int { return n + 2 }

file: a/a.go
name: somebody notices
by: TestAdd
survives: so they say
-b.Same(n) + m }
+b.Same(n) }

file: a/a.go
name: it is nowhere
by: TestAdd
-nowhere
+here
`,
}

func TestEachMutationIsJudged(t *testing.T) {
	root := t.TempDir()
	for name, text := range repository {
		name = filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	list, err := read(filepath.Join(root, "list"))
	require.NoError(t, err)
	var all []*mutation
	for _, m := range list {
		all = append(all, &m)
	}
	var said strings.Builder
	require.Equal(t, 5, run(&said, root, t.TempDir(), all), said.String())
	// The comparison leaves out times and the compiler's output.
	out := regexp.MustCompile(`(?m)^ *[0-9.]+ s +`).ReplaceAllString(said.String(), "")
	out = regexp.MustCompile(`does not compile: [^|]*?FAIL\n\n`).ReplaceAllString(out, "does not compile\n")
	out = strings.ReplaceAll(out, root, "")
	require.ElementsMatch(t, []string{
		"a.test: with variants and without a mutation, this fails: TestSub",
		"5 of 11 mutations are built together",
		"a/a.go: a sum is a difference: TestAdd",
		"a/b/b.go: another package notices: TestAdd",
		"a/a.go: a constant: TestMost (built alone)",
		"a/a.go: a test that fails with variants: TestSub (built alone)",
		"a/a.go: another test notices: TestSub, but not TestMost (built alone)",
		"survives   a/a.go: nobody can notice: no test calls it",
		"a/a.go: it is nowhere: /list:64: the file has the old text 0 times, want once",
		"a/a.go: a name that nothing has: does not compile",
		"a/a.go: only an import is too much: does not compile",
		"a/a.go: nobody notices: SURVIVES: no test has failed",
		"a/a.go: somebody notices: is noticed by TestAdd, but its block says that it survives",
		"5 mutations noticed, 5 wrong; 9 were built alone",
	}, strings.Split(strings.TrimSuffix(out, "\n"), "\n"))
}
