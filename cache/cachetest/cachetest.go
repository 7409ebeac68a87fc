// Package cachetest tells whether a [cache.Store] keeps the contract: for
// anyone who writes one, over a shared database for example.
//
//	func TestStore(t *testing.T) {
//		cachetest.Test(t, cachetest.Harness{
//			New:   func(ttl time.Duration) (cache.Store, error) { return mystore.New(client, ttl) },
//			Sleep: time.Sleep, // or what moves the store's clock
//		})
//	}
//
// A store whose clock is the process's own can be tested in a synctest bubble,
// where nothing has to wait. Each check has a name that says what a store gets
// wrong that fails it; [Checks] gives them one by one.
package cachetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Harness is how the checks get at a store.
type Harness struct {
	// New makes an empty store whose bindings live for ttl after their last
	// use, and which has room for a thousand sessions. Each check asks for one
	// and closes it.
	New func(ttl time.Duration) (cache.Store, error)
	// Sleep lets this much time pass for the store. The longest that the
	// checks ask for at once is 1.5 times the TTL, which is one minute.
	Sleep func(time.Duration)
}

// TTL is what the checks ask New for.
const TTL = time.Minute

// Check is one property of a store.
type Check struct {
	Name string // such as "touch-does-not-resurrect"
	run  func(*run)
}

// Test runs all checks as subtests.
func Test(t *testing.T, h Harness) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(h); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Run runs one check; the error says what the store did and what it should have
// done.
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
	defer s.Close()
	c.run(r)
	return nil
}

// run is one check at work.
type run struct {
	Harness
	s   cache.Store
	ctx context.Context
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

// named is a request with explicit ids.
func named(names ...string) (k cache.Keys) {
	for i, n := range names {
		k.Names[i] = key(n)
	}
	return k
}

// content is a request that only its content names: its own end, and those
// before it.
func content(end string, earlier ...string) cache.Keys {
	k := cache.Keys{End: key(end)}
	for _, e := range earlier {
		k.Earlier = append(k.Earlier, key(e))
	}
	return k
}

func (r *run) bind(sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool) {
	b, existed, err := r.s.Bind(r.ctx, sc, k, auth)
	r.noError("Bind", err)
	return b, existed
}

// bound binds a session that must be new.
func (r *run) bound(k cache.Keys, auth string) cache.Binding {
	b, existed := r.bind(scope, k, auth)
	r.check(!existed && b.Auth == auth, "a new session was bound to %q, existed %v, want %q", b.Auth, existed, auth)
	return b
}

func (r *run) get(sc cache.Scope, k cache.Keys) (cache.Binding, bool) {
	b, ok, err := r.s.Get(r.ctx, sc, k)
	r.noError("Get", err)
	return b, ok
}

// at demands where a session is bound, "" for nowhere; it looks and does not
// touch.
func (r *run) at(sc cache.Scope, k cache.Keys, auth, why string) {
	b, ok, err := r.s.Peek(r.ctx, sc, k)
	r.noError("Peek", err)
	r.check(ok == (auth != "") && b.Auth == auth, "%s: bound to %q, want %q", why, b.Auth, auth)
}

func (r *run) swap(b cache.Binding, auth string) (cache.Binding, bool) {
	now, swapped, err := r.s.Swap(r.ctx, b, auth)
	r.noError("Swap", err)
	return now, swapped
}

// does demands what one of the operations on a binding answers.
func (r *run) does(what string, op func(context.Context, cache.Binding) (bool, error), b cache.Binding, want bool, why string) {
	got, err := op(r.ctx, b)
	r.noError(what, err)
	r.check(got == want, "%s: %s says %v", why, what, got)
}
