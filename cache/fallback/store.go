package fallback

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Store is a cache.Store in front of another one. Any number of goroutines may use it.
// Its operations fail only if the caller's context is done, or after Close.
//
// It is a cache.Admin, too. Those operations are remote's, and errors.ErrUnsupported if
// it has none. What they change is changed here at once, whatever remote says. If remote
// is away the error is ErrAway, and they are repeated when it is back, before anything is
// offered.
type Store struct {
	remote cache.Store
	admin  cache.Admin // nil if remote is none
	epoch  Epoch       // likewise
	o      Options

	mu     sync.Mutex
	t      table
	epochs *simplelru.LRU[string, epoch] // by tenant
	later  []func(context.Context) error
	state  atomic.Uint32 // State; written with mu held
	closed bool
	stop   chan struct{}
	probes sync.WaitGroup

	failed, local, outages, offered, adopted atomic.Uint64
}

// epoch is an Epoch, and a scope to ask for it with.
type epoch struct {
	scope cache.Scope
	id    string
}

var _ interface {
	cache.Store
	cache.Admin
} = (*Store)(nil)

// New puts a Store in front of remote. nil Options are the zero ones. An error names the
// option that cannot work.
func New(remote cache.Store, o *Options) (*Store, error) {
	if remote == nil {
		return nil, errors.New("fallback: no store")
	}
	all, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{remote: remote, o: all, stop: make(chan struct{})}
	s.epochs, _ = simplelru.NewLRU[string, epoch](all.MaxSessions, nil) // the size is positive: no error
	s.admin, _ = remote.(cache.Admin)
	s.epoch, _ = remote.(Epoch)
	s.t.init(&all)
	return s, nil
}

// State says who answers now.
func (s *Store) State() State { return State(s.state.Load()) }

// Stats is a snapshot. Each number is exact.
func (s *Store) Stats() Stats {
	return Stats{Failed: s.failed.Load(), Local: s.local.Load(), Outages: s.outages.Load(), Offered: s.offered.Load(), Adopted: s.adopted.Load()}
}

// Close ends the goroutine that asks whether remote is back, and closes remote if that is
// an io.Closer. After it every operation returns cache.ErrClosed. What remote was not told
// yet is lost. Close may be called any number of times, at once too.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	if s.closed = true; first {
		close(s.stop)
	}
	s.mu.Unlock()
	s.probes.Wait()
	if closer, ok := s.remote.(io.Closer); ok && first {
		return closer.Close()
	}
	return nil
}

// ended reports whether Close was called.
func (s *Store) ended() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// ask runs an operation of remote, or here if remote is away. here runs with the lock
// held, and remote stays away while it runs: what it changes is offered later. It is
// nil if nothing is to be done.
func (s *Store) ask(ctx context.Context, do func(context.Context) error, here func()) (away bool, err error) {
	for {
		done, err := s.try(ctx, do)
		if done {
			return false, err
		}
		s.mu.Lock()
		if s.State() == Away {
			if here != nil {
				here()
			}
			s.mu.Unlock()
			s.local.Add(1)
			return true, nil
		}
		s.mu.Unlock() // it is back already
	}
}

// try runs an operation of remote. done is false if remote is away.
func (s *Store) try(ctx context.Context, do func(context.Context) error) (done bool, err error) {
	if s.ended() {
		return true, cache.ErrClosed
	}
	if s.State() == Away {
		return false, nil
	}
	c, cancel := context.WithTimeout(ctx, s.o.Budget)
	defer cancel()
	switch err := do(c); {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return true, ctx.Err()
	}
	s.failed.Add(1)
	if !s.leave() {
		return true, cache.ErrClosed
	}
	return false, nil
}

