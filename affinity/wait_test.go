package affinity_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// A request with Patience waits for the auth where its prompt cache is warm, if that auth has
// said that it is back soon.
func TestPatience(t *testing.T) {
	type step struct {
		name                 string
		cold, guess, unasked bool          // of the session; of the host; the auth has not said
		host                 time.Duration // the host says that the auth is away for so long
		away                 time.Duration // the auth has said so
		patience             time.Duration
		tried, side          bool
		waits                time.Duration // 0: it does not
	}
	for _, c := range []step{
		{name: "the auth has said", away: 2 * time.Second, patience: 3 * time.Second, waits: 2 * time.Second},
		{name: "the host has said", host: 2 * time.Second, patience: 3 * time.Second, waits: 2 * time.Second},
		{name: "both have, the later counts", host: time.Second, away: 2 * time.Second, patience: 3 * time.Second, waits: 2 * time.Second},
		{name: "one of them for too long", host: 4 * time.Second, away: 2 * time.Second, patience: 3 * time.Second},
		{name: "no patience", away: 2 * time.Second},
		{name: "too little", away: 2 * time.Second, patience: time.Second},
		{name: "the host guesses", host: 2 * time.Second, guess: true, patience: 3 * time.Second},
		{name: "nobody has said", unasked: true, patience: time.Hour},
		{name: "cold", away: 2 * time.Second, patience: 3 * time.Second, cold: true},
		{name: "tried", away: 2 * time.Second, patience: 3 * time.Second, tried: true},
		{name: "a side request", away: 2 * time.Second, patience: 3 * time.Second, side: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var state affinity.State
				sticky, err := affinity.Wrap(selector.FillFirst[string](), func(s string) string { return s }, &affinity.Options[string]{
					State: func(auth string, _ affinity.Request) affinity.State {
						if auth == "a" && time.Now().Before(state.Until) {
							return state
						}
						return affinity.State{}
					},
				})
				require.NoError(t, err)
				defer sticky.Close()
				r := affinity.Request{Header: http.Header{"X-Session-Id": {"s"}}}
				pick, err := sticky.Pick(t.Context(), r, []string{"a", "b"})
				require.NoError(t, err)
				pick.Report(affinity.Served)
				if c.cold {
					time.Sleep(6 * time.Minute)
				}
				now := time.Now()
				if c.host > 0 {
					state = affinity.State{Fitness: affinity.Away, Until: now.Add(c.host), Guess: c.guess}
				}
				if c.away > 0 || c.unasked {
					pick.ReportAway(affinity.Transient, c.away)
				}
				r.Patience, r.Side = c.patience, c.side
				if c.tried {
					r.Tried = []string{"a"}
				}
				pick, err = sticky.Pick(t.Context(), r, []string{"a", "b"})
				if c.waits == 0 {
					require.NoError(t, err)
					require.Equal(t, "b", pick.Auth)
					require.Zero(t, sticky.Stats().Outcome(affinity.OutcomeWaits))
					return
				}
				var none *affinity.NoAuthError
				require.ErrorAs(t, err, &none)
				require.True(t, none.Waits())
				require.Equal(t, "a", none.Auth)
				require.Equal(t, affinity.ReasonAway, none.Reason)
				require.Equal(t, c.waits, none.Until.Sub(now))
				require.EqualValues(t, 1, sticky.Stats().Outcome(affinity.OutcomeWaits))
				require.Zero(t, sticky.Stats().Outcome(affinity.OutcomeRefused))
				require.Contains(t, err.Error(), `"a" is away, and the session should wait for it until`)
				time.Sleep(time.Until(none.Until))
				pick, err = sticky.Pick(t.Context(), r, []string{"a", "b"})
				require.NoError(t, err)
				require.Equal(t, "a", pick.Auth)
				require.Equal(t, affinity.OutcomeHit, pick.Decision.Outcome)
			})
		})
	}
}

// A request also waits for the auth that has the state which it names, even without a session.
func TestPatienceForAnOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Time{}
		sticky, err := affinity.Wrap(selector.FillFirst[string](), func(s string) string { return s }, &affinity.Options[string]{
			State: func(auth string, _ affinity.Request) affinity.State {
				if auth == "a" && time.Now().Before(until) {
					return affinity.State{Fitness: affinity.Away, Until: until}
				}
				return affinity.State{}
			},
		})
		require.NoError(t, err)
		defer sticky.Close()
		pick, err := sticky.Pick(t.Context(), affinity.Request{}, []string{"a", "b"})
		require.NoError(t, err)
		require.NoError(t, pick.Owns(t.Context(), "previous_response_id", "resp_1"))
		until = time.Now().Add(time.Second)
		r := affinity.Request{Body: []byte(`{"previous_response_id":"resp_1","input":"q"}`), Patience: 2 * time.Second}
		_, err = sticky.Pick(t.Context(), r, []string{"a", "b"})
		var none *affinity.NoAuthError
		require.ErrorAs(t, err, &none)
		require.True(t, none.Waits())
		require.Equal(t, until, none.Until)
		require.Equal(t, affinity.ReasonOwner, none.Reason)
		time.Sleep(time.Second)
		pick, err = sticky.Pick(t.Context(), r, []string{"a", "b"})
		require.NoError(t, err)
		require.Equal(t, "a", pick.Auth)
	})
}

// An auth that the host only guesses to be away serves if there is no other.
func TestAGuessOfTheHostIsNoReasonToRefuse(t *testing.T) {
	away := map[string]bool{}
	sticky, err := affinity.Wrap(selector.FillFirst[string](), func(s string) string { return s }, &affinity.Options[string]{
		State: func(auth string, _ affinity.Request) affinity.State {
			if away[auth] {
				return affinity.State{Fitness: affinity.Away, Until: time.Now().Add(time.Minute), Guess: true}
			}
			return affinity.State{}
		},
	})
	require.NoError(t, err)
	defer sticky.Close()
	pick := func(session string) string {
		p, err := sticky.Pick(t.Context(), affinity.Request{Header: http.Header{"X-Session-Id": {session}}}, []string{"a", "b"})
		require.NoError(t, err)
		p.Report(affinity.Served)
		return p.Auth
	}
	require.Equal(t, "a", pick("s"))
	away["a"] = true
	require.Equal(t, "b", pick("s"), "the session makes a detour, as for each auth that is away")
	require.Equal(t, "b", pick("new"))
	away["b"] = true
	require.Equal(t, "a", pick("s"), "with no other auth the session's own one is used")
	require.NotEmpty(t, pick("another"))
	away["a"] = false
	require.Equal(t, "a", pick("third"))
}
