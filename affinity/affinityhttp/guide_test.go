package affinityhttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
	"github.com/llmaffinity/llmaffinity/selector"
)

// The guide's loop around a pick, compiled and run.

func wrapAccounts(balancer selector.Selector[*Account]) (*affinity.Selector[*Account], error) {
	sticky, err := affinity.Wrap(balancer, func(a *Account) string { return a.ID }, &affinity.Options[*Account]{
		State: func(a *Account, _ affinity.Request) affinity.State {
			if until, asked := a.RestsUntil(); time.Now().Before(until) {
				return affinity.State{Fitness: affinity.Away, Until: until, Guess: !asked}
			}
			return affinity.State{}
		},
	})
	return sticky, err
}

type sender func(context.Context, *Account, affinity.Request) (*http.Response, error)

// attempts is how many accounts the guide's loop asks.
const attempts = 4

// once sends a request until an account has answered it.
func once(in *http.Request, sticky *affinity.Selector[*Account], accounts []*Account, request affinity.Request, send sender) (answer *http.Response, err error) {
	ctx := in.Context()
	for {
		pick, failed := sticky.Pick(ctx, request, accounts) // all accounts, also those that rest
		switch {
		case failed == nil:
		case answer == nil && err == nil: // no account was asked
			return nil, &affinityhttp.PickError{Err: failed} // for affinityhttp.WriteError
		default:
			return answer, err // what the last account has said
		}
		if answer != nil {
			answer.Body.Close()
		}
		var report affinity.Report
		answer, report, err = affinityhttp.Send(ctx, pick, func(ctx context.Context) (*http.Response, error) {
			return send(ctx, pick.Auth, request)
		})
		switch report.Result {
		case affinity.Transient: // another account may help
			pick.Auth.Rest(max(report.Away, time.Second), report.Away > 0)
		case affinity.Terminal: // a key that is refused is of no use to other sessions; 404 is the client's model
			if answer != nil && answer.StatusCode != 404 {
				pick.Auth.Rest(time.Minute, false)
			}
		default:
			return answer, err
		}
		request.Tried = append(request.Tried, pick.Decision.Auth)
		if len(request.Tried) == attempts || !affinityhttp.Refused(answer, err) && !affinityhttp.Repeatable(in, request) {
			return answer, err
		}
	}
}

func answer(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}
}

func ofSession(name string) affinity.Request {
	return affinity.Request{Model: "m", Header: http.Header{"X-Session-Id": {name}}, Body: []byte(`{"model":"m"}`)}
}

// turn is the request of a client that goes on with its conversation.
func turn() *http.Request { return httptest.NewRequest(http.MethodPost, "/v1/messages", nil) }

