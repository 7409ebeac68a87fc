package goget

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program that imports all packages of the library's own module gets the code of five other
// modules. Testify is for tests.
func TestTheLibraryBringsFourAndTheirs(t *testing.T) {
	u := newUser(t)
	u.get(root)
	u.imports(u.importable(t, root))
	u.run("go", "build", "-o", filepath.Join(u.dir, "program"), ".")
	require.Equal(t, []string{
		"github.com/cespare/xxhash/v2",
		"github.com/hashicorp/golang-lru/v2",
		"github.com/tidwall/gjson",
		"github.com/tidwall/match",  // of gjson
		"github.com/tidwall/pretty", // of gjson
	}, u.compiled())
	// The module graph names more modules. Go reads their go.mod files to choose versions, and
	// lists them in go.sum.
	require.Equal(t, []string{
		"github.com/cespare/xxhash/v2",
		"github.com/hashicorp/golang-lru/v2",
		"github.com/stretchr/testify",
		"github.com/tidwall/gjson",
		"github.com/tidwall/match",
		"github.com/tidwall/pretty",
		"go.yaml.in/yaml/v3", // of testify
	}, u.named())
	t.Logf("go list -m all:\n%s", u.run("go", "list", "-m", "all"))
}

// named returns the modules of other projects that `go list -m all` names.
func (u *user) named() []string {
	var mods []string
	for line := range strings.Lines(u.run("go", "list", "-m", "-f", "{{.Path}}", "all")) {
		if line = strings.TrimSpace(line); line != "example.com/user" && line != root && !strings.HasPrefix(line, root+"/") {
			mods = append(mods, line)
		}
	}
	return mods
}

// `go get` with the path of a released module is enough to use it, and brings this version of
// the library.
func TestEachModuleCanBeHad(t *testing.T) {
	p, err := packed()
	require.NoError(t, err)
	tried := 0
	for _, folder := range strings.Fields(command(t, top, nil, ".ci/release", "modules")) {
		if folder == "." {
			continue
		}
		mod := root + "/" + folder
		pkgs := p.importable(t, mod)
		tried++
		t.Run(folder, func(t *testing.T) {
			u := newUser(t)
			u.get(mod)
			u.imports(pkgs)
			t.Logf("%d modules of other projects are compiled, %d are named", len(u.compiled()), len(u.named()))
			// Caddy takes minutes to compile. The tests of examples/caddy do that, with the same
			// versions.
			if folder != "examples/caddy" {
				u.run("go", "build", "-o", filepath.Join(u.dir, "program"), ".")
			}
		})
	}
	require.GreaterOrEqual(t, tried, 5)
}