// learn takes what remote has said of the session that keys name.
func (s *Store) learn(ctx context.Context, scope cache.Scope, k *cache.Keys, b *cache.Binding, ok bool) {
	scope = scope.Short()
	s.meet(ctx, scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.t.find(scope, k)
	if known != nil && s.t.isPending(known) {
		return // remote will be told
	}
	if !ok {
		if known != nil {
			s.t.remove(known)
		}
		return
	}
	at := s.t.byName[b.Session]
	if known != nil && known != at {
		s.t.remove(known)
	}
	if at == nil {
		at = s.t.add(scope, *b)
	}
	at.is(b)
	s.t.use(at, k)
}

// is says that a session is what remote has said.
func (s *session) is(b *cache.Binding) {
	s.b = *b
	s.remote = *b
	s.uses = 0
	s.served = time.Now().Add(-b.SinceServed)
}

// meet notes the epoch of a tenant that is new here.
func (s *Store) meet(ctx context.Context, scope cache.Scope) {
	if s.epoch == nil {
		return
	}
	s.mu.Lock()
	_, known := s.epochs.Get(scope.Tenant)
	if !known {
		scope = cloned(scope)
		s.epochs.Add(scope.Tenant, epoch{scope: scope}) // so that others do not ask, too
	}
	s.mu.Unlock()
	if known {
		return
	}
	c, cancel := context.WithTimeout(ctx, s.o.Budget)
	defer cancel()
	id, err := s.epoch.Epoch(c, scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.epochs.Remove(scope.Tenant) // the next one asks again
		return
	}
	s.epochs.Add(scope.Tenant, epoch{scope, id})
}

// Get implements [cache.Store].
func (s *Store) Get(ctx context.Context, scope cache.Scope, k cache.Keys) (b cache.Binding, ok bool, err error) {
	away, err := s.ask(ctx, func(ctx context.Context) (err error) {
		b, ok, err = s.remote.Get(ctx, scope, k)
		return err
	}, func() {
		b, ok = cache.Binding{Away: true}, false
		if known := s.t.find(scope.Short(), &k); known != nil {
			b, ok = s.used(known, &k), true
		}
	})
	if !away && err == nil && !k.IsZero() {
		s.learn(ctx, scope, &k, &b, ok)
	}
	return b, ok, err
}

// used is what a request sees that uses a session.
func (s *Store) used(known *session, k *cache.Keys) cache.Binding {
	b := known.view()
	known.open()
	s.t.use(known, k)
	return b
}

// Peek implements [cache.Store].
func (s *Store) Peek(ctx context.Context, scope cache.Scope, k cache.Keys) (b cache.Binding, ok bool, err error) {
	_, err = s.ask(ctx, func(ctx context.Context) (err error) {
		b, ok, err = s.remote.Peek(ctx, scope, k)
		return err
	}, func() {
		b, ok = cache.Binding{Away: true}, false
		if known := s.t.find(scope.Short(), &k); known != nil {
			b, ok = known.view(), true
		}
	})
	return b, ok, err
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, scope cache.Scope, k cache.Keys, auth string) (b cache.Binding, existed bool, err error) {
	away, err := s.ask(ctx, func(ctx context.Context) (err error) {
		b, existed, err = s.remote.Bind(ctx, scope, k, auth)
		return err
	}, func() {
		if b, existed = (cache.Binding{}), false; !k.IsZero() && auth != "" {
			b, existed = s.bind(scope.Short(), &k, auth)
		}
	})
	if !away && err == nil && b.Gen != 0 {
		s.learn(ctx, scope, &k, &b, true)
	}
	return b, existed, err
}

// bind binds a session in this process.
func (s *Store) bind(scope cache.Scope, k *cache.Keys, auth string) (b cache.Binding, existed bool) {
	known := s.t.find(scope, k)
	switch {
	case known == nil:
		known = s.t.add(scope, cache.Binding{Session: newName(), Auth: strings.Clone(auth), Gen: newGen()})
		known.used = time.Now()
	case known.b.Bound():
		return s.used(known, k), true
	default:
		known.rebind(auth)
	}
	s.t.tell(known)
	return s.used(known, k), false
}

// on runs an operation on the session of a binding: remote's with the binding that remote
// knows, or here. learned takes what remote has answered. here and learned run with the
// lock held, and only if the session is known.
func (s *Store) on(ctx context.Context, b cache.Binding, remote func(context.Context, cache.Binding) error, learned, here func(*session)) error {
	away, err := s.ask(ctx, func(ctx context.Context) error {
		there, ok := s.translate(b)
		if !ok {
			return nil // the session is gone
		}
		return remote(ctx, there)
	}, func() {
		if known := s.t.named(&b); known != nil && b.Gen != 0 {
			here(known)
		}
	})
	if away || err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.t.named(&b); known != nil && b.Gen != 0 && !s.t.isPending(known) {
		learned(known)
	}
	return nil
}

// translate is the binding by which remote knows what this process has bound, or has
// moved, while remote was away.
func (s *Store) translate(b cache.Binding) (cache.Binding, bool) {
	if !local(b.Gen) {
		return b, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.t.named(&b)
	if known == nil || known.remote.Gen == 0 {
		return cache.Binding{}, false
	}
	there := known.remote
	there.Opening = b.Opening
	if known.before.Gen != b.Gen {
		there.Gen = b.Gen // an older one: remote has never had it
	} else if known.before.Memo == b.Memo {
		there.Memo = known.b.Memo
	}
	return there, true
}

// Move implements [cache.Store].
func (s *Store) Move(ctx context.Context, b cache.Binding, auth string) (now cache.Binding, moved bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		now, moved, err = s.remote.Move(ctx, b, auth)
		return err
	}, func(known *session) {
		if now.Gen != 0 {
			known.is(&now)
		}
	}, func(known *session) {
		if auth == "" {
			return
		}
		if moved = known.b.Gen == b.Gen; moved {
			known.rebind(auth)
			s.t.tell(known)
		}
		now = known.view()
		known.open()
	})
	return now, moved, err
}

