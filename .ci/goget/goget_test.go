package goget

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a program with all of the library has from others. Testify is for tests.
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
	// A go.mod may name more. It is what Go reads to choose versions, and what
	// go.sum then has.
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

// named are the modules of others that `go list -m all` names.
func (u *user) named() []string {
	var mods []string
	for line := range strings.Lines(u.run("go", "list", "-m", "-f", "{{.Path}}", "all")) {
		if line = strings.TrimSpace(line); line != "example.com/user" && line != root && !strings.HasPrefix(line, root+"/") {
			mods = append(mods, line)
		}
	}
	return mods
}

// Each module that is released can be had by its path alone, and brings this version of the
// library.
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
			t.Logf("%d modules of others are compiled, %d are named", len(u.compiled()), len(u.named()))
			// Caddy takes minutes to compile. Its own tests do that, with the same versions.
			if folder != "examples/caddy" {
				u.run("go", "build", "-o", filepath.Join(u.dir, "program"), ".")
			}
		})
	}
	require.GreaterOrEqual(t, tried, 5)
}