func TestGUIDEsLoop(t *testing.T) {
	accounts := []*Account{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	sticky, err := wrapAccounts(selector.FillFirst[*Account]())
	require.NoError(t, err)
	defer sticky.Close()
	var calls []string
	send := func(_ context.Context, a *Account, _ affinity.Request) (*http.Response, error) {
		if calls = append(calls, a.ID); a.ID == "a" {
			return answer(429), nil
		}
		return answer(200), nil
	}
	for range 2 {
		resp, err := once(turn(), sticky, accounts, ofSession("x"), send)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Equal(t, []string{"a", "b", "b"}, calls)
	for _, a := range accounts {
		a.Rest(time.Minute, true)
	}
	_, err = once(turn(), sticky, accounts, ofSession("x"), send)
	var none *affinity.NoAuthError
	require.ErrorAs(t, err, &none)
	require.InDelta(t, 60, time.Until(none.Until).Seconds(), 30)
	w := httptest.NewRecorder()
	affinityhttp.WriteError(w, httptest.NewRequest(http.MethodPost, "/v1/messages", nil), err)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

func TestGUIDEsLoopRestsAKeyThatIsRefused(t *testing.T) {
	accounts := []*Account{{ID: "a"}, {ID: "b"}}
	sticky, err := wrapAccounts(selector.FillFirst[*Account]())
	require.NoError(t, err)
	defer sticky.Close()
	refused := 0
	send := func(_ context.Context, a *Account, _ affinity.Request) (*http.Response, error) {
		if a.ID == "a" {
			refused++
			return answer(401), nil
		}
		return answer(200), nil
	}
	for _, session := range []string{"x", "y", "z"} {
		resp, err := once(turn(), sticky, accounts, ofSession(session), send)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Equal(t, 1, refused)
}

// A model that no account knows is the client's mistake, and a request with effects is sent once.
func TestGUIDEsLoopGivesUp(t *testing.T) {
	var accounts []*Account
	for i := range 2 * attempts {
		accounts = append(accounts, &Account{ID: fmt.Sprint(i)})
	}
	sticky, err := wrapAccounts(selector.RoundRobin[*Account]())
	require.NoError(t, err)
	defer sticky.Close()
	for _, c := range []struct {
		body         string
		status, want int
	}{
		{`{"model":"misspelt"}`, 404, attempts},
		{`{"background":true}`, 500, 1},
		{`{"background":true}`, 429, attempts}, // it had no effect
	} {
		calls := 0
		r := ofSession(c.body)
		r.Body = []byte(c.body)
		resp, err := once(turn(), sticky, accounts, r, func(context.Context, *Account, affinity.Request) (*http.Response, error) {
			calls++
			return answer(c.status), nil
		})
		require.NoError(t, err)
		require.Equal(t, c.status, resp.StatusCode)
		require.Equal(t, c.want, calls, c.body)
	}
	_, err = once(turn(), sticky, accounts, ofSession("x"), func(context.Context, *Account, affinity.Request) (*http.Response, error) {
		return nil, io.ErrUnexpectedEOF
	})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// One request that every account refuses keeps nobody else out.
func TestGUIDEsLoopSurvivesABadRequest(t *testing.T) {
	for _, status := range []int{401, 403, 429, 500, 502} {
		accounts := []*Account{{ID: "a"}, {ID: "b"}, {ID: "c"}}
		sticky, err := wrapAccounts(selector.RoundRobin[*Account]())
		require.NoError(t, err)
		defer sticky.Close()
		send := func(_ context.Context, _ *Account, r affinity.Request) (*http.Response, error) {
			if r.Tenant == "bad" {
				return answer(status), nil
			}
			return answer(200), nil
		}
		bad := ofSession("x")
		bad.Tenant = "bad"
		for round := range 2 {
			for i := range 6 {
				resp, err := once(turn(), sticky, accounts, ofSession(fmt.Sprint(i)), send)
				require.NoError(t, err, "%d, round %d", status, round)
				require.Equal(t, 200, resp.StatusCode)
			}
			resp, err := once(turn(), sticky, accounts, bad, send)
			require.NoError(t, err)
			require.Equal(t, status, resp.StatusCode, "the client gets what the last account has said")
		}
	}
}

// What the balancer does wrong is told as the guide's table says.
func TestGUIDEsLoopTellsWhyNoAccountWasChosen(t *testing.T) {
	for want, choose := range map[int]selector.Func[*Account]{
		500: func(context.Context, []*Account) (*Account, error) { return nil, errors.New("a mistake") },
		503: func(context.Context, []*Account) (*Account, error) { return nil, selector.ErrNoCandidates },
	} {
		sticky, err := wrapAccounts(choose)
		require.NoError(t, err)
		defer sticky.Close()
		_, err = once(turn(), sticky, []*Account{{ID: "a"}}, ofSession("x"), nil)
		w := httptest.NewRecorder()
		affinityhttp.WriteError(w, httptest.NewRequest(http.MethodPost, "/v1/messages", nil), err)
		require.Equal(t, want, w.Code)
	}
}

// The guide's loop passes the tests that affinitytest has for gateways.
func TestGUIDEsLoopKeepsSessions(t *testing.T) {
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, auths []string) (affinitytest.Gateway, error) {
		var accounts []*Account
		for _, name := range auths {
			accounts = append(accounts, &Account{ID: name})
		}
		sticky, err := wrapAccounts(selector.RoundRobin[*Account]())
		require.NoError(t, err)
		t.Cleanup(func() { sticky.Close() })
		upstream, err := url.Parse(provider)
		require.NoError(t, err)
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
			body, err := io.ReadAll(in.Body)
			if err != nil {
				return
			}
			send := func(ctx context.Context, a *Account, _ affinity.Request) (*http.Response, error) {
				out := affinityhttp.Outgoing(ctx, in, body)
				affinityhttp.SetURL(out, upstream)
				out.Header.Set("Authorization", a.ID)
				return http.DefaultClient.Do(out)
			}
			r := affinityhttp.Describe(in, body)
			r.Tenant = in.Header.Get("Authorization")
			answer, err := once(in, sticky, accounts, r, send)
			if err != nil {
				affinityhttp.WriteError(w, in, err)
				return
			}
			defer answer.Body.Close()
			w.WriteHeader(answer.StatusCode)
			_, _ = io.Copy(w, answer.Body)
		}))
		t.Cleanup(gateway.Close)
		return affinitytest.Gateway{
			URL:    gateway.URL,
			AuthOf: func(r *http.Request) string { return r.Header.Get("Authorization") },
			Back: func(auth string) {
				accounts[slices.Index(auths, auth)].Rest(0, false)
				require.NoError(t, sticky.Back(t.Context(), auth))
			},
		}, nil
	}))
}

// Whoever charges callers for what their requests cost names them in Describe.
func TestAnAttemptSaysWhoseItIs(t *testing.T) {
	p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"usage":{"prompt_tokens":7}}`)
	}, &affinityhttp.Options[string]{
		Describe: func(in *http.Request, r *affinity.Request) { r.Tenant = in.Header.Get("X-Team") },
	})
	in, err := http.NewRequest(http.MethodPost, "http://gateway/v1/chat/completions", bytes.NewReader([]byte(`{"model":"m","messages":[]}`)))
	require.NoError(t, err)
	in.Header.Set("X-Team", "blue")
	resp, err := p.RoundTrip(in)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Len(t, p.attempts, 1)
	require.Equal(t, "blue", p.attempts[0].Tenant)
	require.Equal(t, "m", p.attempts[0].Model)
	require.Equal(t, 7, p.attempts[0].Usage.Prompt)
}