// Confirm implements [cache.Store].
func (s *Store) Confirm(ctx context.Context, b cache.Binding) (memo string, current bool, err error) {
	serve := func(known *session) {
		known.b.Served, known.uses, known.served = true, 0, time.Now()
		s.t.touch(known)
		memo = known.b.Memo
	}
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		memo, current, err = s.remote.Confirm(ctx, b)
		return err
	}, func(known *session) {
		if current {
			known.b.Memo, known.remote.Memo = memo, memo
			serve(known)
			known.remote.Served = true
		}
	}, func(known *session) {
		if current = known.b.Gen == b.Gen && known.b.Bound(); current {
			serve(known)
			s.t.tell(known)
		}
	})
	return memo, current, err
}

// Touch implements [cache.Store].
func (s *Store) Touch(ctx context.Context, b cache.Binding) (current bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		current, err = s.remote.Touch(ctx, b)
		return err
	}, func(known *session) {
		if current {
			s.t.touch(known)
		}
	}, func(known *session) {
		if current = known.b.Gen == b.Gen; current {
			s.t.touch(known)
		}
	})
	return current, err
}

// Amend implements [cache.Store].
func (s *Store) Amend(ctx context.Context, b cache.Binding, memo string) (now cache.Binding, amended bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		now, amended, err = s.remote.Amend(ctx, b, memo)
		return err
	}, func(known *session) {
		if now.Gen != 0 {
			known.is(&now)
		}
	}, func(known *session) {
		if amended = known.b.Gen == b.Gen && known.b.Memo == b.Memo; amended && memo != b.Memo {
			known.b.Memo = strings.Clone(memo)
			s.t.tell(known)
		}
		now = known.view()
	})
	return now, amended, err
}

// Unbind implements [cache.Store].
func (s *Store) Unbind(ctx context.Context, b cache.Binding) (unbound bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		unbound, err = s.remote.Unbind(ctx, b)
		return err
	}, func(known *session) {
		if unbound {
			s.t.remove(known) // its generation is not known here
		}
	}, func(known *session) {
		if unbound = known.b.Gen == b.Gen && known.b.Bound(); unbound {
			known.lose(cache.Unbound)
			s.t.tell(known)
		}
	})
	return unbound, err
}

// Release implements [cache.Store].
func (s *Store) Release(ctx context.Context, b cache.Binding, failed bool) (unbound bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		unbound, err = s.remote.Release(ctx, b, failed)
		return err
	}, func(known *session) {
		if unbound {
			s.t.remove(known)
		}
	}, func(known *session) {
		if known.b.Gen != b.Gen || !known.b.Bound() || known.b.Served || known.uses == 0 {
			return
		}
		known.uses--
		if unbound = failed && known.uses == 0; unbound {
			known.lose(cache.Released)
			s.t.tell(known)
		}
	})
	return unbound, err
}

// Extend implements [cache.Store].
func (s *Store) Extend(ctx context.Context, b cache.Binding, end cache.Key, keys, marks []cache.Key) (extended bool, shared uint8, err error) {
	keys = keys[:min(len(keys), cache.MaxAnswer)]
	take := func(known *session) {
		for _, k := range keys {
			s.t.other(known, k)
		}
	}
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		extended, shared, err = s.remote.Extend(ctx, b, end, keys, marks)
		return err
	}, func(known *session) {
		if extended {
			take(known)
		}
	}, func(known *session) {
		if b.Opening && known.end != end {
			return
		}
		extended = true
		take(known)
		s.t.tell(known)
	})
	return extended, shared, err
}

// Remember implements [cache.Store].
func (s *Store) Remember(ctx context.Context, scope cache.Scope, key cache.Key, auth string) error {
	keep := func(told bool) {
		if key != (cache.Key{}) && auth != "" {
			s.t.note(scoped{cloned(scope.Short()), key}, note{strings.Clone(auth), time.Now()}, told)
		}
	}
	away, err := s.ask(ctx, func(ctx context.Context) error { return s.remote.Remember(ctx, scope, key, auth) }, func() { keep(false) })
	if away || err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keep(true)
	return nil
}

// Recall implements [cache.Store].
func (s *Store) Recall(ctx context.Context, scope cache.Scope, key cache.Key) (auth string, ok bool, err error) {
	at := scoped{scope.Short(), key}
	away, err := s.ask(ctx, func(ctx context.Context) (err error) {
		auth, ok, err = s.remote.Recall(ctx, scope, key)
		return err
	}, func() { auth, ok = s.t.recall(at) })
	if away || err != nil {
		return auth, ok, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.t.note(scoped{cloned(at.scope), key}, note{auth, time.Now()}, true)
	} else {
		s.t.notes.Remove(at)
	}
	return auth, ok, nil
}
