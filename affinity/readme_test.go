package affinity_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// The code of README and the guide, compiled and run.

// Account is what their gateway chooses among.
type Account struct{ ID string }

// tenLines are the ten lines of README.
func tenLines(ctx context.Context, balancer selector.Selector[*Account], accounts []*Account, request affinity.Request, send func(context.Context, *Account, affinity.Request) (*http.Response, error)) (*http.Response, error) {
	sticky, err := affinity.Wrap(balancer, func(a *Account) string { return a.ID }, nil)
	if err != nil {
		return nil, err
	}
	pick, err := sticky.Pick(ctx, request, accounts)
	if err != nil {
		return nil, err // a *affinity.NoAuthError says until when
	}
	answer, err := send(ctx, pick.Auth, request)
	pick.ReportResponse(answer, err)
	return answer, err
}

func TestREADMEsTenLines(t *testing.T) {
	accounts := []*Account{{ID: "a"}, {ID: "b"}}
	send := func(_ context.Context, a *Account, _ affinity.Request) (*http.Response, error) {
		require.Equal(t, "a", a.ID)
		return answer(200, `{}`), nil
	}
	resp, err := tenLines(t.Context(), selector.FillFirst[*Account](), accounts, affinity.Request{}, send)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	_, err = tenLines(t.Context(), selector.FillFirst[*Account](), nil, affinity.Request{}, send)
	require.Error(t, err)
	_, err = tenLines(t.Context(), nil, accounts, affinity.Request{}, send)
	require.Error(t, err)
}

// restore loads the state of the process before.
func restore(sticky *affinity.Selector[*Account], state string) error {
	err := sticky.LoadFile(state) // before the first Pick
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist): // the first time there is no file
		return nil
	default: // sticky works, and has no sessions
		return errors.Join(err, os.Rename(state, state+".unread"))
	}
}

func TestREADMEsRestart(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	start := func() *affinity.Selector[*Account] {
		sticky, err := affinity.Wrap(selector.RoundRobin[*Account](), func(a *Account) string { return a.ID }, nil)
		require.NoError(t, err)
		t.Cleanup(func() { sticky.Close() })
		return sticky
	}
	accounts := []*Account{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	r := affinity.Request{Model: "m", Header: http.Header{"X-Session-Id": {"x"}}}
	for _, want := range []affinity.Outcome{affinity.OutcomeNew, affinity.OutcomeHit} {
		sticky := start()
		require.NoError(t, restore(sticky, state))
		p, err := sticky.Pick(t.Context(), r, accounts)
		require.NoError(t, err)
		require.Equal(t, want, p.Decision.Outcome)
		p.Report(affinity.Served)
		require.NoError(t, sticky.SaveFile(state))
	}
	require.NoError(t, os.WriteFile(state, []byte("no state"), 0o600))
	require.ErrorIs(t, restore(start(), state), cache.ErrForeign)
	require.FileExists(t, state+".unread")
	require.NoError(t, restore(start(), state))
}

// identify is README's handler that needs the identity alone.
func identify(header http.Header, body []byte) string {
	id := sessionid.Extract(header, body)
	if id.IsZero() {
		return "nothing names a session"
	}
	return id.String()
}

func ownSignals() (*sessionid.Extractor, error) {
	e, err := sessionid.NewExtractor(&sessionid.Options{
		Own:        []sessionid.Place{{Header: "X-Acme-Chat"}, {Path: "acme.chat.id"}},
		LanesApart: true,
	})
	return e, err
}

func TestREADMEsExtractors(t *testing.T) {
	require.Equal(t, "nothing names a session", identify(nil, nil))
	require.Contains(t, identify(http.Header{"X-Session-Id": {"x"}}, nil), "X-Session-Id")
	e, err := ownSignals()
	require.NoError(t, err)
	id := e.Extract(http.Header{"X-Acme-Chat": {"x"}}, nil)
	require.Equal(t, sessionid.KindOwn, id.Signal().Kind)
}

// Each Go block of README and of the guide stands in this file, or in those of affinityhttp,
// line by line.
func TestREADMEShowsWhatRuns(t *testing.T) {
	var source []byte
	for _, name := range []string{"readme_test.go", "affinityhttp/readme_test.go", "affinityhttp/guide_test.go"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		source = append(source, text...)
	}
	flat := func(s string) string {
		var b strings.Builder
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				b.WriteString(line + "\n")
			}
		}
		return b.String()
	}
	for name, least := range map[string]int{"../README.md": 3, "../.github/GUIDE.md": 4} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		blocks := strings.Split(string(text), "```go\n")[1:]
		require.GreaterOrEqual(t, len(blocks), least, name)
		for _, block := range blocks {
			block, _, _ = strings.Cut(block, "```")
			require.True(t, strings.Contains(flat(string(source)), flat(block)), "%s: no test has the block\n%s", name, block)
		}
	}
}

// Each test that README names for a guarantee is there.
func TestREADMENamesTests(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| .+ \\| `([a-z/]+)` `(Test[A-Za-z]+)` \\|$").FindAllStringSubmatch(string(readme), -1)
	require.GreaterOrEqual(t, len(rows), 10)
	for _, row := range rows {
		files, err := filepath.Glob(filepath.Join("..", row[1], "*_test.go"))
		require.NoError(t, err)
		found := false
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			found = found || strings.Contains(string(text), "func "+row[2]+"(t *testing.T) {")
		}
		require.True(t, found, "no %s in %s", row[2], row[1])
	}
}

// What README and the guide link to is there.
func TestREADMEsLinksLeadSomewhere(t *testing.T) {
	for _, name := range []string{"../README.md", "../.github/GUIDE.md", "../.github/CONTRIBUTING.md", "../.github/SECURITY.md", "../.github/CHANGELOG.md"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, link := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(link[1], "://") {
				_, err := os.Stat(filepath.Join(filepath.Dir(name), link[1]))
				require.NoError(t, err, name)
			}
		}
	}
}
