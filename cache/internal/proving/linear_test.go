package proving

import (
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/llmaffinity/llmaffinity/cache"
)

// One operation of a concurrent history, and what it said.
type input struct {
	op     string
	names  []byte // in their order
	also   byte   // 0 for none
	auth   string // or the new memo
	failed bool
	b      cache.Binding
}

type output struct {
	b    cache.Binding
	ok   bool
	n    int
	memo string
}

// session is one of the reference's, which has no locks and no time.
type session struct {
	names  string
	also   string
	name   cache.Key
	auth   string
	lost   cache.Cause
	gen    uint64 // 0 if nobody has seen it
	before uint64 // the generation that was lost
	served bool
	uses   int
	memo   string
}

func (s *session) is(b cache.Binding) bool {
	return b.Session == s.name && b.Auth == s.auth && b.Lost == s.lost && b.Gen == s.gen && b.Served == s.served && b.Memo == s.memo
}

// open opens a use, if the binding is provisional.
func (s *session) open() {
	if s.lost == 0 && !s.served {
		s.uses++
	}
}

// bound is what a new binding says.
func (s *session) bound(b cache.Binding, auth string) {
	s.auth, s.lost, s.gen, s.served, s.uses = auth, 0, b.Gen, false, 0
}

// lose takes the auth. The generation is not known before somebody sees it.
func (s *session) lose(why cache.Cause) {
	s.before, s.lost, s.gen, s.served = s.gen, why, 0, false
}

// state is a list of sessions; it is never changed, only copied.
type state []session

func (st state) owner(k byte) int {
	return slices.IndexFunc(st, func(s session) bool { return strings.IndexByte(s.names+s.also, k) >= 0 })
}

func (st state) find(in *input) int {
	for _, k := range in.names {
		if i := st.owner(k); i >= 0 {
			return i
		}
	}
	return -1
}

// use gives a session of a copied state its keys.
func (st state) use(i int, in *input) {
	for _, k := range in.names {
		switch st.owner(k) {
		case -1:
			st[i].names += string(k)
		case i:
			if strings.IndexByte(st[i].also, k) >= 0 {
				st[i].names += string(k)
				st[i].also = strings.ReplaceAll(st[i].also, string(k), "")
			}
		}
	}
	if in.also == 0 {
		return
	}
	if o := st.owner(in.also); o >= 0 {
		if strings.IndexByte(st[o].names, in.also) >= 0 {
			return
		}
		st[o].also = strings.ReplaceAll(st[o].also, string(in.also), "")
	}
	st[i].also += string(in.also)
}

func (st state) without(i int) state { return slices.Delete(slices.Clone(st), i, i+1) }

// learn notes the generation of a session that has lost its auth, which is seen
// for the first time.
func (s *session) learn(b cache.Binding) {
	if s.gen == 0 && b.Session == s.name && b.Lost == s.lost && b.Gen > s.before {
		s.gen = b.Gen
	}
}

