package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// skips reads the output of real runs of go test.
func TestWhatIsSaid(t *testing.T) {
	for _, c := range []struct {
		name, source   string
		out            []string // the output must contain all of these
		without        string   // and must not contain this
		skipped, wrong string
	}{
		{"passes", "func Test(t *testing.T) { t.Log(`quiet`) }", []string{"ok  \texample.com/x\t"}, "quiet", "", ""},
		{"skips", "func Test(t *testing.T) { t.Run(`a b`, func(t *testing.T) { t.Skip(`no file`) }) }\nfunc TestTwo(t *testing.T) { t.SkipNow() }",
			[]string{"ok  \texample.com/x\t"}, "no file",
			"example.com/x Test/a_b: x_test.go:4: no file\nexample.com/x TestTwo: without a reason\n", ""},
		{"fails", "func Test(t *testing.T) { t.Run(`a`, func(t *testing.T) { t.Error(`loud`) }) }", []string{"loud", "--- FAIL: Test/a", "FAIL\texample.com/x\t"}, "ok", "", "a test has failed"},
		{"panics", "func Test(t *testing.T) { panic(`loud`) }", []string{"panic: loud", "FAIL\texample.com/x\t"}, "ok  ", "", "a test has failed"},
		{"does not build", "func Test(t *testing.T) { x }", []string{"undefined: x", "FAIL\texample.com/x [build failed]"}, "ok  ", "", "a test has failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"go.mod": "module example.com/x\n", "x_test.go": "package x\n\nimport \"testing\"\n" + c.source} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
			}
			cmd := exec.Command("go", "test", "-count=1", "-json", "./...")
			cmd.Dir = dir
			run, _ := cmd.Output()
			var out, skipped strings.Builder
			err := read(strings.NewReader(string(run)), &out, &skipped)
			if c.wrong == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.wrong)
			}
			for _, want := range c.out {
				require.Contains(t, out.String(), want)
			}
			require.NotContains(t, out.String(), c.without)
			require.Equal(t, c.skipped, skipped.String())
		})
	}
}
