package fallback_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

// pair is one binding twice: from the Store, and from a store that was never away.
type pair struct{ is, want cache.Binding }

// journey is a Store whose remote comes and goes, and a store for comparison that is always
// there.
type journey struct {
	t     *testing.T
	r     *rand.Rand
	s     *fallback.Store
	link  *link
	model *cache.Memory
	held  []pair // what callers have got
	log   []string

	emptied int
}

// While remote comes and goes, and its data is lost now and then, one process gives the same
// answers as if remote had always been there.
func TestAnOutageCannotBeSeen(t *testing.T) {
	for seed := range uint64(600) {
		synctest.Test(t, func(t *testing.T) {
			j := &journey{t: t, r: rand.New(rand.NewPCG(seed, 13)), link: newLink(t)}
			j.s = over(t, j.link)
			defer j.s.Close() // and the link's store
			var err error
			j.model, err = cache.New(nil)
			require.NoError(t, err)
			defer j.model.Close()
			for step := range 60 {
				j.step(fmt.Sprintf("seed %d, step %d", seed, step))
			}
		})
	}
}

func (j *journey) step(at string) {
	ctx := j.t.Context()
	name := named([]string{"a", "b", "c"}[j.r.IntN(3)])
	auth := []string{"A", "B", "C"}[j.r.IntN(3)]
	holder := "X" + string(name.Names[0][:1]) // of a response, which stays where it was made
	var p pair
	if len(j.held) > 0 {
		p = j.held[j.r.IntN(len(j.held))]
	}
	same := func(is, want any, err error) {
		j.t.Helper()
		require.NoError(j.t, err, at)
		require.Equal(j.t, want, is, "%s: %q", at, j.log)
	}
	did := func(format string, args ...any) { j.log = append(j.log, fmt.Sprintf(format, args...)) }
	saw := func(b cache.Binding) []any {
		if !b.Bound() { // remote may know another auth as the one that the session has lost
			b.Auth = ""
		}
		return []any{b.Gen != 0, b.Auth, b.Bound(), b.Served, b.Memo}
	}
	keep := func(is, want cache.Binding) {
		j.t.Helper()
		same(saw(is), saw(want), nil)
		did(" -> %x %s gen %x (%x)", want.Session[:2], want.Auth, is.Gen, want.Gen)
		if want.Gen != 0 {
			j.held = append(j.held, pair{is, want})
		}
	}
	switch j.r.IntN(21) {
	case 0:
		did("broken")
		j.link.broken.Store(true)
	case 1:
		did("whole")
		j.link.broken.Store(false)
		back(j.t, j.s)
	case 2, 3, 4:
		did("get %s", name.Names[0][:1])
		is, ok, err := j.s.Get(ctx, scope, name)
		want, wanted, _ := j.model.Get(ctx, scope, name)
		same(ok, wanted, err)
		keep(is, want)
	case 5, 6, 7:
		did("bind %s %s", name.Names[0][:1], auth)
		is, ok, err := j.s.Bind(ctx, scope, name, auth)
		want, wanted, _ := j.model.Bind(ctx, scope, name, auth)
		same(ok, wanted, err)
		keep(is, want)
	case 8:
		did("move %x %s gen %x (%x) to %s", p.want.Session[:2], p.want.Auth, p.is.Gen, p.want.Gen, auth)
		is, ok, err := j.s.Move(ctx, p.is, auth)
		want, wanted, _ := j.model.Move(ctx, p.want, auth)
		same(ok, wanted, err)
		keep(is, want)
	case 9, 10:
		did("confirm %s", p.want.Auth)
		is, ok, err := j.s.Confirm(ctx, p.is)
		want, wanted, _ := j.model.Confirm(ctx, p.want)
		same([]any{is, ok}, []any{want, wanted}, err)
	case 11, 12:
		failed := j.r.IntN(2) == 0
		did("release %s %v", p.want.Auth, failed)
		ok, err := j.s.Release(ctx, p.is, failed)
		wanted, _ := j.model.Release(ctx, p.want, failed)
		same(ok, wanted, err)
	case 13:
		memo := fmt.Sprint(j.r.IntN(3))
		did("amend %x %s %s", p.want.Session[:2], p.want.Auth, memo)
		is, ok, err := j.s.Amend(ctx, p.is, memo)
		want, wanted, _ := j.model.Amend(ctx, p.want, memo)
		same(ok, wanted, err)
		keep(is, want)
	case 14:
		did("unbind %x %s", p.want.Session[:2], p.want.Auth)
		ok, err := j.s.Unbind(ctx, p.is)
		wanted, _ := j.model.Unbind(ctx, p.want)
		same(ok, wanted, err)
	case 15:
		if j.r.IntN(2) == 0 {
			auth = holder
		}
		did("invalidate %s", auth)
		_, err := j.s.InvalidateAuth(ctx, auth)
		_, _ = j.model.InvalidateAuth(ctx, auth)
		if err != nil {
			require.ErrorIs(j.t, err, fallback.ErrAway)
		}
	case 16:
		did("rename %s", auth)
		_, err := j.s.RenameAuth(ctx, auth, "A")
		_, _ = j.model.RenameAuth(ctx, auth, "A")
		if err != nil {
			require.ErrorIs(j.t, err, fallback.ErrAway)
		}
	case 17:
		if j.emptied++; j.emptied > 3 { // names of longer ago are forgotten
			break
		}
		did("emptied")
		_, err := j.link.Memory.InvalidateTenant(ctx, scope.Tenant, "") // no generation comes again
		require.NoError(j.t, err)
		j.link.epoch.Store(&at)
	case 18:
		did("invalidate session %s", name.Names[0][:1])
		_, err := j.s.InvalidateSession(ctx, scope, name)
		_, _ = j.model.InvalidateSession(ctx, scope, name)
		if err != nil {
			require.ErrorIs(j.t, err, fallback.ErrAway)
		}
	case 19:
		auth := holder
		did("note %s %s", name.Names[0][:1], auth)
		require.NoError(j.t, j.s.Remember(ctx, scope, name.Names[0], auth))
		require.NoError(j.t, j.model.Remember(ctx, scope, name.Names[0], auth))
	case 20:
		did("recall %s", name.Names[0][:1])
		is, ok, err := j.s.Recall(ctx, scope, name.Names[0])
		want, wanted, _ := j.model.Recall(ctx, scope, name.Names[0])
		same([]any{is, ok}, []any{want, wanted}, err)
	}
	time.Sleep(time.Millisecond)
}

