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

// Store is a cache.Store in front of another one, remote. Any number of goroutines may use it.
// Its operations fail only if the caller's context is done, or after Close.
//
// Store is a cache.Admin, too. Remote does those operations; if it has none, the error is
// errors.ErrUnsupported. What they change is changed in this process at once, whatever remote
// answers. If remote is away, the error is ErrAway, and the operation is repeated when remote
// is back, before sessions are offered. If it fails three times then, it is dropped and
// counted. If remote answers but cannot do the operation, or not within Options.AdminBudget,
// the error is remote's own.
type Store struct {
	remote cache.Store
	admin  cache.Admin // nil if remote has none
	epoch  Epoch       // nil if remote has none
	o      Options

	mu     sync.Mutex
	t      table
	epochs *simplelru.LRU[string, epoch]        // by tenant
	later  []func(context.Context) (int, error) // operations of Admin to be repeated
	state  atomic.Uint32                        // State; written with mu held
	closed bool
	stop   chan struct{}
	probes sync.WaitGroup

	compared map[string]struct{} // the tenants whose epochs were compared in this outage
	news     []State             // changes that OnState was not called for yet
	telling  bool
	rounds   uint64 // how often settle has run

	failed, local, outages, offered, adopted, dropped atomic.Uint64
}

// epoch is the id that Epoch has returned, and the scope to ask for it with.
type epoch struct {
	given cache.Scope
	id    string
}

var _ interface {
	cache.Store
	cache.Admin
} = (*Store)(nil)

