package affinity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// models is a host whose auths serve some models only.
func models(t *testing.T, o affinity.Options[string], serves map[string]string) *host {
	h := newHost(t, o)
	h.serves = serves
	return h
}

func with(r affinity.Request, model string) affinity.Request {
	r.Model = model
	return r
}

func TestAModelThatTheAuthDoesNotServe(t *testing.T) {
	h := models(t, affinity.Options[string]{}, map[string]string{"A": "m1", "B": "m1 m2", "C": "m1 m2"})
	h.fitness["B"], h.fitness["C"] = affinity.Away, affinity.Away
	one, two := with(session("x"), "m1"), with(session("x"), "m2")
	require.Equal(t, "A", h.serve(one).Auth)
	clear(h.fitness)
	h.fitness["C"] = affinity.Away
	require.Equal(t, "B", h.serve(two).Auth)
	clear(h.fitness)
	for range 5 {
		require.Equal(t, "A", h.serve(one).Auth, "each model stays where it is")
		require.Equal(t, "B", h.serve(two).Auth)
	}
}

func TestOneAuthOverAllModels(t *testing.T) {
	h := models(t, affinity.Options[string]{AllModels: true}, map[string]string{"A": "m1", "B": "m1 m2", "C": "m1 m2"})
	h.fitness["B"], h.fitness["C"] = affinity.Away, affinity.Away
	one, two := with(session("x"), "m1"), with(session("x"), "m2")
	require.Equal(t, "A", h.serve(one).Auth)
	clear(h.fitness)
	h.fitness["C"] = affinity.Away
	d := h.serve(two)
	require.Equal(t, "B", d.Auth)
	require.Equal(t, affinity.OutcomeMoved, d.Outcome)
	clear(h.fitness)
	for i := range 5 {
		h.serve(with(session(fmt.Sprint("other", i)), "m1"))
		require.Equal(t, "B", h.serve(one).Auth, "the session is at the auth that can serve both models")
		require.Equal(t, "B", h.serve(two).Auth)
	}
	p := h.pick(one)
	p.Report(affinity.Terminal)
	require.Empty(t, look(t, h.Selector, two), "the terminal failure has unbound the session for all models")
}

// No auth can serve both models. Each model goes back to the auth that has its prompt cache,
// and not to the balancer's next choice.
func TestBetweenModelsThatNoAuthCanServe(t *testing.T) {
	h := models(t, affinity.Options[string]{AllModels: true}, map[string]string{"A": "m1", "B": "m2", "C": "m1 "})
	h.fitness["C"] = affinity.Away
	one, two := with(session("x"), "m1"), with(session("x"), "m2")
	require.Equal(t, "A", h.serve(one).Auth)
	require.Equal(t, "B", h.serve(two).Auth)
	clear(h.fitness)
	for i := range 5 {
		h.serve(with(session(fmt.Sprint("other", i)), "m1"))
		d := h.serve(one)
		require.Equal(t, "A", d.Auth)
		require.Equal(t, affinity.ReasonUnfit, d.Reason)
		require.Equal(t, "B", h.serve(two).Auth)
	}
	// A goes: the session's place for m1 is another one, and stays.
	h.fitness["A"] = affinity.Unfit
	for range 3 {
		require.Equal(t, "C", h.serve(one).Auth)
		require.Equal(t, "B", h.serve(two).Auth)
	}
	clear(h.fitness)
	require.Equal(t, "C", h.serve(one).Auth)
	// A session of the same id later is another one.
	require.True(t, invalidated(t, h.Selector, one))
	require.Equal(t, affinity.OutcomeNew, h.serve(one).Outcome)
}

