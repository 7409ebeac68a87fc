package affinity_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/llmaffinity/llmaffinity"

// The import rule: sessionid, cache and selector import none of each other,
// only affinity imports them, and nothing but examples imports affinity.
func TestImportRule(t *testing.T) {
	allowed := map[string][]string{
		"sessionid": nil, "cache": nil, "selector": nil,
		"affinity": {"sessionid", "cache", "selector"}, "cache/cachetest": {"cache"}, "affinity/affinitytest": {"affinity", "selector"},
	}
	libraries := map[string][]string{
		"sessionid":       {"github.com/cespare/xxhash/v2", "github.com/tidwall/gjson"},
		"cache":           {"github.com/hashicorp/golang-lru/v2"},
		"selector":        {"github.com/cespare/xxhash/v2"},
		"affinity":        {"github.com/cespare/xxhash/v2", "github.com/tidwall/gjson"},
		"cache/cachetest": nil, "affinity/affinitytest": nil,
	}
	for room, rooms := range allowed {
		files, err := filepath.Glob(filepath.Join("..", room, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files, room)
		for _, file := range files {
			test := strings.HasSuffix(file, "_test.go")
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			require.NoError(t, err)
			for _, spec := range parsed.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				require.NoError(t, err)
				first, _, _ := strings.Cut(path, "/")
				switch {
				case !strings.Contains(first, "."): // standard library
				case path == module+"/"+room && test:
				case strings.HasPrefix(path, module+"/"):
					require.Contains(t, rooms, strings.TrimPrefix(path, module+"/"), "%s imports %s", file, path)
				case strings.HasPrefix(path, "github.com/stretchr/testify/"):
					require.True(t, test, "%s imports %s", file, path)
				default:
					ok := false
					for _, l := range libraries[room] {
						ok = ok || path == l || strings.HasPrefix(path, l+"/")
					}
					require.True(t, ok, "%s imports %s", file, path)
				}
			}
		}
	}
}

// The root module requires four modules and no more.
func TestRootModuleRequires(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	var direct []string
	inside := false
	for line := range strings.Lines(string(mod)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			inside = true
		case line == ")":
			inside = false
		case strings.Contains(line, "// indirect"):
		case strings.HasPrefix(line, "require "):
			direct = append(direct, strings.Fields(line)[1])
		case inside && line != "":
			direct = append(direct, strings.Fields(line)[0])
		}
	}
	require.ElementsMatch(t, []string{
		"github.com/hashicorp/golang-lru/v2", "github.com/cespare/xxhash/v2", "github.com/tidwall/gjson", "github.com/stretchr/testify",
	}, direct)
}
