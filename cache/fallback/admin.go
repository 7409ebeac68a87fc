package fallback

import (
	"context"
	"errors"
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
)

// ErrAway is the error of an operation of cache.Admin while remote is away.
var ErrAway = errors.New("fallback: the store is away")

// maxLater is how many operations of cache.Admin are kept to be repeated.
const maxLater = 1024

// change runs an operation of Admin that changes something. here is done in any case,
// with the lock held.
func (s *Store) change(ctx context.Context, here func(), do func(context.Context) error) error {
	if s.admin == nil {
		return errNoAdmin
	}
	for {
		s.mu.Lock()
		here()
		switch {
		case s.closed:
			s.mu.Unlock()
			return cache.ErrClosed
		case s.State() == Away:
			defer s.mu.Unlock()
			if len(s.later) == maxLater {
				return fmt.Errorf("%w, and %d operations wait for it already: repeat this one", ErrAway, maxLater)
			}
			s.later = append(s.later, do)
			return fmt.Errorf("%w: this process has done it, and repeats it when the store is back", ErrAway)
		}
		s.mu.Unlock()
		err := s.admit(ctx, do)
		// What was learned meanwhile may be as it was before. The caller's own end, too,
		// says nothing of what was done.
		s.mu.Lock()
		here()
		s.mu.Unlock()
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.failed.Add(1)
		s.leave()
	}
}

var errNoAdmin = fmt.Errorf("fallback: the store is no cache.Admin: %w", errors.ErrUnsupported)

// admit runs an operation of remote's Admin.
func (s *Store) admit(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.AdminBudget)
	defer cancel()
	return do(ctx)
}

// InvalidateSession implements [cache.Admin].
func (s *Store) InvalidateSession(ctx context.Context, scope cache.Scope, k cache.Keys) (removed bool, err error) {
	err = s.change(ctx, func() {
		if known := s.t.find(scope.Short(), &k); known != nil {
			s.t.remove(known)
		}
	}, func(ctx context.Context) (err error) {
		removed, err = s.admin.InvalidateSession(ctx, scope, k)
		return err
	})
	return removed, err
}

// InvalidateAuth implements [cache.Admin].
func (s *Store) InvalidateAuth(ctx context.Context, auth string) (unbound int, err error) {
	err = s.change(ctx, func() { s.forget("", true, auth) }, func(ctx context.Context) (err error) {
		unbound, err = s.admin.InvalidateAuth(ctx, auth)
		return err
	})
	return unbound, err
}

// InvalidateTenant implements [cache.Admin].
func (s *Store) InvalidateTenant(ctx context.Context, tenant, auth string) (n int, err error) {
	err = s.change(ctx, func() { s.forget(cache.Scope{Tenant: tenant}.Short().Tenant, false, auth) }, func(ctx context.Context) (err error) {
		n, err = s.admin.InvalidateTenant(ctx, tenant, auth)
		return err
	})
	return n, err
}

// forget removes the sessions and notes of a tenant, or of all, that are at an auth, or
// at any.
func (s *Store) forget(tenant string, all bool, auth string) {
	is := func(scope cache.Scope, at string) bool {
		return (all || scope.Tenant == tenant) && (auth == "" || at == auth)
	}
	s.t.each(func(known *session) {
		switch {
		case !is(known.scope, known.b.Auth):
		case auth != "" && s.State() == Away && known.b.Bound():
			known.lose(cache.AuthInvalidated) // the session stays
			s.t.tell(known)
		case auth == "" || known.b.Bound():
			s.t.remove(known)
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
		return 0, nil
	}
	err = s.change(ctx, func() {
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
	}, func(ctx context.Context) (err error) {
		renamed, err = s.admin.RenameAuth(ctx, from, to)
		return err
	})
	return renamed, err
}

// CountAuth implements [cache.Admin].
func (s *Store) CountAuth(ctx context.Context, auth string) (bound int, err error) {
	switch {
	case s.ended():
		return 0, cache.ErrClosed
	case s.admin == nil:
		return 0, errNoAdmin
	case s.State() == Away:
		return 0, ErrAway
	}
	err = s.admit(ctx, func(ctx context.Context) (err error) {
		bound, err = s.admin.CountAuth(ctx, auth)
		return err
	})
	return bound, err
}

// EditMemos implements [cache.Admin]. edit may be called for a session both here and by
// remote.
func (s *Store) EditMemos(ctx context.Context, edit func(b cache.Binding) (memo string)) error {
	s.mu.Lock()
	var all []cache.Binding
	s.t.each(func(known *session) {
		if known.b.Memo != "" {
			all = append(all, known.b)
		}
	})
	s.mu.Unlock()
	memos := map[cache.Key]string{}
	for _, b := range all {
		memos[b.Session] = edit(b) // with no lock held
	}
	return s.change(ctx, func() {
		for _, b := range all {
			if known := s.t.named(&b); known != nil && known.b.Memo == b.Memo && known.b.Gen == b.Gen {
				known.b.Memo = memos[b.Session]
				if s.State() == Away {
					s.t.tell(known)
				}
			}
		}
	}, func(ctx context.Context) error { return s.admin.EditMemos(ctx, edit) })
}
