package fallback

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/llmaffinity/llmaffinity/cache"
)

// ErrAway is the error of an operation of cache.Admin while remote is away.
var ErrAway = errors.New("fallback: the store is away")

// maxLater is how many operations of cache.Admin are kept to be repeated.
const maxLater = 1024

// change runs an operation of Admin that changes something. The function here runs in any
// case, with the lock held. If remote is away, do runs again later, so it must not write what
// the caller reads.
func (s *Store) change(ctx context.Context, here func(), do func(context.Context) (int, error)) (int, error) {
	if err := s.able(); err != nil {
		return 0, err
	}
	for {
		s.mu.Lock()
		here()
		switch {
		case s.closed:
			s.mu.Unlock()
			return 0, cache.ErrClosed
		case s.State() == Away:
			defer s.mu.Unlock()
			if len(s.later) == maxLater {
				return 0, fmt.Errorf("%w, and %d operations wait for it already: call this one again later", ErrAway, maxLater)
			}
			s.later = append(s.later, do)
			return 0, fmt.Errorf("%w: the operation is done in this process, and is repeated when the store is back", ErrAway)
		}
		s.mu.Unlock()
		n, err := s.admit(ctx, do)
		// What was learned meanwhile may be from before the operation. That the caller's
		// context has ended does not say whether remote has done it.
		s.mu.Lock()
		here()
		s.mu.Unlock()
		if err == nil || ctx.Err() != nil || s.probe() { // remote answers, and cannot do that
			return n, err
		}
		s.failed.Add(1)
		s.leave()
	}
}

var errNoAdmin = fmt.Errorf("fallback: the store does not implement cache.Admin: %w", errors.ErrUnsupported)

// admit runs an operation of remote's Admin.
func (s *Store) admit(ctx context.Context, do func(context.Context) (int, error)) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.AdminBudget)
	defer cancel()
	return do(ctx)
}

// able returns the error of an operation of Admin that cannot be done at all.
func (s *Store) able() error {
	if err := s.alive(); err != nil || s.admin != nil {
		return err
	}
	return errNoAdmin
}

// alive returns the error of an operation that changes nothing.
func (s *Store) alive() error {
	if s.ended() {
		return cache.ErrClosed
	}
	return nil
}

// InvalidateSession implements [cache.Admin].
func (s *Store) InvalidateSession(ctx context.Context, scope cache.Scope, k cache.Keys) (removed bool, err error) {
	k.Fallbacks = slices.Clone(k.Fallbacks) // it may be kept
	n, err := s.change(ctx, func() {
		if known := s.t.find(scope.Short(), &k); known != nil {
			s.t.remove(known)
		}
	}, func(ctx context.Context) (n int, err error) {
		removed, err := s.admin.InvalidateSession(ctx, scope, k)
		if removed {
			n = 1
		}
		return n, err
	})
	return n != 0, err
}

// InvalidateAuth implements [cache.Admin].
func (s *Store) InvalidateAuth(ctx context.Context, auth string) (unbound int, err error) {
	if auth == "" {
		return 0, s.alive()
	}
	return s.change(ctx, func() { s.forget("", true, auth) }, func(ctx context.Context) (int, error) {
		return s.admin.InvalidateAuth(ctx, auth)
	})
}

// InvalidateTenant implements [cache.Admin].
func (s *Store) InvalidateTenant(ctx context.Context, tenant, auth string) (n int, err error) {
	return s.change(ctx, func() { s.forget(cache.Scope{Tenant: tenant}.Short().Tenant, false, auth) }, func(ctx context.Context) (int, error) {
		return s.admin.InvalidateTenant(ctx, tenant, auth)
	})
}

// forget removes sessions and notes: of one tenant, or of all, and of one auth, or of any if
// auth is empty. With an auth, the sessions stay and lose it.
func (s *Store) forget(tenant string, all bool, auth string) {
	is := func(scope cache.Scope, at string) bool {
		return (all || scope.Tenant == tenant) && (auth == "" || at == auth)
	}
	s.t.each(func(known *session) {
		if auth == "" {
			if is(known.scope, "") {
				s.t.remove(known)
			}
			return
		}
		if known.remote.Bound() && is(known.scope, known.remote.Auth) {
			known.stale = true
		}
		if known.b.Bound() && is(known.scope, known.b.Auth) {
			known.lose(cache.AuthInvalidated) // the session stays
			if s.State() == Away {
				s.t.tell(known)
			}
		}
	})
	for _, at := range s.t.notes.Keys() {
		if n, _ := s.t.notes.Peek(at); is(at.scope, n.auth) {
			s.t.notes.Remove(at)
		}
	}
}

// RenameAuth implements [cache.Admin].
func (s *Store) RenameAuth(ctx context.Context, from, to string) (renamed int, err error) {
	if from == to || to == "" {
		return 0, s.alive()
	}
	return s.change(ctx, func() {
		s.t.each(func(known *session) {
			for _, b := range [...]*cache.Binding{&known.b, &known.remote} {
				if b.Auth == from && b.Bound() {
					b.Auth = to
				}
			}
		})
		for _, at := range s.t.notes.Keys() {
			if n, _ := s.t.notes.Peek(at); n.auth == from {
				n.auth = to
				s.t.notes.Add(at, n) // told or not, as before
			}
		}
	}, func(ctx context.Context) (int, error) { return s.admin.RenameAuth(ctx, from, to) })
}

// CountAuth implements [cache.Admin].
func (s *Store) CountAuth(ctx context.Context, auth string) (bound int, err error) {
	switch err := s.able(); {
	case err != nil:
		return 0, err
	case s.State() == Away:
		return 0, ErrAway
	}
	return s.admit(ctx, func(ctx context.Context) (int, error) { return s.admin.CountAuth(ctx, auth) })
}

// CountAuths implements [cache.Admin].
func (s *Store) CountAuths(ctx context.Context) (bound map[string]int, err error) {
	switch err := s.able(); {
	case err != nil:
		return nil, err
	case s.State() == Away:
		return nil, ErrAway
	}
	_, err = s.admit(ctx, func(ctx context.Context) (_ int, err error) {
		bound, err = s.admin.CountAuths(ctx)
		return 0, err
	})
	return bound, err
}

// EditMemos implements [cache.Admin]. Both this process and remote may call edit for a
// session.
func (s *Store) EditMemos(ctx context.Context, edit func(b cache.Binding) (memo string)) error {
	if err := s.able(); err != nil {
		return err
	}
	type pair struct{ is, edited cache.Binding }
	s.mu.Lock()
	all := map[*session][2]pair{} // the session here, and as remote knew it
	s.t.each(func(known *session) {
		if known.b.Memo != "" || known.remote.Memo != "" {
			all[known] = [2]pair{{is: known.b}, {is: known.remote}}
		}
	})
	s.mu.Unlock()
	for known, both := range all {
		for i := range both {
			if both[i].edited = both[i].is; both[i].is.Memo != "" {
				both[i].edited.Memo = edit(both[i].is) // with no lock held
			}
		}
		all[known] = both
	}
	_, err := s.change(ctx, func() {
		for known, both := range all {
			if known.b.Memo != both[0].is.Memo || known.b.Gen != both[0].is.Gen || !s.t.sessions.Contains(known) {
				continue
			}
			if known.b.Memo = both[0].edited.Memo; known.remote.Memo == both[1].is.Memo {
				known.remote.Memo = both[1].edited.Memo
			}
			if s.State() == Away && known.b.Memo != known.remote.Memo {
				s.t.tell(known)
			}
		}
	}, func(ctx context.Context) (int, error) { return 0, s.admin.EditMemos(ctx, edit) })
	return err
}