// New puts a Store in front of remote. A nil o means the zero Options. An error names the
// option that cannot work.
func New(remote cache.Store, o *Options) (*Store, error) {
	if remote == nil {
		return nil, errors.New("fallback: the store is nil")
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

// State says whether remote answers now, or this process.
func (s *Store) State() State { return State(s.state.Load()) }

// Stats returns a snapshot. Each number is exact.
func (s *Store) Stats() Stats {
	return Stats{Failed: s.failed.Load(), Local: s.local.Load(), Outages: s.outages.Load(), Offered: s.offered.Load(), Adopted: s.adopted.Load(), Dropped: s.dropped.Load()}
}

// Close ends the goroutine that probes remote, and closes remote if that is an io.Closer.
// After it every operation returns cache.ErrClosed. What remote was not told yet is lost.
// Close may be called any number of times, also at once.
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

// ask runs an operation at remote, or runs here if remote is away. The lock is held while here
// runs, and remote stays away for that time, so what here changes is offered later. here may
// be nil.
func (s *Store) ask(ctx context.Context, do func(context.Context) error, here func()) (away bool, err error) {
	for {
		done, late, err := s.try(ctx, do)
		if done {
			return false, err
		}
		s.mu.Lock()
		if s.State() == Away {
			if s.t.late = late; here != nil {
				here()
			}
			s.t.late = false
			s.mu.Unlock()
			s.local.Add(1)
			return true, nil
		}
		s.mu.Unlock() // remote is back already
	}
}

// try runs an operation at remote. done is false if remote is away. late says that the answer
// came too late, so remote may have done the operation.
func (s *Store) try(ctx context.Context, do func(context.Context) error) (done, late bool, err error) {
	if s.ended() {
		return true, false, cache.ErrClosed
	}
	if s.State() == Away {
		return false, false, nil
	}
	c, cancel := context.WithTimeout(ctx, s.o.Budget)
	defer cancel()
	switch err := do(c); {
	case err == nil:
		return true, false, nil
	case ctx.Err() != nil:
		return true, false, ctx.Err()
	}
	s.failed.Add(1)
	if late = c.Err() != nil; !s.leave() {
		return true, false, cache.ErrClosed
	}
	return false, late, nil
}

// learn notes what remote has answered about the session that k names.
func (s *Store) learn(ctx context.Context, given cache.Scope, k *cache.Keys, b *cache.Binding, ok bool) {
	s.meet(ctx, given)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.t.find(given.Short(), k)
	if known != nil && s.t.isPending(known) {
		return // remote will be told of the session
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
		at = s.t.add(given, *b)
	}
	at.is(b)
	at.opened()
	s.t.use(at, k)
}

// meet notes the epoch of a tenant that is new in this process.
func (s *Store) meet(ctx context.Context, given cache.Scope) {
	if s.epoch == nil {
		return
	}
	tenant := given.Short().Tenant
	s.mu.Lock()
	_, known := s.epochs.Get(tenant)
	if !known {
		given, tenant = cloned(given), strings.Clone(tenant)
		s.epochs.Add(tenant, epoch{given: given}) // so that other operations do not ask, too
	}
	s.mu.Unlock()
	if known {
		return
	}
	c, cancel := context.WithTimeout(ctx, s.o.Budget)
	defer cancel()
	id, err := s.epoch.Epoch(c, given)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.epochs.Remove(tenant) // the next operation asks again
		return
	}
	s.epochs.Add(tenant, epoch{given, id})
}

// errEmptied means that remote's data is new: it does not know what this process knows.
var errEmptied = errors.New("fallback: the store has lost its data")

// missing is called when remote does not know what it should know. known runs with the lock
// held and says whether it should. missing returns an error if remote has lost its data or
// does not answer. If it returns nil, the data was removed or has expired.
func (s *Store) missing(ctx context.Context, given cache.Scope, known func() bool) error {
	if s.epoch == nil {
		return nil
	}
	s.mu.Lock()
	e, met := s.epochs.Peek(given.Short().Tenant)
	met = met && e.id != "" && known()
	s.mu.Unlock()
	if !met {
		return nil
	}
	id, err := s.epoch.Epoch(ctx, e.given)
	if err == nil && id != e.id {
		err = errEmptied
	}
	return err
}

// missed is missing for the session that k names, if remote has found b instead, or nothing.
func (s *Store) missed(ctx context.Context, given cache.Scope, k *cache.Keys, b *cache.Binding) error {
	return s.missing(ctx, given, func() bool {
		known := s.t.find(given.Short(), k)
		return known != nil && known.remote.Gen != 0 && known.remote.Session != b.Session
	})
}

// gone is missing for the session of a binding that remote did not accept. With current,
// remote may still know the session, so this matters only if b is current as far as this
// process knows.
func (s *Store) gone(ctx context.Context, b *cache.Binding, current bool) error {
	s.mu.Lock()
	known := s.t.named(b)
	if known == nil || current && (known.stale || known.remote.Gen != b.Gen) {
		s.mu.Unlock()
		return nil
	}
	given := known.given
	s.mu.Unlock()
	return s.missing(ctx, given, func() bool { return true })
}

// Get implements [cache.Store].
func (s *Store) Get(ctx context.Context, scope cache.Scope, k cache.Keys) (b cache.Binding, ok bool, err error) {
	away, err := s.ask(ctx, func(ctx context.Context) (err error) {
		if b, ok, err = s.remote.Get(ctx, scope, k); err == nil && !ok {
			err = s.missed(ctx, scope, &k, &b)
		}
		return err
	}, func() {
		b, ok = cache.Binding{Local: true}, false
		if known := s.t.find(scope.Short(), &k); known != nil {
			b, ok = s.used(known, &k), true
		}
	})
	if !away && err == nil && !k.IsZero() {
		s.learn(ctx, scope, &k, &b, ok)
	}
	return b, ok, err
}

// used notes a use of a session, and returns what the request sees of it.
func (s *Store) used(known *session, k *cache.Keys) cache.Binding {
	b := s.t.view(known)
	s.t.open(known)
	known.touched = true
	if n := s.t.use(known, k); n > 0 {
		known.keyed += n
		s.t.tell(known)
	}
	s.t.mention(known)
	return b
}

// Peek implements [cache.Store].
func (s *Store) Peek(ctx context.Context, scope cache.Scope, k cache.Keys) (b cache.Binding, ok bool, err error) {
	_, err = s.ask(ctx, func(ctx context.Context) (err error) {
		if b, ok, err = s.remote.Peek(ctx, scope, k); err == nil && !ok {
			err = s.missed(ctx, scope, &k, &b)
		}
		return err
	}, func() {
		b, ok = cache.Binding{Local: true}, false
		if known := s.t.find(scope.Short(), &k); known != nil {
			b, ok = s.t.view(known), true
		}
	})
	return b, ok, err
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, scope cache.Scope, k cache.Keys, auth string) (b cache.Binding, existed bool, err error) {
	away, err := s.ask(ctx, func(ctx context.Context) (err error) {
		b, existed, err = s.remote.Bind(ctx, scope, k, auth)
		if err != nil || existed {
			return err
		}
		if err = s.missed(ctx, scope, &k, &b); err != nil {
			_, _ = s.remote.Release(ctx, b, true) // the auth that this process knows is offered instead
		}
		return err
	}, func() {
		if b, existed = (cache.Binding{}), false; !k.IsZero() && auth != "" {
			b, existed = s.bind(scope, &k, auth)
		}
	})
	if !away && err == nil && b.Gen != 0 {
		s.learn(ctx, scope, &k, &b, true)
	}
	return b, existed, err
}

// bind binds a session in this process.
func (s *Store) bind(given cache.Scope, k *cache.Keys, auth string) (b cache.Binding, existed bool) {
	known := s.t.find(given.Short(), k)
	switch {
	case known == nil:
		known = s.t.add(given, cache.Binding{Session: newName(), Auth: strings.Clone(auth), Gen: newGen()})
		known.used = time.Now()
	case known.b.Bound():
		return s.used(known, k), true
	default:
		known.rebind(auth)
	}
	s.t.tell(known)
	return s.used(known, k), false
}

// on runs an operation on the session of a binding: at remote with the binding that remote
// knows, or here with the binding that this process knows. learned applies what remote has
// answered. learned and here run with the lock held, and only if this process knows the
// session.
func (s *Store) on(ctx context.Context, b cache.Binding, remote func(context.Context, cache.Binding) error, learned, here func(*session, cache.Binding)) error {
	away, err := s.ask(ctx, func(ctx context.Context) error {
		s.mu.Lock()
		known := s.t.named(&b)
		there, ok := b, !local(b.Gen)
		if known != nil && known.remote.Gen != 0 {
			there, ok = known.translate(b), true
		}
		s.mu.Unlock()
		if !ok {
			return nil // the session is gone
		}
		return remote(ctx, there)
	}, func() {
		if known := s.t.named(&b); known != nil && b.Gen != 0 {
			here(known, known.resolve(b))
		}
	})
	if away || err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.t.named(&b); known != nil && b.Gen != 0 && !s.t.isPending(known) {
		learned(known, known.resolve(b))
	}
	return nil
}

// Move implements [cache.Store].
func (s *Store) Move(ctx context.Context, b cache.Binding, auth string) (now cache.Binding, moved bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		if now, moved, err = s.remote.Move(ctx, b, auth); err == nil && now.Gen == 0 && auth != "" {
			err = s.gone(ctx, &b, false)
		}
		return err
	}, func(known *session, _ cache.Binding) {
		if now.Gen != 0 {
			known.is(&now)
			known.opened()
		}
	}, func(known *session, b cache.Binding) {
		if auth == "" {
			return
		}
		if moved = known.b.Gen == b.Gen; moved {
			known.rebind(auth)
			s.t.tell(known)
		}
		now = s.t.view(known)
		s.t.open(known)
	})
	return now, moved, err
}

