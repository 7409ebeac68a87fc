package rediscache

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

// An answer that was asked for before a change, and that arrives after it.
func TestAnAnswerOfBeforeAChangeIsNotKept(t *testing.T) {
	scope, keys := cache.Scope{Tenant: "t"}, cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}}
	a := aliasOf(cache.Key{2}, keys.Names[0])
	b := cache.Binding{Session: cache.Key{3}, Auth: "A", Gen: 4, Served: true}
	changes := map[string]func(n *near){
		"none":                   func(*near) {},
		"of another session":     func(n *near) { n.drop(cache.Key{9}); n.changed(alias{9}) },
		"by this process":        func(n *near) { n.drop(b.Session) },
		"by another process":     func(n *near) { n.changed(a) },
		"by whoever, to all":     func(n *near) { n.dropAll() },
		"the connection is lost": func(n *near) { n.invalidations(nil) },
	}
	for name, change := range changes {
		n := newNear(&Options{Prefix: "p", Near: 8, Lag: time.Hour})
		before := n.moment()
		change(n)
		n.keep(before, &scope, &keys, a, &b)
		var got cache.Binding
		require.Equal(t, name == "none" || name == "of another session", n.get(&got, &scope, &keys, true), name)
		n.keep(n.moment(), &scope, &keys, a, &b)
		require.True(t, n.get(&got, &scope, &keys, true), "an answer of after it")
	}
}

// A binding that the server has shown newer is not answered as it was, whatever way it
// was shown.
func TestWhatWasSeenNewerIsForgotten(t *testing.T) {
	scope, keys := cache.Scope{Tenant: "t"}, cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}}
	b := cache.Binding{Session: cache.Key{3}, Auth: "A", Gen: 4, Served: true}
	for _, newer := range []cache.Binding{{Session: b.Session, Auth: "A", Gen: 5}, {Session: b.Session, Auth: "A", Gen: 4, Memo: "m"}, {Session: b.Session, Auth: "B", Gen: 4}} {
		n := newNear(&Options{Prefix: "p", Near: 8, Lag: time.Hour})
		n.keep(n.moment(), &scope, &keys, alias{1}, &b)
		var got cache.Binding
		n.saw(&b)
		require.True(t, n.get(&got, &scope, &keys, true))
		n.saw(&newer)
		require.False(t, n.get(&got, &scope, &keys, true), "%+v", newer)
	}
}

// The near-cache is bounded, and so is what leads into it.
func TestTheNearCacheIsBounded(t *testing.T) {
	n := newNear(&Options{Prefix: "p", Near: 8, Lag: time.Hour})
	for i := range 100 {
		k := cache.Keys{Names: [cache.MaxNames]cache.Key{{byte(i), 1}}}
		n.keep(n.moment(), &cache.Scope{}, &k, alias{byte(i)}, &cache.Binding{Session: cache.Key{byte(i), 2}, Auth: "A", Gen: 4, Served: true})
	}
	require.Equal(t, []int{8, 8, 8}, []int{n.lru.Len(), len(n.bySession), len(n.byAlias)})
}
