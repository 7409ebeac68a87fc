package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// program prints one line for each of its functions.
const program = `package main

import (
	"errors"
	"fmt"
	"strings"
)

type pair[K comparable, V any] struct{ k K; v V }

func (p *pair[K, _]) is(k K) bool { return p.k == k }

func (pair[K, V]) swap(_ K, v V, _ ...int) (out V) {
	return v
}

func first[K comparable, V any](of ...pair[K, V]) (k K) { // a comment {
	return of[0].k
}

func sum(n ...int) (all int) {
	for _, n := range n {
		all += n
	}
	return all
}

func half(float64, string) float64 { return 0.5 }

func safely(do func() error) (n int, err error) {
	defer func() {
		if err != nil { n = -1 }
	}()
	n = 1
	if err = do(); err != nil { return }
	return 2, nil
}

var log []string

func note(s string) { log = append(log, s) }

func none() {}

func count(n int) int {
	if n == 0 { return 0 }
	return 1 + count(n-1)
}

var made = make1()

func make1() string { return strings.Repeat("a", 2) }

func init() { note("init") }

func init() { note("second") }

func main() {
	p := &pair[string, int]{"k", 1}
	n, err := safely(func() error { return errors.New("no") })
	note("main"); none()
	fmt.Println(p.is("k"))
	fmt.Println(p.swap("k", 7, 1, 2))
	fmt.Println(first(*p, pair[string, int]{"l", 2}))
	fmt.Println(sum(1, 2, 3), sum())
	fmt.Println(half(1, ""))
	fmt.Println(n, err)
	fmt.Println(count(3))
	fmt.Println(made)
	fmt.Println(log)
}
`

// replaced returns the change of old to new. The text must have old exactly once.
func replaced(t *testing.T, text, old, new string) change {
	require.Equal(t, 1, strings.Count(text, old), old)
	at := strings.Index(text, old)
	return change{at, at + len(old), new}
}

func TestAVariantIsItsMutation(t *testing.T) {
	s, err := parseSource(program)
	require.NoError(t, err)
	mutations := []struct{ old, new, prints string }{
		{"p.k == k", "p.k != k", "false"},
		{"\treturn v\n}", "\treturn out\n}", "0"},
		{"of[0].k", "of[len(of)-1].k", "l"},
		{"all += n", "all -= n", "-6 0"},
		{"(all int) {\n\tfor", "(all int) {\n\tall = 10\n\tfor", "16 10"},
		{"0.5", "0.25", "0.25"},
		{"if err != nil { n = -1 }", "", "1 no"},
		{"if err = do(); err != nil { return }", "", "2 <nil>"},
		{"append(log, s)", "append(log, s, s)", "[init init second second main main]"},
		{"func none() {}", `func none() { note("none") }`, "[init second main none]"},
		{"1 + count", "2 + count", "6"},
		{`"a", 2`, `"a", 3`, "aaa"},
		{`note("init")`, `note("begin")`, "[begin second main]"},
		{`note("second")`, "", "[init main]"},
	}
	for i, m := range mutations {
		require.NoError(t, s.add(i+1, replaced(t, program, m.old, m.new)), m.old)
	}
	text, where := s.write()
	all := strings.Split(text, "\n")
	for i := range mutations {
		l := where[i+1]
		require.Contains(t, all[l.first-1], fmt.Sprintf("mutant%d_", i+1), "where the variant begins")
		require.True(t, strings.HasSuffix(all[l.last-1], "}"), "where the variant ends")
	}
	for i, line := range strings.Split(program, "\n") {
		if strings.HasPrefix(line, "\t") {
			require.Equal(t, line, all[i], "the lines of the file itself stay where they are")
		}
	}

	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module program\n\ngo 1.25\n",
		"main.go":          text,
		"mutant_number.go": fmt.Sprintf(numberFile, "main"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	build := exec.Command("go", "build", "-o", "program", ".")
	build.Dir = dir
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, text)
	prints := func(number int) []string {
		cmd := exec.Command(filepath.Join(dir, "program"))
		cmd.Env = append(os.Environ(), fmt.Sprintf("MUTANT=%d", number))
		out, err := cmd.Output()
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	usual := prints(0)
	require.Equal(t, []string{"true", "7", "k", "6 0", "0.5", "-1 no", "3", "aa", "[init second main]"}, usual)
	for i, m := range mutations {
		differs := 0
		for j, line := range prints(i + 1) {
			if line != usual[j] {
				require.Equal(t, m.prints, line, m.old)
				differs++
			}
		}
		require.Equal(t, 1, differs, m.old)
	}
}

func TestWhatCannotBeAVariant(t *testing.T) {
	const text = `package a

import "strings"

const most = 3

var table = []func() int{func() int { return most }}

func upper(s string) string { return strings.ToUpper(s) }

func safe() (v any) { return recover() }

func add(a, b int) int { return a + b }
`
	s, err := parseSource(text)
	require.NoError(t, err)
	for _, m := range []struct{ old, new string }{
		{"most = 3", "most = 4"},
		{"return most", "return most + 1"},
		{"strings.ToUpper(s)", "s"},                           // leaves an import that is not used
		{"return recover()", "v = recover(); return"},         // a variant is not the deferred function
		{"add(a, b int)", "add(b, a int)"},                    // changes the parameters, not the body
		{"return a + b", "return a + b }; func c() { return"}, // declares a second function
		{"a + b", "a + }"},                                    // is not valid Go
	} {
		require.Error(t, s.add(1, replaced(t, text, m.old, m.new)), m.old)
	}
	require.NoError(t, s.add(1, replaced(t, text, "add(a, b int) int { return a + b }", "add(a, b int) int { return a - b }")))
}