// Confirm implements [cache.Store].
func (s *Store) Confirm(ctx context.Context, b cache.Binding) (memo string, current bool, err error) {
	serve := func(known *session) {
		known.b.Served, known.uses, known.held, known.served = true, 0, 0, time.Now()
		s.t.touch(known)
		memo = known.b.Memo
	}
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		if memo, current, err = s.remote.Confirm(ctx, b); err == nil && !current {
			err = s.gone(ctx, &b, true)
		}
		return err
	}, func(known *session, _ cache.Binding) {
		if current {
			known.b.Memo, known.remote.Memo = memo, memo
			serve(known)
			known.remote.Served = true
			known.heard(0)
		}
	}, func(known *session, b cache.Binding) {
		if current = known.b.Gen == b.Gen && known.b.Bound(); !current {
			return
		}
		if !known.b.Served {
			s.t.tell(known)
		}
		serve(known)
		known.confirmed = true
		s.t.mention(known)
	})
	return memo, current, err
}

// Touch implements [cache.Store].
func (s *Store) Touch(ctx context.Context, b cache.Binding) (current bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		if current, err = s.remote.Touch(ctx, b); err == nil && !current {
			err = s.gone(ctx, &b, true)
		}
		return err
	}, func(known *session, _ cache.Binding) {
		if current {
			s.t.touch(known)
			known.heard(0)
		}
	}, func(known *session, b cache.Binding) {
		if current = known.b.Gen == b.Gen; current {
			s.t.touch(known)
			known.touched = true
			s.t.mention(known)
		}
	})
	return current, err
}

// Amend implements [cache.Store].
func (s *Store) Amend(ctx context.Context, b cache.Binding, memo string) (now cache.Binding, amended bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		if now, amended, err = s.remote.Amend(ctx, b, memo); err == nil && now.Gen == 0 {
			err = s.gone(ctx, &b, false)
		}
		return err
	}, func(known *session, _ cache.Binding) {
		if now.Gen != 0 {
			known.is(&now)
		}
	}, func(known *session, b cache.Binding) {
		if amended = known.b.Gen == b.Gen && known.b.Memo == b.Memo; amended && memo != b.Memo {
			known.b.Memo = strings.Clone(memo)
			s.t.tell(known)
		}
		now = s.t.view(known)
	})
	return now, amended, err
}

