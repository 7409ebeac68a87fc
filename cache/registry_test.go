package cache

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestANameThatWasTakenAgainIsNotFreed(t *testing.T) {
	var r registry
	r.init()
	id := r.use("a")
	a := (*r.names.Load())[id]
	// The last user has counted down, and another one takes the name before that user has the
	// lock.
	require.Zero(t, a.uses.Add(-1))
	again, ok := r.find("a")
	require.True(t, ok)
	require.Equal(t, id, again)
	r.forget(a)
	require.NotEqual(t, id, r.use("b"), "the number is in use")
	require.Equal(t, "a", r.name(id))
	r.drop(id)
	require.Equal(t, id, r.use("c"), "the number is free")
}

func TestANumberIsFreedOnce(t *testing.T) {
	var r registry
	r.init()
	id := r.use("a")
	a := (*r.names.Load())[id]
	// Two users count down to zero, one after the other, before either has the
	// lock.
	require.Zero(t, a.uses.Add(-1))
	_, ok := r.find("a")
	require.True(t, ok)
	r.drop(id)
	r.forget(a)
	require.NotEqual(t, r.use("b"), r.use("c"))
	// A late user does not free the number of a later name, either.
	r.forget(a)
	require.Equal(t, "b", r.name(r.use("b")))
	_, ok = r.find("a")
	require.False(t, ok)
	// Nor a name that was added again.
	again := r.use("a")
	r.forget(a)
	_, ok = r.find("a")
	require.True(t, ok)
	require.Equal(t, "a", r.name(again))
}

func TestTheRegistryForgetsEachNameThatIsDropped(t *testing.T) {
	var r registry
	r.init()
	for i := range 100 {
		id := r.use(fmt.Sprint("auth", i))
		r.use(fmt.Sprint("auth", i))
		r.drop(id)
		r.drop(id)
		require.Empty(t, r.ids)
	}
	require.Len(t, *r.names.Load(), 1)
}