// step is the contract: whether an operation may say what it said in a state,
// and the state after it.
func step(was state, in *input, out *output) (bool, state) {
	st := slices.Clone(was)
	// The session of the binding, and whether the binding is current.
	i := slices.IndexFunc(st, func(s session) bool { return s.name == in.b.Session })
	if i >= 0 {
		st[i].learn(out.b)
		if st[i].gen == 0 { // or it is in.b that has seen it
			st[i].learn(in.b)
		}
	}
	current := i >= 0 && in.b.Gen != 0 && st[i].gen == in.b.Gen
	switch in.op {
	case "bind":
		i := st.find(in)
		if i >= 0 && st[i].lost == 0 {
			ok := out.ok && st[i].is(out.b)
			st[i].open()
			st.use(i, in)
			return ok, st
		}
		ok := !out.ok && out.b.Auth == in.auth && out.b.Gen != 0 && !out.b.Served && out.b.Lost == 0
		if i < 0 {
			i = len(st)
			st = append(st, session{name: out.b.Session})
		}
		ok = ok && out.b.Session == st[i].name && out.b.Memo == st[i].memo
		st[i].bound(out.b, in.auth)
		st[i].open()
		st.use(i, in)
		return ok, st
	case "get", "peek":
		i := st.find(in)
		if i < 0 || !out.ok {
			return (i >= 0) == out.ok, was
		}
		st[i].learn(out.b)
		ok := st[i].is(out.b)
		if in.op == "get" {
			st[i].open()
			st.use(i, in)
		}
		return ok, st
	case "move":
		if i < 0 {
			return !out.ok && out.b == cache.Binding{}, was
		}
		if !current {
			ok := !out.ok && st[i].is(out.b)
			st[i].open()
			return ok, st
		}
		ok := out.ok && out.b.Session == st[i].name && out.b.Auth == in.auth && out.b.Gen != in.b.Gen && !out.b.Served && out.b.Memo == st[i].memo
		st[i].bound(out.b, in.auth)
		st[i].open()
		return ok, st
	case "confirm":
		if !current || st[i].lost != 0 {
			return !out.ok, st
		}
		st[i].served = true
		return out.ok && out.memo == st[i].memo, st
	case "touch":
		return out.ok == current, st
	case "amend":
		if i < 0 {
			return !out.ok && out.b == cache.Binding{}, was
		}
		amended := current && st[i].memo == in.b.Memo
		if amended {
			st[i].memo = in.auth
		}
		return out.ok == amended && st[i].is(out.b), st
	case "unbind":
		if !current || st[i].lost != 0 {
			return !out.ok, st
		}
		st[i].lose(cache.Unbound)
		return out.ok, st
	case "release":
		if !current || st[i].lost != 0 || st[i].served || st[i].uses == 0 {
			return !out.ok, st
		}
		if in.failed && st[i].uses == 1 {
			st[i].lose(cache.Released)
			return out.ok, st
		}
		st[i].uses--
		return !out.ok, st
	case "invalidate":
		i := st.find(in)
		if i < 0 {
			return !out.ok, st
		}
		return out.ok, st.without(i)
	case "invalidate-auth":
		n := 0
		for i := range st {
			if st[i].lost == 0 && st[i].auth == in.auth {
				st[i].lose(cache.AuthInvalidated)
				n++
			}
		}
		return out.n == n, st
	}
	panic(in.op)
}

var contract = porcupine.Model{
	Init: func() any { return state(nil) },
	Step: func(st, in, out any) (bool, any) {
		ok, next := step(st.(state), in.(*input), out.(*output))
		return ok, next
	},
	Equal: func(a, b any) bool { return slices.Equal(a.(state), b.(state)) },
}

func keys(in *input) (k cache.Keys) {
	for i, n := range in.names {
		k.Names[i] = cache.Key{n}
	}
	if in.also != 0 {
		k.Also[0] = cache.Key{in.also}
	}
	return k
}

// do runs an operation.
func do(s store, in *input) (out output, err error) {
	switch in.op {
	case "bind":
		out.b, out.ok, err = s.Bind(ctx, scope, keys(in), in.auth)
	case "get":
		out.b, out.ok, err = s.Get(ctx, scope, keys(in))
	case "peek":
		out.b, out.ok, err = s.Peek(ctx, scope, keys(in))
	case "move":
		out.b, out.ok, err = s.Move(ctx, in.b, in.auth)
	case "confirm":
		out.memo, out.ok, err = s.Confirm(ctx, in.b)
	case "touch":
		out.ok, err = s.Touch(ctx, in.b)
	case "amend":
		out.b, out.ok, err = s.Amend(ctx, in.b, in.auth)
	case "unbind":
		out.ok, err = s.Unbind(ctx, in.b)
	case "release":
		out.ok, err = s.Release(ctx, in.b, in.failed)
	case "invalidate":
		out.ok, err = s.InvalidateSession(ctx, scope, keys(in))
	case "invalidate-auth":
		out.n, err = s.InvalidateAuth(ctx, in.auth)
	}
	return out, err
}