// Unbind implements [cache.Store].
func (s *Store) Unbind(ctx context.Context, b cache.Binding) (unbound bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		if unbound, err = s.remote.Unbind(ctx, b); err == nil && !unbound {
			err = s.gone(ctx, &b, true)
		}
		return err
	}, func(known *session, _ cache.Binding) {
		if unbound {
			known.lostThere(cache.Unbound)
		}
	}, func(known *session, b cache.Binding) {
		if unbound = known.b.Gen == b.Gen && known.b.Bound(); unbound {
			known.lose(cache.Unbound)
			s.t.tell(known)
		}
	})
	return unbound, err
}

// last reports whether a binding has one open use, as far as this process knows.
func (s *Store) last(b *cache.Binding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.t.named(b)
	return known != nil && known.uses == 1
}

// Release implements [cache.Store].
func (s *Store) Release(ctx context.Context, b cache.Binding, failed bool) (unbound bool, err error) {
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		if unbound, err = s.remote.Release(ctx, b, failed); err == nil && failed && !unbound && s.last(&b) {
			err = s.gone(ctx, &b, true)
		}
		return err
	}, func(known *session, b cache.Binding) {
		switch {
		case unbound:
			known.lostThere(cache.Released)
		case known.b.Gen == b.Gen:
			known.uses, known.held = max(0, known.uses-1), max(0, known.held-1)
		}
	}, func(known *session, b cache.Binding) {
		if known.b.Gen != b.Gen || !provisional(&known.b) || known.uses == 0 {
			return
		}
		known.uses--
		if unbound = failed && known.uses == 0; unbound {
			known.lose(cache.Released)
		}
		s.t.tell(known)
	})
	return unbound, err
}

// BindAnswer implements [cache.Store].
func (s *Store) BindAnswer(ctx context.Context, b cache.Binding, a cache.Answer) (done cache.Answered, err error) {
	take := func(known *session) {
		for _, k := range a.Keys[:min(len(a.Keys), cache.MaxAnswer)] {
			s.t.other(known, k)
		}
	}
	err = s.on(ctx, b, func(ctx context.Context, b cache.Binding) (err error) {
		done, err = s.remote.BindAnswer(ctx, b, a)
		if err == nil && !done.Accepted && !b.Opening {
			err = s.gone(ctx, &b, true)
		}
		return err
	}, func(known *session, _ cache.Binding) {
		if done.Accepted {
			take(known)
		}
	}, func(known *session, b cache.Binding) {
		if b.Opening && known.end != a.End {
			return
		}
		done = cache.Answered{Accepted: true}
		take(known)
		s.t.tell(known)
	})
	return done, err
}

// Remember implements [cache.Store].
func (s *Store) Remember(ctx context.Context, scope cache.Scope, key cache.Key, auth string) error {
	keep := func(told bool) {
		if key != (cache.Key{}) && auth != "" {
			given := cloned(scope)
			s.t.note(scoped{given.Short(), key}, note{given, strings.Clone(auth), time.Now()}, told)
		}
	}
	away, err := s.ask(ctx, func(ctx context.Context) error { return s.remote.Remember(ctx, scope, key, auth) }, func() { keep(false) })
	if away || err != nil {
		return err
	}
	s.meet(ctx, scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	keep(true)
	return nil
}

// Recall implements [cache.Store].
func (s *Store) Recall(ctx context.Context, scope cache.Scope, key cache.Key) (auth string, ok bool, err error) {
	at := scoped{scope.Short(), key}
	away, err := s.ask(ctx, func(ctx context.Context) (err error) {
		if auth, ok, err = s.remote.Recall(ctx, scope, key); err == nil && !ok {
			err = s.missing(ctx, scope, func() bool { return s.t.notes.Contains(at) })
		}
		return err
	}, func() {
		if auth, ok = s.t.recall(at); ok {
			s.t.untold[at] = struct{}{} // so that remote starts its TTL again
		}
	})
	if away || err != nil {
		return auth, ok, err
	}
	s.meet(ctx, scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		given := cloned(scope)
		s.t.note(scoped{given.Short(), key}, note{given, auth, time.Now()}, true)
	} else {
		s.t.notes.Remove(at)
	}
	return auth, ok, nil
}
