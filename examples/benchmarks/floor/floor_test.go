package floor

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

const header = "X-Claude-Code-Session-Id"

type auth struct{ name string }

func nameOf(a *auth) string { return a.name }

var (
	auths = []*auth{{"a"}, {"b"}, {"c"}}
	scope = &Scope{"tenant", "pool", "model"}
)

func with(id string) http.Header { return http.Header{header: {id}} }

func TestABoundSessionStays(t *testing.T) {
	table := New(header, nameOf, 10, time.Hour)
	require.NoError(t, table.Bind(scope, with("1"), "b"))
	got, ref, ok := table.Pick(scope, with("1"), auths)
	require.True(t, ok)
	require.Same(t, auths[1], got)
	require.False(t, table.find(ref).served)
	require.True(t, table.Report(ref))
	require.True(t, table.find(ref).served)

	_, _, ok = table.Pick(scope, with("2"), auths)
	require.False(t, ok, "another id must not be found")
	_, _, ok = table.Pick(scope, http.Header{"X-Session-Id": {"1"}}, auths)
	require.False(t, ok, "the id in another header must not be found")
	_, _, ok = table.Pick(scope, with("1"), auths[2:])
	require.False(t, ok, "Pick must not return an auth that is not a candidate")
	for _, s := range []*Scope{{"other", "pool", "model"}, {"tenant", "other", "model"}, {"tenant", "pool", "other"}, {"tenantp", "ool", "model"}} {
		_, ref, ok := table.Pick(s, with("1"), auths)
		require.False(t, ok, "the id must not be found in another scope")
		require.False(t, table.Report(ref))
	}
	require.Error(t, table.Bind(scope, http.Header{}, "a"))
}

func TestTheTTLStartsAgain(t *testing.T) {
	for _, use := range []string{"pick", "report", "none"} {
		table := New(header, nameOf, 10, time.Hour)
		require.NoError(t, table.Bind(scope, with("1"), "b"))
		later := func() { table.began = table.began.Add(-40 * time.Minute) }
		ref, _ := table.ref(scope, with("1"))
		later()
		switch use {
		case "pick":
			_, _, ok := table.Pick(scope, with("1"), auths)
			require.True(t, ok)
		case "report":
			require.True(t, table.Report(ref))
		}
		later()
		_, _, ok := table.Pick(scope, with("1"), auths)
		require.Equal(t, use != "none", ok, use)
		require.Equal(t, ok, table.Report(ref), use)
	}
}

// A full table finds exactly the sessions that a map has.
func TestAFullTable(t *testing.T) {
	const n = 1024 // a power of two, so that exactly half of the slots stay free
	table, model := New(header, nameOf, n, time.Hour), map[string]string{}
	rng := rand.New(rand.NewPCG(1, 1))
	for len(model) < n {
		id, to := fmt.Sprint(rng.IntN(2*n)), auths[rng.IntN(3)].name
		require.NoError(t, table.Bind(scope, with(id), to))
		model[id] = to
	}
	for i := range 2 * n {
		id := fmt.Sprint(i)
		got, _, ok := table.Pick(scope, with(id), auths)
		to, bound := model[id]
		require.Equal(t, bound, ok, id)
		if bound {
			require.Equal(t, to, got.name)
			require.NoError(t, table.Bind(scope, with(id), to))
		} else {
			require.ErrorIs(t, table.Bind(scope, with(id), "a"), ErrFull)
		}
	}
}

func TestAPickAllocatesNothing(t *testing.T) {
	table, h := New(header, nameOf, 10, time.Hour), with("1")
	require.NoError(t, table.Bind(scope, h, "b"))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, ref, ok := table.Pick(scope, h, auths)
		if !ok || !table.Report(ref) {
			t.Error("lost")
		}
	}))
}

func TestAnEntryIsHalfACacheLine(t *testing.T) {
	require.EqualValues(t, 32, unsafe.Sizeof(slot{}))
}
