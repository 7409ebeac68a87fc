package affinity_test

import (
	"errors"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file depends on another one of its package if it uses a type, a function, a
// method, a field, a variable or a constant that is declared there. Files that
// depend on each other in a ring can only be read together: no ring may be larger
// than half of its package's files.
func TestNoRingOfFilesIsLargerThanHalfOfItsPackage(t *testing.T) {
	for room := range rooms {
		uses := dependencies(t, room)
		largest := []string{}
		for _, ring := range rings(uses) {
			if len(ring) > len(largest) {
				largest = ring
			}
		}
		t.Logf("%s: %d files, largest ring %d %v", room, len(uses), len(largest), largest)
		if len(uses) > 3 {
			require.LessOrEqual(t, 2*len(largest), len(uses), "%s: %v", room, largest)
		}
	}
}

// dependencies returns, for each file of a package that is built here and is no test, the files
// that it uses.
func dependencies(t *testing.T, room string) map[string]map[string]bool {
	fset := token.NewFileSet()
	var files []*ast.File
	uses := map[string]map[string]bool{}
	for _, name := range filesOf(t, room) {
		built, err := build.Default.MatchFile(filepath.Dir(name), filepath.Base(name))
		require.NoError(t, err)
		if !built || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		require.NoError(t, err)
		files = append(files, f)
		uses[name] = map[string]bool{}
	}
	// What is imported is left out: only the package itself matters.
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := config.Check(room, fset, files, info)
	for id, object := range info.Uses {
		from, to := fset.Position(id.Pos()).Filename, fset.Position(object.Pos()).Filename
		if object.Pkg() == pkg && from != to && to != "" {
			uses[from][to] = true
		}
	}
	return uses
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not looked at") }

// rings returns the strongly connected components of more than one file.
func rings(uses map[string]map[string]bool) (out [][]string) {
	reach := map[string]map[string]bool{}
	var walk func(from, at string)
	walk = func(from, at string) {
		for to := range uses[at] {
			if !reach[from][to] {
				reach[from][to] = true
				walk(from, to)
			}
		}
	}
	for f := range uses {
		reach[f] = map[string]bool{}
		walk(f, f)
	}
	seen := map[string]bool{}
	for f := range uses {
		if seen[f] || !reach[f][f] {
			continue
		}
		ring := []string{}
		for g := range uses {
			if reach[f][g] && reach[g][f] {
				ring = append(ring, g)
				seen[g] = true
			}
		}
		slices.Sort(ring)
		out = append(out, ring)
	}
	return out
}

func TestRingsAreFound(t *testing.T) {
	is := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	got := rings(map[string]map[string]bool{"a": is("b"), "b": is("c", "d"), "c": is("a"), "d": is()})
	require.Equal(t, [][]string{{"a", "b", "c"}}, got)
}
