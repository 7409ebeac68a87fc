package cachetest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Harness gives the checks a store.
type Harness struct {
	// New makes an empty store. Its sessions must live for ttl after their last use. It must
	// have room for a thousand sessions and a thousand notes. Each check calls New once.
	New func(ttl time.Duration) (cache.Store, error)
	// Sleep lets this much time pass for the store. No check sleeps for more than 1.5 times
	// the TTL at once.
	Sleep func(time.Duration)
}

// TTL is what the checks give to New.
const TTL = time.Minute

// Check is one demand on a store.
type Check struct {
	Name string // such as "touch-does-not-resurrect"
	run  func(*run)
}

// Run runs the check. The error says what the store did and what it should have done.
func (c Check) Run(h Harness) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s: %s", c.Name, string(v))
		default:
			panic(v)
		}
	}()
	s, err := h.New(TTL)
	if err != nil {
		return fmt.Errorf("%s: New: %w", c.Name, err)
	}
	r := &run{Harness: h, s: s, ctx: context.Background()}
	r.admin, _ = s.(cache.Admin)
	if closer, ok := s.(io.Closer); ok {
		defer closer.Close()
	}
	c.run(r)
	return nil
}

// run is a check that runs.
type run struct {
	Harness
	s     cache.Store
	admin cache.Admin // nil if the store is no cache.Admin
	ctx   context.Context
}

// failure is what a check panics with, on its own goroutine.
type failure string

func (r *run) check(ok bool, format string, args ...any) {
	if !ok {
		panic(failure(fmt.Sprintf(format, args...)))
	}
}

func (r *run) noError(what string, err error) {
	r.check(err == nil, "%s failed: %v", what, err)
}

var scope = cache.Scope{Tenant: "tenant", Pool: "pool", Model: "model"}

func key(name string) (k cache.Key) {
	copy(k[:], name)
	return k
}

// named returns the keys of a request with explicit ids.
func named(names ...string) (k cache.Keys) {
	for i, n := range names {
		k.Names[i] = key(n)
	}
	return k
}

// content returns the keys of a request that only its content names: its own end, and earlier
// ends.
func content(end string, past ...string) cache.Keys {
	k := cache.Keys{End: key(end)}
	for _, p := range past {
		k.Fallbacks = append(k.Fallbacks, key(p))
	}
	return k
}

// with adds Also keys to a request.
func with(k cache.Keys, also ...string) cache.Keys {
	for i, a := range also {
		k.Also[i] = key(a)
	}
	return k
}

func (r *run) bind(sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool) {
	b, existed, err := r.s.Bind(r.ctx, sc, k, auth)
	r.noError("Bind", err)
	return b, existed
}

// bound binds a session, and demands that it was not bound.
func (r *run) bound(k cache.Keys, auth string) cache.Binding {
	b, existed := r.bind(scope, k, auth)
	r.check(!existed && b.Bound() && b.Auth == auth, "a session without an auth: Bind returned %q, existed %v, want %q, existed false", b.Auth, existed, auth)
	return b
}

func (r *run) get(sc cache.Scope, k cache.Keys) (cache.Binding, bool) {
	b, ok, err := r.s.Get(r.ctx, sc, k)
	r.noError("Get", err)
	return b, ok
}

func (r *run) peek(k cache.Keys) (cache.Binding, bool) {
	b, ok, err := r.s.Peek(r.ctx, scope, k)
	r.noError("Peek", err)
	return b, ok
}

// at demands that a session is bound to auth, "" for no session. It uses Peek, so it changes
// nothing.
func (r *run) at(sc cache.Scope, k cache.Keys, auth, why string) {
	b, ok, err := r.s.Peek(r.ctx, sc, k)
	r.noError("Peek", err)
	r.check(ok == (auth != "") && b.Auth == auth && b.Bound() == ok, "%s: the session is bound to %q (lost: %v), want %q", why, b.Auth, b.Lost, auth)
}

func (r *run) move(b cache.Binding, auth string) (cache.Binding, bool) {
	now, moved, err := r.s.Move(r.ctx, b, auth)
	r.noError("Move", err)
	return now, moved
}

func (r *run) amend(b cache.Binding, memo string) (cache.Binding, bool) {
	now, amended, err := r.s.Amend(r.ctx, b, memo)
	r.noError("Amend", err)
	return now, amended
}

func (r *run) confirm(b cache.Binding, want bool, why string) (memo string) {
	memo, current, err := r.s.Confirm(r.ctx, b)
	r.noError("Confirm", err)
	r.check(current == want, "%s: Confirm returned %v, want %v", why, current, want)
	return memo
}

func (r *run) touch(b cache.Binding, want bool, why string) {
	current, err := r.s.Touch(r.ctx, b)
	r.noError("Touch", err)
	r.check(current == want, "%s: Touch returned %v, want %v", why, current, want)
}

func (r *run) unbind(b cache.Binding, want bool, why string) {
	unbound, err := r.s.Unbind(r.ctx, b)
	r.noError("Unbind", err)
	r.check(unbound == want, "%s: Unbind returned %v, want %v", why, unbound, want)
}

func (r *run) release(b cache.Binding, failed, want bool, why string) {
	unbound, err := r.s.Release(r.ctx, b, failed)
	r.noError("Release", err)
	r.check(unbound == want, "%s: Release with failed %v returned %v, want %v", why, failed, unbound, want)
}

func (r *run) remember(sc cache.Scope, k, auth string) {
	r.noError("Remember", r.s.Remember(r.ctx, sc, key(k), auth))
}

// noted demands that an auth was noted under a key, "" for none.
func (r *run) noted(sc cache.Scope, k, auth, why string) {
	got, ok, err := r.s.Recall(r.ctx, sc, key(k))
	r.noError("Recall", err)
	r.check(got == auth && ok == (auth != ""), "%s: Recall returned %q, %v, want %q", why, got, ok, auth)
}
