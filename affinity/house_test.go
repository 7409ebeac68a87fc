package affinity_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/llmaffinity/llmaffinity"

// rooms are the packages of the root module. For each it has the other packages of the module,
// and the libraries, that it may import.
var rooms = map[string]struct{ rooms, libraries []string }{
	"sessionid":                   {rooms: []string{"sessionid/internal/jsontext", "sessionid/internal/content"}, libraries: []string{"github.com/cespare/xxhash/v2", "github.com/tidwall/gjson"}},
	"sessionid/internal/content":  {rooms: []string{"sessionid/internal/jsontext"}, libraries: []string{"github.com/cespare/xxhash/v2"}},
	"sessionid/internal/jsontext": {},
	"cache":                       {libraries: []string{"github.com/hashicorp/golang-lru/v2"}},
	"cache/fallback":              {rooms: []string{"cache", "cache/cachetest"}, libraries: []string{"github.com/hashicorp/golang-lru/v2"}},
	"cache/cachetest":             {rooms: []string{"cache"}},
	"selector":                    {libraries: []string{"github.com/cespare/xxhash/v2"}},
	"affinity":                    {rooms: []string{"sessionid", "cache", "cache/fallback", "selector"}, libraries: []string{"github.com/cespare/xxhash/v2", "github.com/hashicorp/golang-lru/v2", "github.com/tidwall/gjson"}},
	"affinity/affinitytest":       {rooms: []string{"affinity", "selector"}},
	"affinity/affinityadmin":      {rooms: []string{"affinity", "affinity/savings", "cache", "selector", "sessionid"}, libraries: []string{"github.com/hashicorp/golang-lru/v2"}},
	"affinity/savings":            {rooms: []string{"affinity", "selector", "sessionid"}, libraries: []string{"github.com/hashicorp/golang-lru/v2"}},
	"affinity/affinityhttp":       {rooms: []string{"affinity", "affinity/affinitytest", "selector", "sessionid"}, libraries: []string{"github.com/hashicorp/golang-lru/v2", "github.com/tidwall/gjson"}},
}

// The import rule: sessionid, cache and selector import none of each other, only
// affinity imports them, and nothing but examples imports affinity.
func TestEachRoomImportsOnlyWhatItMay(t *testing.T) {
	for room, may := range rooms {
		for _, file := range filesOf(t, room) {
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
					require.Contains(t, may.rooms, strings.TrimPrefix(path, module+"/"), "%s imports %s", file, path)
				case strings.HasPrefix(path, "github.com/stretchr/testify/"):
					require.True(t, test, "%s imports %s", file, path)
				default:
					ok := false
					for _, l := range may.libraries {
						ok = ok || path == l || strings.HasPrefix(path, l+"/")
					}
					require.True(t, ok, "%s imports %s", file, path)
				}
			}
		}
	}
}

// Each package of the root module is a room, so that no package is without a rule.
func TestEveryPackageIsARoom(t *testing.T) {
	for _, top := range []string{"sessionid", "cache", "selector", "affinity"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // a module of its own
			}
			if files, _ := filepath.Glob(filepath.Join(path, "*.go")); len(files) > 0 {
				require.Contains(t, rooms, strings.TrimPrefix(filepath.ToSlash(path), "../"))
			}
			return nil
		})
		require.NoError(t, err)
	}
}

func filesOf(t *testing.T, room string) []string {
	files, err := filepath.Glob(filepath.Join("..", room, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, room)
	return files
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
