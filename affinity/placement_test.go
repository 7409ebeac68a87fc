package affinity_test

import (
	"context"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

func follows(id string) affinity.Request {
	return content(`{"previous_response_id":"` + id + `","input":"go on"}`)
}

func TestStateOfAnAuthThatIsGone(t *testing.T) {
	for _, require_ := range []bool{false, true} {
		h := newHost(t, affinity.Options[string]{RequireOwner: require_})
		p := h.pick(content(`{"input":"begin"}`))
		require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
		p.Report(affinity.Served)
		owner := p.Auth

		for range 3 {
			p = h.pick(follows("resp_1"))
			require.Equal(t, owner, p.Auth, "it goes where the state is")
		}
		h.fitness[owner] = affinity.Away
		p, err := h.Pick(t.Context(), follows("resp_1"), abc)
		if require_ {
			var none *affinity.NoAuthError
			require.ErrorAs(t, err, &none)
			require.Equal(t, affinity.ReasonOwner, none.Reason)
			require.Equal(t, owner, none.Auth)
			require.NotContains(t, err.Error(), "resp_1", "the error must not contain the client's id")
		} else {
			require.NoError(t, err)
			require.NotEqual(t, owner, p.Auth)
		}
		_, err = h.Pick(t.Context(), content(`{"input":"something else"}`), abc)
		require.NoError(t, err, "other requests are served")
		_, err = h.Pick(t.Context(), follows("resp_unknown"), abc)
		require.NoError(t, err)
	}
}

func TestAnOwnerDoesNotMoveASession(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	h.fitness["A"] = affinity.Unfit
	p := h.pick(content(`{"input":"begin"}`))
	require.NoError(t, p.Owns(t.Context(), "container", "c_1"))
	clear(h.fitness)
	e, err := sessionid.NewExtractor(&sessionid.Options{OwnersEverywhere: true})
	require.NoError(t, err)
	with := r
	id := e.Extract(r.Header, []byte(`{"container":{"id":"c_1"}}`))
	with.ID = &id
	got := h.pick(with)
	require.Equal(t, p.Auth, got.Auth)
	require.Equal(t, affinity.OutcomeOwner, got.Decision.Outcome)
	got.Report(affinity.Terminal)
	require.Equal(t, "A", h.serve(r).Auth)
	other := with
	other.Tenant = "another tenant"
	d := h.serve(other)
	require.Equal(t, affinity.OutcomeNew, d.Outcome, "tenants do not find each other's")
}

// The same when another request of the session has just bound it elsewhere.
func TestStateIsWhereItIsEvenForASessionThatIsJustBound(t *testing.T) {
	h := newHost(t, affinity.Options[string]{RequireOwner: true})
	p := h.pick(content(`{"input":"begin"}`))
	require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
	for i := range 20 {
		r := follows("resp_1")
		r.Body = []byte(`{"previous_response_id":"resp_1","session_id":"s` + string(rune('a'+i)) + `"}`)
		done := make(chan string, 8)
		for j := range 8 {
			go func() {
				q := r
				if j%2 == 0 { // without the state, anywhere
					q.Body = []byte(`{"session_id":"s` + string(rune('a'+i)) + `"}`)
				}
				got, err := h.Affinity.Pick(t.Context(), q, abc, selector.Random[string]().Select)
				if err != nil {
					t.Error(err)
				}
				if j%2 == 0 {
					got.Auth = p.Auth
				}
				done <- got.Auth
			}()
		}
		for range 8 {
			require.Equal(t, p.Auth, <-done)
		}
	}
}

func TestASubagentWithASessionOfItsOwnInheritsItsParentsAuth(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	h.bound("ses_1")
	child := session("ses_2")
	child.Header.Set("X-Parent-Session-Id", "ses_1")
	d := h.serve(child)
	require.Equal(t, "A", d.Auth)
	require.Equal(t, affinity.OutcomeInherited, d.Outcome)
	require.EqualValues(t, 1, h.Stats().Outcome(affinity.OutcomeInherited))
	p := h.pick(child)
	require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
	p.Report(affinity.Terminal)
	require.Equal(t, "A", look(t, h.Selector, session("ses_1")), "its failure does not move its parent")
	h.fitness["A"] = affinity.Full
	d = h.serve(child)
	require.NotEqual(t, "A", d.Auth)
	require.Equal(t, affinity.OutcomeMoved, d.Outcome)
	require.Equal(t, affinity.ReasonRefused, d.Reason)
	orphan := session("ses_3")
	orphan.Header.Set("X-Parent-Session-Id", "unknown")
	require.Equal(t, affinity.OutcomeNew, h.serve(orphan).Outcome)
}

func TestADrainedAuthGetsNoNewSessions(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	h.Drain("A", true)
	for i := range 12 {
		require.NotEqual(t, "A", h.serve(session(string(rune('a'+i)))).Auth)
		require.NotEqual(t, "A", h.serve(affinity.Request{}).Auth)
	}
	require.Equal(t, "A", h.serve(r).Auth, "a bound session stays at a drained auth")
	n, err := h.Bound(t.Context(), "A")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	h.fitness["B"], h.fitness["C"] = affinity.Away, affinity.Away
	require.Equal(t, "A", h.serve(session("only")).Auth, "a new session goes to a drained auth if there is no other")
	clear(h.fitness)
	h.Drain("A", false)
	used := map[string]bool{}
	for i := range 6 {
		used[h.serve(session(string(rune('0'+i)))).Auth] = true
	}
	require.Len(t, used, 3)
}

func TestTheSessionsNameForTheProvider(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	d := h.serve(r)
	name, perAuth := d.SessionName(false), d.SessionName(true)
	require.Regexp(t, regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`), name)
	require.Equal(t, name, h.serve(r).SessionName(false))
	require.Equal(t, perAuth, h.serve(r).SessionName(true))
	h.fitness["A"] = affinity.Unfit
	moved := h.serve(r)
	require.Equal(t, affinity.OutcomeMoved, moved.Outcome)
	require.Equal(t, name, moved.SessionName(false), "the name stays the same over moves")
	require.NotEqual(t, perAuth, moved.SessionName(true))
	require.NotEqual(t, name, h.serve(session("y")).SessionName(false))
	require.Empty(t, h.serve(affinity.Request{}).SessionName(true))
}

func TestARetryOnTheSameAuthIsNoSwitch(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	first, again := h.serve(r), h.serve(r)
	require.Equal(t, first.Auth, again.Auth)
	require.Equal(t, affinity.ReasonNone, again.Reason)
	h.fitness["A"] = affinity.Away
	elsewhere := h.serve(r)
	require.NotEqual(t, affinity.ReasonNone, elsewhere.Reason)
	require.Equal(t, first.Session, elsewhere.Session, "a request that goes elsewhere has the same session")
}

// A session is cold earlier at an auth whose prompt cache was measured to live for a shorter
// time. What the host says of the auth counts more.
func TestAMeasuredWarmTimeCounts(t *testing.T) {
	for said, anew := range map[time.Duration]bool{0: true, time.Minute: false} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			next := selector.Func[string](func(_ context.Context, from []string) (string, error) {
				asked++
				return from[0], nil
			})
			s, err := affinity.Wrap(next, func(a string) string { return a }, &affinity.Options[string]{
				ColdAnew: true,
				State:    func(string, affinity.Request) affinity.State { return affinity.State{Warm: said} },
				WarmOf:   func(auth string) (time.Duration, bool) { return 10 * time.Second, auth == "A" },
			})
			require.NoError(t, err)
			defer s.Close()
			r := session("s")
			for range 2 {
				pick(t, s, r, []string{"A"}).Report(affinity.Served)
				time.Sleep(20 * time.Second)
			}
			asked = 0
			pick(t, s, r, []string{"A"}).Report(affinity.Served)
			require.Equal(t, anew, asked > 0, "%v", said)
		})
	}
}

// A host can name state that package sessionid does not find, for requests with and without an
// ID of the host's own.
func TestAHostNamesState(t *testing.T) {
	for _, withID := range []bool{false, true} {
		h := newHost(t, affinity.Options[string]{})
		session := h.bound("x")
		h.fitness["A"] = affinity.Unfit
		p := h.pick(content(`{"input":"begin"}`))
		require.NoError(t, p.Owns(t.Context(), "container", "c_1"))
		clear(h.fitness)
		with := session
		with.Owners = []sessionid.Owner{{Name: "container", Key: sessionid.OwnerKey("container", "c_1")}}
		if withID {
			id := sessionid.Extract(session.Header, session.Body)
			with.ID = &id
		}
		got := h.pick(with)
		require.Equal(t, affinity.OutcomeOwner, got.Decision.Outcome)
		require.Equal(t, p.Auth, got.Auth)
		with.Owners[0].Key = sessionid.OwnerKey("container", "c_2")
		require.Equal(t, "A", h.pick(with).Auth, "nobody has that state")
		with.Owners = []sessionid.Owner{{}}
		require.Equal(t, "A", h.pick(with).Auth)
	}
}
