package goget

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Dependabot updates only the modules that its file names.
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
	require.ElementsMatch(t, there, named, "dependabot.yml must name the folder of each go.mod in the repository, and no other")
}