// A pool has two names, the client's and the provider's. With a scope function both are one
// pool.
func TestPickedUnderThePoolsNameReportedWithTheProviders(t *testing.T) {
	h := newHost(t, affinity.Options[string]{Scope: func(r affinity.Request) (pool, model string) {
		pool, model, _ = strings.Cut(strings.TrimPrefix(r.Model, "my-"), "/")
		return pool, model
	}})
	as := func(model string) affinity.Request {
		r := session("x")
		r.Pool, r.Model = "", model
		return r
	}
	p := h.pick(as("my-anthropic/claude"))
	first := p.Auth
	p.Report(affinity.Served)
	for range 3 {
		require.Equal(t, first, h.serve(as("anthropic/claude")).Auth)
		require.Equal(t, first, h.serve(as("my-anthropic/claude")).Auth)
	}
	require.Equal(t, first, look(t, h.Selector, as("anthropic/claude")))
	p = h.pick(as("my-anthropic/claude"))
	require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
	next := content(`{"previous_response_id":"resp_1","input":"go on"}`)
	next.Pool, next.Model = "", "anthropic/claude"
	require.Equal(t, first, h.serve(next).Auth, "the state that the response made is found under the other pool name")
	require.True(t, invalidated(t, h.Selector, as("anthropic/claude")), "a failure under the other pool name is about the same session")
	require.Empty(t, look(t, h.Selector, as("my-anthropic/claude")))
	other := as("my-anthropic/claude")
	h.serve(other)
	other.Tenant = "another"
	require.Empty(t, look(t, h.Selector, other), "the scope function cannot change the tenant")
}

// A customer has left: nothing of it is left in the store, and nobody else notices.
func TestATenantIsForgotten(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *affinity.Options[string]){
		"in memory": func(*testing.T, *affinity.Options[string]) {},
		"in a store": func(t *testing.T, o *affinity.Options[string]) {
			m, err := cache.New(nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, m.Close()) })
			o.Store = m
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := affinity.Options[string]{RequireOwner: true}
			open(t, &o)
			s := wrap(t, &o)
			as := func(tenant, model, id string) affinity.Request {
				r := session(id)
				r.Tenant, r.Model = tenant, model
				return r
			}
			state := func(tenant string) affinity.Request {
				return affinity.Request{Tenant: tenant, Pool: "p", Model: "m", Body: []byte(`{"previous_response_id":"resp_1","input":"go on"}`)}
			}
			long := strings.Repeat("long", 100)
			for _, tenant := range []string{"left", "stays", "", long} {
				served(t, s, as(tenant, "m", "x"), abc)
				served(t, s, as(tenant, "n", "x"), abc)
				p := pick(t, s, as(tenant, "m", "y"), abc)
				p.Report(affinity.Served)
				require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
				require.Equal(t, affinity.OutcomeOwner, pick(t, s, state(tenant), abc).Decision.Outcome)
			}
			late := pick(t, s, as("left", "m", "late"), abc)
			for _, tenant := range []string{"left", "", long} {
				n, err := s.InvalidateTenant(t.Context(), tenant)
				require.NoError(t, err)
				want := 4
				if tenant == "left" {
					want = 5
				}
				require.Equal(t, want, n)
				again, err := s.InvalidateTenant(t.Context(), tenant)
				require.NoError(t, err)
				require.Zero(t, again)
				require.Empty(t, look(t, s, as(tenant, "m", "x")))
				require.Empty(t, look(t, s, as(tenant, "n", "x")))
				require.NotEqual(t, affinity.OutcomeOwner, pick(t, s, state(tenant), abc).Decision.Outcome, "which auth has its state is forgotten")
			}
			late.Report(affinity.Served)
			require.Empty(t, look(t, s, as("left", "m", "late")), "a result of a request under way binds nothing")
			require.NotEmpty(t, look(t, s, as("stays", "m", "x")))
			require.Equal(t, affinity.OutcomeOwner, pick(t, s, state("stays"), abc).Decision.Outcome)
			if o.Store == nil {
				require.EqualValues(t, 13, s.Stats().Removed[cache.Invalidated])
				require.NoError(t, s.Close())
				_, err := s.InvalidateTenant(t.Context(), "stays")
				require.ErrorIs(t, err, cache.ErrClosed)
			}
		})
	}
}
