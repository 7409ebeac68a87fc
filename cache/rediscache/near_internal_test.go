package rediscache

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

// The near-cache does not keep an answer that was requested before a change of the session and
// arrives after it.
func TestAnAnswerOfBeforeAChangeIsNotKept(t *testing.T) {
	scope, keys := cache.Scope{Tenant: "t"}, cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}}
	place := cache.Key{2}
	a := aliasOf(place, keys.Names[0])
	b := cache.Binding{Session: cache.Key{3}, Auth: "A", Gen: 4, Served: true}
	changes := map[string]func(n *near){
		"none":                   func(*near) {},
		"of another session":     func(n *near) { n.isNot(cache.Key{9}); n.changed(alias{9}) },
		"by this process":        func(n *near) { n.begin(b.Session); n.end(b.Session) },
		"by another process":     func(n *near) { n.changed(a) },
		"by whoever, to all":     func(n *near) { n.beginAll(); n.endAll() },
		"that somebody has seen": func(n *near) { n.answered(0, &scope, place, &keys, &cache.Binding{Session: b.Session, Gen: 5}, nil) },
		"its key is another's":   func(n *near) { n.answered(0, &scope, place, &keys, &cache.Binding{Session: cache.Key{8}, Gen: 5}, nil) },
		"it is gone":             func(n *near) { n.answered(0, &scope, place, &keys, &cache.Binding{}, nil) },
		"the connection is lost": func(n *near) { n.invalidations(nil) },
	}
	for name, change := range changes {
		n := newNear(&Options{Prefix: "p", Near: 8, Lag: time.Hour})
		before := n.moment()
		change(n)
		n.answered(before, &scope, place, &keys, &b, []alias{a})
		var got cache.Binding
		require.Equal(t, name == "none" || name == "of another session", n.get(&got, &scope, &keys, true), name)
		n.answered(n.moment(), &scope, place, &keys, &b, []alias{a})
		require.True(t, n.get(&got, &scope, &keys, true), "%s: an answer that was requested after the change must be kept", name)
	}
}

// If the server's answer to any request shows a newer state of a session, or that a key no longer
// belongs to it, the near-cache drops its entry.
func TestWhatWasSeenNewerIsForgotten(t *testing.T) {
	scope, place := cache.Scope{Tenant: "t"}, cache.Key{2}
	keys := cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}, Also: [cache.MaxAlso]cache.Key{{7}}}
	weak, other := cache.Keys{Names: [cache.MaxNames]cache.Key{{7}}}, cache.Keys{Names: [cache.MaxNames]cache.Key{{6}}}
	b := cache.Binding{Session: cache.Key{3}, Auth: "A", Gen: 4, Served: true}
	another := cache.Binding{Session: cache.Key{5}, Auth: "A", Gen: 6, Served: true}
	held := func(t *testing.T) (n *near, get func() bool) {
		n = newNear(&Options{Prefix: "p", Near: 8, Lag: time.Hour})
		n.answered(n.moment(), &scope, place, &keys, &b, []alias{aliasOf(place, cache.Key{1}), aliasOf(place, cache.Key{7})})
		get = func() bool { return n.get(new(cache.Binding), &scope, &keys, true) }
		require.True(t, get())
		return n, get
	}
	for name, seen := range map[string]struct {
		by   *cache.Keys
		b    cache.Binding
		held bool
	}{
		"the same":               {&keys, b, true},
		"a newer generation":     {&keys, cache.Binding{Session: b.Session, Auth: "A", Gen: 5}, false},
		"a memo":                 {&other, cache.Binding{Session: b.Session, Auth: "A", Gen: 4, Memo: "m"}, false},
		"another auth":           {&other, cache.Binding{Session: b.Session, Auth: "B", Gen: 4}, false},
		"its id is another's":    {&keys, another, false},
		"a key is another's":     {&weak, another, false},
		"a key is another's end": {&cache.Keys{End: cache.Key{7}}, another, false},
		"a key is nobody's":      {&weak, cache.Binding{}, false},
		"another id's session":   {&other, another, true},
		"another id is nobody's": {&other, cache.Binding{}, true},
	} {
		n, get := held(t)
		n.answered(0, &scope, place, seen.by, &seen.b, nil)
		require.Equal(t, seen.held, get(), name)
	}
}

// While an operation that may change a session is under way, the near-cache does not answer for
// this session.
func TestWhoeverAsksDuringAChangeAsksTheServer(t *testing.T) {
	scope, place := cache.Scope{Tenant: "t"}, cache.Key{2}
	keys := cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}}
	b := cache.Binding{Session: cache.Key{3}, Auth: "A", Gen: 4, Served: true}
	n := newNear(&Options{Prefix: "p", Near: 8, Lag: time.Hour})
	answer := func() {
		n.answered(n.moment(), &scope, place, &keys, &b, []alias{aliasOf(place, cache.Key{1})})
	}
	answers := func() bool {
		_, touched := n.touch(&b, false)
		require.Equal(t, n.get(new(cache.Binding), &scope, &keys, true), touched)
		return touched
	}
	answer()
	require.True(t, answers())
	n.begin(cache.Key{9})
	require.True(t, answers(), "a change of another session must not matter")
	n.end(cache.Key{9})
	for _, change := range []struct{ begin, end func() }{
		{func() { n.begin(b.Session) }, func() { n.end(b.Session) }}, {n.beginAll, n.endAll},
	} {
		answer()
		change.begin()
		change.begin()
		answer()
		require.False(t, answers())
		change.end()
		answer()
		require.False(t, answers(), "one of the two changes is still under way")
		change.end()
		require.False(t, answers(), "an answer that came during the change may be older than it")
		answer()
		require.True(t, answers())
	}
	require.Empty(t, n.busy)
}

// The near-cache is bounded, and so are its indexes.
func TestTheNearCacheIsBounded(t *testing.T) {
	n := newNear(&Options{Prefix: "p", Near: 8, Lag: time.Hour})
	for i := range 100 {
		k := cache.Keys{Names: [cache.MaxNames]cache.Key{{byte(i), 1}}}
		a := aliasOf(cache.Key{}, k.Names[0])
		n.answered(n.moment(), &cache.Scope{}, cache.Key{}, &k, &cache.Binding{Session: cache.Key{byte(i), 2}, Auth: "A", Gen: 4, Served: true}, []alias{a})
	}
	require.Equal(t, []int{8, 8, 8}, []int{n.lru.Len(), len(n.bySession), len(n.byAlias)})
}

// 0 is the default bound, and a negative number is none: the script takes it as it is.
func TestTheBoundOfATenant(t *testing.T) {
	for given, want := range map[int]int{0: 100_000, 7: 7, -1: -1} {
		o, err := (&Options{MaxPerTenant: given}).withDefaults()
		require.NoError(t, err)
		require.Equal(t, want, o.MaxPerTenant)
	}
}
