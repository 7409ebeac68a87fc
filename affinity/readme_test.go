package affinity_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// What README shows is here, compiled and run.

// Account is what the gateway of README chooses among.
type Account struct {
	ID string

	mu    sync.Mutex
	until time.Time
}

func (a *Account) RestsUntil() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.until
}

func (a *Account) Rest(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = time.Now().Add(d)
}

func wrapAccounts(balancer selector.Selector[*Account]) (*affinity.Selector[*Account], error) {
	sticky, err := affinity.Wrap(balancer, func(a *Account) string { return a.ID }, &affinity.Options[*Account]{
		State: func(a *Account, _ affinity.Request) affinity.State {
			if until := a.RestsUntil(); time.Now().Before(until) {
				return affinity.State{Fitness: affinity.Away, Until: until}
			}
			return affinity.State{}
		},
	})
	return sticky, err
}

type gateway struct {
	sticky   *affinity.Selector[*Account]
	accounts []*Account
	send     func(ctx context.Context, a *Account, r affinity.Request) (*http.Response, error)
}

// forward sends a request to the account that affinity picks, and to another one as
// long as that can help.
func (g *gateway) forward(ctx context.Context, r affinity.Request) (answer *http.Response, err error) {
	for missing := 0; ; {
		pick, refused := g.sticky.Pick(ctx, r, g.accounts) // all accounts, also those that rest
		switch {
		case refused != nil && len(r.Tried) > 0:
			return answer, err // nobody else: the client gets what the last account said
		case refused != nil:
			return nil, refused // a *affinity.NoAuthError says until when
		case answer != nil:
			answer.Body.Close()
		}
		answer, err = g.send(ctx, pick.Auth, r)
		result := pick.ReportResponse(answer, err) // reads Retry-After, and what errors say
		if err == nil && answer.StatusCode == http.StatusNotFound {
			missing++ // a model that two accounts do not know is the client's mistake
		}
		if result != affinity.Transient && result != affinity.Terminal || missing == 2 || len(r.Tried) == 3 {
			return answer, err // if its stream breaks, Report once more
		}
		r.Tried = append(r.Tried, pick.Decision.Auth)
	}
}

func TestTheLoopOfREADME(t *testing.T) {
	type call struct{ account, model string }
	var calls []call
	status := map[string]int{}
	g := &gateway{send: func(_ context.Context, a *Account, r affinity.Request) (*http.Response, error) {
		calls = append(calls, call{a.ID, r.Model})
		if status[a.ID] == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		return answer(status[a.ID], a.ID), nil
	}}
	for i := range 5 {
		g.accounts = append(g.accounts, &Account{ID: fmt.Sprint("account-", i)})
	}
	var err error
	g.sticky, err = wrapAccounts(selector.FillFirst[*Account]())
	require.NoError(t, err)
	defer g.sticky.Close()
	forward := func(id string) (int, string) {
		t.Helper()
		calls = nil
		resp, err := g.forward(t.Context(), affinity.Request{Model: "m", Header: http.Header{"X-Session-Id": {id}}})
		if err != nil {
			require.Nil(t, resp)
			return 0, err.Error()
		}
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	all := func(n int) {
		for _, a := range g.accounts {
			status[a.ID] = n
		}
	}
	all(200)
	code, who := forward("x")
	require.Equal(t, 200, code)
	status[who] = 503
	code, other := forward("x")
	require.Equal(t, 200, code)
	require.NotEqual(t, who, other)
	require.Len(t, calls, 2)

	all(404)
	code, _ = forward("y")
	require.Equal(t, 404, code, "the provider's own answer")
	require.Len(t, calls, 2, "tried once more, and not four times")
	all(400)
	code, _ = forward("z")
	require.Equal(t, 400, code)
	require.Len(t, calls, 1)
	all(529)
	code, who = forward("u")
	require.Equal(t, 529, code, "the last answer goes through")
	require.Equal(t, calls[3].account, who)
	require.Len(t, calls, 4)
	all(0)
	code, who = forward("v")
	require.Zero(t, code)
	require.Equal(t, io.ErrUnexpectedEOF.Error(), who)

	all(200)
	for _, a := range g.accounts {
		a.Rest(time.Minute)
	}
	_, err = g.forward(t.Context(), affinity.Request{Header: http.Header{"X-Session-Id": {"w"}}})
	var none *affinity.NoAuthError
	require.ErrorAs(t, err, &none)
	require.InDelta(t, 60, time.Until(none.Until).Seconds(), 30)
}

// identify is what a handler of the host's own needs.
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

// Each Go block of README stands in this file, line by line.
func TestREADMEShowsWhatRuns(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	flat := func(s string) string {
		var b strings.Builder
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				b.WriteString(line + "\n")
			}
		}
		return b.String()
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	require.GreaterOrEqual(t, len(blocks), 3)
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		require.Contains(t, flat(string(source)), flat(block))
	}
}