// Two processes with one store are cut off from it, one or both, for any time, and go on with
// all operations meanwhile. No operation fails. When they are back, they agree with each other
// and with the store about every session.
func TestReplicasAgreeAfterAnyOutages(t *testing.T) {
	for seed := range uint64(600) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 17))
			links, stores := pairOver(t)
			held := [2][]cache.Binding{}
			names := []string{"a", "b", "c", "d"}
			for range 80 {
				i := r.IntN(2)
				s := stores[i]
				k, auth := named(names[r.IntN(len(names))]), []string{"A", "B", "C"}[r.IntN(3)]
				var b cache.Binding
				if n := len(held[i]); n > 0 {
					b = held[i][n-1-r.IntN(min(n, 8))]
				}
				var err error
				keep := func(b cache.Binding) {
					if b.Gen != 0 {
						held[i] = append(held[i], b)
					}
				}
				switch r.IntN(14) {
				case 0, 1:
					links[i].broken.Store(true)
				case 2:
					links[i].broken.Store(false)
				case 3, 4:
					b, _, err = s.Get(t.Context(), scope, k)
					keep(b)
				case 5, 6, 7:
					b, _, err = s.Bind(t.Context(), scope, k, auth)
					keep(b)
				case 8:
					b, _, err = s.Move(t.Context(), b, auth)
					keep(b)
				case 9, 10:
					_, _, err = s.Confirm(t.Context(), b)
				case 11:
					_, err = s.Release(t.Context(), b, r.IntN(2) == 0)
				case 12:
					_, err = s.Unbind(t.Context(), b)
				case 13:
					b, _, err = s.Amend(t.Context(), b, fmt.Sprint(r.IntN(3)))
					keep(b)
				}
				require.NoError(t, err)
				time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
			}
			for i := range links {
				links[i].broken.Store(false)
			}
			back(t, stores[:]...)
			for _, name := range names {
				want, known, err := links[0].Memory.Peek(t.Context(), scope, named(name))
				require.NoError(t, err)
				for i, s := range stores {
					got, ok, err := s.Peek(t.Context(), scope, named(name))
					require.NoError(t, err)
					require.Equal(t, []any{known, want.Session, want.Gen, want.Auth, want.Lost, want.Served, want.Memo},
						[]any{ok, got.Session, got.Gen, got.Auth, got.Lost, got.Served, got.Memo}, "seed %d, session %s, process %d", seed, name, i)
					// The same when they are cut off once more.
					links[i].broken.Store(true)
					cut, ok, err := s.Peek(t.Context(), scope, named(name))
					require.NoError(t, err)
					if ok {
						require.Equal(t, want.Session, cut.Session)
					}
					links[i].broken.Store(false)
					back(t, s)
				}
			}
		})
	}
}
