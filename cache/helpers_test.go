package cache_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func key(s string) (k cache.Key) {
	copy(k[:], s)
	return k
}

func named(names ...string) *cache.Keys {
	k := &cache.Keys{}
	for i, n := range names {
		k.Names[i] = key(n)
	}
	return k
}

// ends is a request that only its content names: its own end, then the earlier
// ones.
func ends(own string, past ...string) *cache.Keys {
	k := &cache.Keys{End: key(own)}
	for _, e := range past {
		k.Fallbacks = append(k.Fallbacks, key(e))
	}
	return k
}

var scope = cache.Scope{Tenant: "t", Pool: "p", Model: "m"}

// store is a Memory whose operations must not fail.
type store struct {
	*cache.Memory
	t testing.TB
}

func (s store) Get(scope cache.Scope, k *cache.Keys) (cache.Binding, bool) {
	b, ok, err := s.Memory.Get(s.t.Context(), scope, *k)
	require.NoError(s.t, err)
	return b, ok
}

func (s store) Peek(scope cache.Scope, k *cache.Keys) (cache.Binding, bool) {
	b, ok, err := s.Memory.Peek(s.t.Context(), scope, *k)
	require.NoError(s.t, err)
	return b, ok
}

func (s store) Bind(scope cache.Scope, k *cache.Keys, auth string) (cache.Binding, bool) {
	b, existed, err := s.Memory.Bind(s.t.Context(), scope, *k, auth)
	require.NoError(s.t, err)
	return b, existed
}

func (s store) Move(b cache.Binding, auth string) (cache.Binding, bool) {
	now, moved, err := s.Memory.Move(s.t.Context(), b, auth)
	require.NoError(s.t, err)
	return now, moved
}

func (s store) Confirm(b cache.Binding) bool {
	_, current, err := s.Memory.Confirm(s.t.Context(), b)
	require.NoError(s.t, err)
	return current
}

func (s store) Amend(b cache.Binding, memo string) (cache.Binding, bool) {
	now, amended, err := s.Memory.Amend(s.t.Context(), b, memo)
	require.NoError(s.t, err)
	return now, amended
}

func (s store) is(ok bool, err error) bool {
	require.NoError(s.t, err)
	return ok
}

func (s store) Touch(b cache.Binding) bool  { return s.is(s.Memory.Touch(s.t.Context(), b)) }
func (s store) Unbind(b cache.Binding) bool { return s.is(s.Memory.Unbind(s.t.Context(), b)) }

func (s store) Release(b cache.Binding, failed bool) bool {
	return s.is(s.Memory.Release(s.t.Context(), b, failed))
}

func (s store) BindAnswer(b cache.Binding, end cache.Key, keys []cache.Key, marks ...cache.Key) bool {
	done, err := s.Memory.BindAnswer(s.t.Context(), b, cache.Answer{End: end, Keys: keys, Marks: marks})
	require.NoError(s.t, err)
	return done.Accepted
}

func (s store) Remember(scope cache.Scope, k cache.Key, auth string) {
	require.NoError(s.t, s.Memory.Remember(s.t.Context(), scope, k, auth))
}

func (s store) Recall(scope cache.Scope, k cache.Key) string {
	auth, ok, err := s.Memory.Recall(s.t.Context(), scope, k)
	require.NoError(s.t, err)
	require.Equal(s.t, auth != "", ok)
	return auth
}

func (s store) CountAuth(auth string) int {
	n, err := s.Memory.CountAuth(s.t.Context(), auth)
	require.NoError(s.t, err)
	return n
}

func (s store) CountAuths() map[string]int {
	bound, err := s.Memory.CountAuths(s.t.Context())
	require.NoError(s.t, err)
	return bound
}

func (s store) InvalidateSession(scope cache.Scope, k *cache.Keys) bool {
	return s.is(s.Memory.InvalidateSession(s.t.Context(), scope, *k))
}

func (s store) InvalidateAuth(auth string) int {
	n, err := s.Memory.InvalidateAuth(s.t.Context(), auth)
	require.NoError(s.t, err)
	return n
}

func (s store) InvalidateTenant(tenant, auth string) int {
	n, err := s.Memory.InvalidateTenant(s.t.Context(), tenant, auth)
	require.NoError(s.t, err)
	return n
}

func newCache(t testing.TB, o cache.Options) store {
	t.Helper()
	m, err := cache.New(&o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return store{m, t}
}

// at returns the auth that a session is bound to, or "".
func at(c store, k *cache.Keys) string {
	b, _ := c.Peek(scope, k)
	if !b.Bound() {
		return ""
	}
	return b.Auth
}