// run lets clients loose on a store and writes down what they did and when.
func run(t *testing.T, s store, seed uint64, clients int, ops []string) []porcupine.Operation {
	const each = 6
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	start := make(chan struct{})
	var begun atomic.Int64
	clock := func() int64 { return begun.Add(1) }
	var last atomic.Pointer[cache.Binding] // a binding that somebody has seen
	last.Store(&cache.Binding{})
	for c := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(c)))
		wg.Go(func() {
			<-start
			for range each {
				in := &input{op: ops[rng.IntN(len(ops))], auth: string("ABC"[rng.IntN(3)]), b: *last.Load()}
				for _, i := range rng.Perm(3)[:rng.IntN(3)] {
					in.names = append(in.names, "abc"[i])
				}
				in.failed = rng.IntN(3) > 0
				if rng.IntN(2) == 0 {
					in.also = "aW"[rng.IntN(2)]
				}
				if rng.IntN(6) == 0 {
					in.names = append(in.names, 'W') // as a name
				}
				if len(in.names) == 0 {
					in.names = []byte("a")
				}
				op := porcupine.Operation{ClientId: c, Input: in, Call: clock()}
				out, err := do(s, in)
				op.Return, op.Output = clock(), &out
				if err != nil {
					t.Error(err)
				}
				if out.b.Gen != 0 {
					last.Store(&out.b)
				}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
				if rng.IntN(4) == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	close(start)
	wg.Wait()
	return history
}

var operations = []string{"bind", "bind", "bind", "get", "get", "peek", "move", "confirm", "touch", "amend", "amend", "unbind", "release", "release", "invalidate"}

// histories is how many are checked; HISTORIES says otherwise.
func histories(t *testing.T) int {
	if v := os.Getenv("HISTORIES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 10_000
}

func linearizable(t *testing.T, s store, seed uint64, clients int, ops []string) bool {
	h := run(t, s, seed, clients, ops)
	switch porcupine.CheckOperationsTimeout(contract, h, time.Minute) {
	case porcupine.Ok:
		return true
	case porcupine.Illegal:
		return false
	}
	t.Fatalf("history %d could not be checked in a minute", seed)
	return false
}

// Every concurrent history of the store is one that could have happened one
// operation after the other.
func TestMemoryIsLinearizable(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		ops  []string
	}{
		// With several parts, InvalidateAuth takes them one after another.
		"in parts": {100_000, operations},
		"one part": {500, append(slices.Clone(operations), "invalidate-auth")},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(histories(t)) / 2 {
				m, err := cache.New(&cache.Options{MaxSessions: c.size})
				if err != nil {
					t.Fatal(err)
				}
				if !linearizable(t, m, seed, 4, c.ops) {
					t.Fatalf("history %d is not linearizable", seed)
				}
			}
		})
	}
}

type store interface {
	cache.Store
	cache.Admin
}

// Each of these stores does one operation in two steps, each of them atomic. One
// operation after the other, it does what the contract says.

// racy looks whether the session is there, and makes a new one in a second step.
type racy struct{ *cache.Memory }

func (s racy) Bind(c ctxType, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if _, ok, err := s.Peek(c, sc, k); ok || err != nil {
		return s.Memory.Bind(c, sc, k, auth)
	}
	runtime.Gosched()
	if _, err := s.InvalidateSession(c, sc, k); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Memory.Bind(c, sc, k, auth)
}

// stale looks whether the binding is current, and confirms in a second step.
type stale struct{ *cache.Memory }

func (s stale) Confirm(c ctxType, b cache.Binding) (string, bool, error) {
	now, _, err := s.Amend(c, b, b.Memo)
	if now.Gen != b.Gen || !now.Bound() || err != nil {
		return "", false, err
	}
	runtime.Gosched()
	memo, _, err := s.Memory.Confirm(c, b)
	return memo, true, err
}

// overwriting compares the memo, and sets it in a second step.
type overwriting struct{ *cache.Memory }

func (s overwriting) Amend(c ctxType, b cache.Binding, memo string) (cache.Binding, bool, error) {
	now, same, err := s.Memory.Amend(c, b, b.Memo)
	if !same || err != nil {
		return now, same, err
	}
	runtime.Gosched()
	for amended := false; !amended; {
		if now, amended, err = s.Memory.Amend(c, now, memo); now.Gen == 0 || err != nil {
			break
		}
	}
	return now, true, err
}

// A store with a race in it is rejected, and only for its race.
func TestARaceIsFound(t *testing.T) {
	for name, wrap := range map[string]func(*cache.Memory) store{
		"bind in two steps":    func(m *cache.Memory) store { return racy{m} },
		"confirm in two steps": func(m *cache.Memory) store { return stale{m} },
		"amend in two steps":   func(m *cache.Memory) store { return overwriting{m} },
	} {
		t.Run(name, func(t *testing.T) {
			made := func() store {
				m, err := cache.New(&cache.Options{MaxSessions: 1000})
				if err != nil {
					t.Fatal(err)
				}
				return wrap(m)
			}
			for seed := range uint64(1000) {
				if !linearizable(t, made(), seed, 1, operations) {
					t.Fatalf("history %d of one client alone is rejected", seed)
				}
			}
			for seed := range uint64(20 * histories(t)) {
				if !linearizable(t, made(), seed, 4, operations) {
					t.Logf("rejected after %d histories", seed+1)
					return
				}
			}
			t.Fatal("never rejected")
		})
	}
}
