package linear

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/llmaffinity/llmaffinity/cache"
)

// input is an operation of a history with its arguments, and output has its results.
type input struct {
	op     string
	names  []byte // in their order
	also   byte   // 0 for none
	auth   string // for amend it is the new memo
	failed bool
	b      cache.Binding
}

type output struct {
	b    cache.Binding
	ok   bool
	n    int
	memo string
}

// session is a session of the model.
type session struct {
	names  string
	also   string
	name   cache.Key
	auth   string
	lost   cache.Cause
	gen    uint64 // 0 if no operation has returned it yet
	past   string // earlier generations
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

// ends ends the session's generation, which never comes back.
func (s *session) ends() {
	if s.gen != 0 {
		s.past += fmt.Sprint(s.gen, " ")
	}
}

// bound applies a new binding to the session.
func (s *session) bound(b cache.Binding, auth string) {
	s.ends()
	s.auth, s.lost, s.gen, s.served, s.uses = auth, 0, b.Gen, false, 0
}

// lose takes the auth from the session. The new generation is known when an operation returns it.
func (s *session) lose(why cache.Cause) {
	s.ends()
	s.lost, s.gen, s.served = why, 0, false
}

// state is a list of sessions. It is never changed: step changes a copy.
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

// use gives the keys of a request to a session of a copied state.
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

func (s *session) isOver(gen uint64) bool {
	return strings.Contains(" "+s.past, fmt.Sprint(" ", gen, " "))
}

// learn notes the generation of a session that has lost its auth, when an operation returns it for
// the first time.
func (s *session) learn(b cache.Binding) {
	if s.gen == 0 && b.Session == s.name && b.Lost == s.lost && b.Gen != 0 && !s.isOver(b.Gen) {
		s.gen = b.Gen
	}
}

// step is the contract of cache.Store: whether an operation may return its output in a state, and
// the state after it.
func step(was state, in *input, out *output) (bool, state) {
	st := slices.Clone(was)
	// The session of the binding, and whether the binding is current.
	i := slices.IndexFunc(st, func(s session) bool { return s.name == in.b.Session })
	if i >= 0 {
		st[i].learn(out.b)
		if st[i].gen == 0 { // the caller's binding may have the generation
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
