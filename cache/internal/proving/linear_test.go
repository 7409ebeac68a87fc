package proving

import (
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/llmaffinity/llmaffinity/cache"
)

// One operation of a concurrent history, and what it said.
type input struct {
	op    string
	names []byte // in their order
	weak  byte   // 0 for none
	auth  string
	b     cache.Binding
}

type output struct {
	b  cache.Binding
	ok bool
	n  int
}

// session is one of the reference's, which has no locks and no time.
type session struct {
	keys   string // names, and the weak one in upper case
	name   cache.Key
	auth   string
	gen    uint64
	served bool
}

func (s *session) is(b cache.Binding) bool {
	return b.Session == s.name && b.Auth == s.auth && b.Gen == s.gen && b.Served == s.served
}

// state is a list of sessions; it is never changed, only copied.
type state []session

func (st state) owner(k byte) int {
	return slices.IndexFunc(st, func(s session) bool { return slices.Contains([]byte(s.keys), k) })
}

func (st state) find(in *input) int {
	for _, k := range in.names {
		if i := st.owner(k); i >= 0 {
			return i
		}
	}
	if len(in.names) == 0 && in.weak != 0 {
		return st.owner(in.weak)
	}
	return -1
}

// use gives the session the keys that nobody has.
func (st state) use(i int, in *input) state {
	st = slices.Clone(st)
	for _, k := range in.names {
		if st.owner(k) < 0 {
			st[i].keys += string(k)
		}
	}
	if in.weak != 0 && st.owner(in.weak) < 0 {
		st[i].keys += string(in.weak)
	}
	return st
}

func (st state) without(i int) state { return slices.Delete(slices.Clone(st), i, i+1) }

// step is the contract: whether an operation may say what it said in a state,
// and the state after it.
func step(st state, in *input, out *output) (bool, state) {
	current := slices.IndexFunc(st, func(s session) bool { return s.name == in.b.Session && s.gen == in.b.Gen })
	switch in.op {
	case "bind":
		if i := st.find(in); i >= 0 {
			return out.ok && st[i].is(out.b), st.use(i, in)
		}
		ok := !out.ok && out.b.Auth == in.auth && out.b.Gen != 0 && !out.b.Served
		st = append(slices.Clone(st), session{name: out.b.Session, auth: in.auth, gen: out.b.Gen})
		return ok, st.use(len(st)-1, in)
	case "get", "peek":
		i := st.find(in)
		if i < 0 || !out.ok {
			return (i >= 0) == out.ok, st
		}
		ok := st[i].is(out.b)
		if in.op == "get" {
			st = st.use(i, in)
		}
		return ok, st
	case "swap":
		if current < 0 {
			i := slices.IndexFunc(st, func(s session) bool { return s.name == in.b.Session })
			return !out.ok && (i < 0 && out.b == cache.Binding{} || i >= 0 && st[i].is(out.b)), st
		}
		ok := out.ok && out.b.Auth == in.auth && out.b.Gen > in.b.Gen && !out.b.Served
		st = slices.Clone(st)
		st[current].auth, st[current].gen, st[current].served = in.auth, out.b.Gen, false
		return ok, st
	case "confirm":
		if current < 0 {
			return !out.ok, st
		}
		st = slices.Clone(st)
		st[current].served = true
		return out.ok, st
	case "touch":
		return out.ok == (current >= 0), st
	case "delete":
		if current < 0 {
			return !out.ok, st
		}
		return out.ok, st.without(current)
	case "release":
		if current < 0 || st[current].served {
			return !out.ok, st
		}
		return out.ok, st.without(current)
	case "invalidate":
		i := st.find(in)
		if i < 0 {
			return !out.ok, st
		}
		return out.ok, st.without(i)
	case "invalidate-auth":
		left := slices.DeleteFunc(slices.Clone(st), func(s session) bool { return s.auth == in.auth })
		return out.n == len(st)-len(left), left
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
	if in.weak != 0 {
		k.Weak = cache.Key{in.weak}
	}
	return k
}

// do runs an operation.
func do(s cache.Store, in *input) (out output, err error) {
	switch in.op {
	case "bind":
		out.b, out.ok, err = s.Bind(ctx, scope, keys(in), in.auth)
	case "get":
		out.b, out.ok, err = s.Get(ctx, scope, keys(in))
	case "peek":
		out.b, out.ok, err = s.Peek(ctx, scope, keys(in))
	case "swap":
		out.b, out.ok, err = s.Swap(ctx, in.b, in.auth)
	case "confirm":
		out.ok, err = s.Confirm(ctx, in.b)
	case "touch":
		out.ok, err = s.Touch(ctx, in.b)
	case "delete":
		out.ok, err = s.Delete(ctx, in.b)
	case "release":
		out.ok, err = s.Release(ctx, in.b)
	case "invalidate":
		out.ok, err = s.InvalidateSession(ctx, scope, keys(in))
	case "invalidate-auth":
		out.n, err = s.InvalidateAuth(ctx, in.auth)
	}
	return out, err
}

// run lets clients loose on a store and writes down what they did and when.
func run(t *testing.T, s cache.Store, seed uint64, ops []string) []porcupine.Operation {
	const clients, each = 4, 6
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
				if rng.IntN(2) == 0 || len(in.names) == 0 {
					in.weak = 'W'
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

var operations = []string{"bind", "bind", "bind", "get", "get", "peek", "swap", "confirm", "touch", "delete", "release", "invalidate"}

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

func linearizable(t *testing.T, s cache.Store, seed uint64, ops []string) bool {
	h := run(t, s, seed, ops)
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
				if !linearizable(t, m, seed, c.ops) {
					t.Fatalf("history %d is not linearizable", seed)
				}
			}
		})
	}
}

// racy binds in two steps, each of them atomic.
type racy struct{ *cache.Memory }

func (s racy) Bind(c ctxType, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if b, ok, err := s.Get(c, sc, k); ok || err != nil {
		return b, ok, err
	}
	runtime.Gosched()
	if _, err := s.InvalidateSession(c, sc, k); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Memory.Bind(c, sc, k, auth)
}

// stale reads the binding, and confirms in a second step.
type stale struct{ *cache.Memory }

func (s stale) Confirm(c ctxType, b cache.Binding) (bool, error) {
	current, err := s.Touch(c, b)
	runtime.Gosched()
	if !current || err != nil {
		return current, err
	}
	_, err = s.Memory.Confirm(c, b)
	return true, err
}

// A store with a race in it is rejected.
func TestARaceIsFound(t *testing.T) {
	for name, wrap := range map[string]func(*cache.Memory) cache.Store{
		"bind in two steps":    func(m *cache.Memory) cache.Store { return racy{m} },
		"confirm in two steps": func(m *cache.Memory) cache.Store { return stale{m} },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20 * histories(t)) {
				m, err := cache.New(&cache.Options{MaxSessions: 1000})
				if err != nil {
					t.Fatal(err)
				}
				if !linearizable(t, wrap(m), seed, operations) {
					t.Logf("rejected after %d histories", seed+1)
					return
				}
			}
			t.Fatal("never rejected")
		})
	}
}
