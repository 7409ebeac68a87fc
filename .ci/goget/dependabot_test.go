package goget

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// A go.mod that Dependabot does not know gets old.
func TestDependabotKnowsEachModule(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, ".github/dependabot.yml"))
	require.NoError(t, err)
	var named []string
	for _, m := range regexp.MustCompile(`(?m)^ +- /(.*)$`).FindAllSubmatch(text, -1) {
		named = append(named, path.Join(string(m[1]), "go.mod"))
	}
	files, err := tracked()
	require.NoError(t, err)
	var there []string
	for _, name := range files {
		if path.Base(name) == "go.mod" {
			there = append(there, name)
		}
	}
	require.ElementsMatch(t, there, named)
}
