package affinityhttp_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// If no auth was chosen: what the client is told in the format of its API, what the operator
// sees in the event, and that no auth was asked.
func TestWhatIsToldIfNoAuthWasChosen(t *testing.T) {
	const nobody, undecided = "no account can serve this request now", "the gateway could not choose an account"
	own := errors.New("the balancer's own: https://internal.example")
	fit := func(f affinity.Fitness) func(string, affinity.Request) affinity.State {
		return func(string, affinity.Request) affinity.State { return affinity.State{Fitness: f} }
	}
	choose := func(auth string, err error) selector.Func[string] {
		return func(context.Context, []string) (string, error) { return auth, err }
	}
	for name, c := range map[string]struct {
		next   selector.Selector[string]
		auths  []string
		state  func(string, affinity.Request) affinity.State
		status int
		says   string
		reason affinity.Reason
	}{
		"no candidates":             {auths: []string{}, status: 503, says: nobody, reason: affinity.ReasonGone},
		"all are away":              {state: fit(affinity.Away), status: 503, says: nobody, reason: affinity.ReasonAway},
		"all are full":              {state: fit(affinity.Full), status: 503, says: nobody, reason: affinity.ReasonFull},
		"all are unfit":             {state: fit(affinity.Unfit), status: 503, says: nobody, reason: affinity.ReasonUnfit},
		"the balancer keeps nobody": {next: selector.Filter(func(context.Context, string) bool { return false }, selector.RoundRobin[string]()), status: 503, says: nobody, reason: affinity.ReasonBalancer},
		"the balancer fails":        {next: choose("a", own), status: 500, says: undecided, reason: affinity.ReasonBalancer},
		"the balancer is late":      {next: choose("a", context.DeadlineExceeded), status: 500, says: undecided, reason: affinity.ReasonBalancer},
		"no name":                   {next: choose("", nil), status: 500, says: undecided, reason: affinity.ReasonName},
		"two of one name":           {auths: []string{"a", "a"}, status: 500, says: undecided, reason: affinity.ReasonName},
	} {
		t.Run(name, func(t *testing.T) {
			var told []affinity.Event
			var failed error
			tried := 0
			if c.next == nil {
				c.next = selector.FillFirst[string]()
			}
			if c.auths == nil {
				c.auths = names
			}
			tr, err := affinityhttp.New(c.next, itself,
				func(*http.Request, affinity.Request) []string { return c.auths },
				func(*http.Request, string) error { tried++; return nil },
				&affinityhttp.Options[string]{
					Affinity:  affinity.Options[string]{State: c.state, OnEvent: func(_ context.Context, e affinity.Event) { told = append(told, e) }},
					OnAttempt: func(context.Context, affinityhttp.Attempt) { tried++ },
				})
			require.NoError(t, err)
			defer tr.Close()
			for _, path := range []string{"/v1/messages", "/v1/responses", "/v1beta/models/m:generateContent"} {
				told = nil
				in := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"model":"m"}`))
				in.Header.Set("X-Session-Id", "s")
				_, failed = tr.RoundTrip(in)
				require.Error(t, failed)
				w := httptest.NewRecorder()
				affinityhttp.WriteError(w, in, failed)
				require.Equal(t, c.status, w.Code)
				require.Equal(t, c.says, gjson.Get(w.Body.String(), "error.message").Str)
				require.Len(t, told, 1)
				require.Equal(t, affinity.OutcomeRefused, told[0].Decision.Outcome)
				require.Equal(t, c.reason.String(), told[0].Decision.Reason.String())
			}
			require.Zero(t, tried, "no auth was asked")
			var picking *affinityhttp.PickError
			require.Equal(t, c.reason == affinity.ReasonBalancer || c.reason == affinity.ReasonName, errors.As(failed, &picking))
			if name == "the balancer fails" {
				require.ErrorIs(t, failed, own, "the operator's log can say it")
			}
		})
	}
}

// If a balancer fails after an auth has answered, the client gets that answer.
func TestABalancerThatFailsLaterHidesNoAnswer(t *testing.T) {
	var f failing
	p := start(t, f.serve, nil)
	first := true
	require.NoError(t, p.Reconfigure(selector.Func[string](func(_ context.Context, from []string) (string, error) {
		if !first {
			return "", errors.New("the balancer's own")
		}
		first = false
		return from[0], nil
	}), nil))
	f.set("a", 429, "")
	g := p.turn(t, "s")
	require.Equal(t, 429, g.StatusCode)
	require.Contains(t, g.text, "a says 429")
}
