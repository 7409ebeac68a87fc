package cachetest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks of Bind and Get, of scopes, and of the end of a store.

func firstWins(r *run) {
	b := r.bound(named("s"), "A")
	again, existed := r.bind(scope, named("s"), "B")
	r.check(existed && again.Auth == "A" && again.Gen == b.Gen, "the second Bind returned %q, generation %d, existed %v, want the binding of the first: A, %d, true", again.Auth, again.Gen, existed, b.Gen)
	r.at(scope, named("s"), "A", "after two binds")
}

func burst(r *run) {
	for round := range 20 {
		k := named(fmt.Sprint("s", round), "shared"+fmt.Sprint(round))
		got := make([]string, 16)
		errs := make([]error, len(got))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				<-start
				var b cache.Binding
				b, _, errs[i] = r.s.Bind(r.ctx, scope, k, fmt.Sprint("auth", i))
				got[i] = b.Auth
			})
		}
		close(start)
		wg.Wait()
		for i := range got {
			r.noError("Bind", errs[i])
			r.check(got[i] == got[0], "concurrent first Binds of one session returned different auths: %q and %q", got[i], got[0])
		}
	}
}

func readYourWrite(r *run) {
	for i := range 500 {
		k := named(fmt.Sprint("s", i))
		r.bound(k, "A")
		_, ok := r.get(scope, k)
		r.check(ok, "binding %d is not found by the next request", i)
	}
	for i := range 500 {
		r.at(scope, named(fmt.Sprint("s", i)), "A", "one of 500 sessions in a store for a thousand")
	}
}

func zero(r *run) {
	none := []cache.Keys{{}, {Fallbacks: []cache.Key{key("p")}}, {Also: [cache.MaxAlso]cache.Key{key("a")}}}
	for _, k := range none {
		b, existed := r.bind(scope, k, "A")
		r.check(!existed && b == cache.Binding{}, "keys without Names and End were bound")
		_, ok := r.get(scope, k)
		r.check(!ok, "keys without Names and End name a session")
	}
	b, existed := r.bind(scope, named("s"), "")
	r.check(!existed && b == cache.Binding{}, "an empty auth was bound")
	r.at(scope, named("s"), "", "bound to an empty auth")
	current := r.bound(named("s"), "A")
	b = cache.Binding{}
	r.confirm(b, false, "the zero Binding")
	r.touch(b, false, "the zero Binding")
	r.unbind(b, false, "the zero Binding")
	r.release(b, true, false, "the zero Binding")
	now, moved := r.move(b, "B")
	r.check(!moved && now == b, "the zero Binding was moved")
	now, amended := r.amend(b, "memo")
	r.check(!amended && now == b, "the zero Binding was amended")
	now, moved = r.move(current, "")
	r.check(!moved && now == b, "Move to an empty auth returned %v, %q, want false and the zero Binding", moved, now.Auth)
	r.at(scope, named("s"), "A", "after calls that change nothing")
	r.release(current, true, true, "after calls that open no use, its only use has failed")
}

func scopes(r *run) {
	all := []cache.Scope{
		{Tenant: "tenant", Pool: "pool", Model: "model"},
		{Tenant: "other", Pool: "pool", Model: "model"},
		{Tenant: "tenant", Pool: "other", Model: "model"},
		{Tenant: "tenant", Pool: "pool", Model: "other"},
		{Tenant: "tenantpool", Model: "model"},
		{Tenant: "tenant", Pool: "poolmodel"},
		{Tenant: "pool", Pool: "tenant", Model: "model"},
		{},
	}
	r.apart(all)
	b, _ := r.get(all[0], named("s"))
	r.unbind(b, true, "current")
	for i, sc := range all[1:] {
		r.at(sc, named("s"), fmt.Sprint("auth", i+1), "the session of another scope was unbound")
	}
	if r.admin == nil {
		return
	}
	removed, err := r.admin.InvalidateSession(r.ctx, all[0], named("s"))
	r.noError("InvalidateSession", err)
	r.check(removed, "InvalidateSession did not find the session")
	for i, sc := range all[1:] {
		r.at(sc, named("s"), fmt.Sprint("auth", i+1), "the session of another scope was invalidated")
	}
}

// apart demands that no two scopes share a session, and leaves a session in each.
func (r *run) apart(all []cache.Scope) {
	name := func(i int) string { return fmt.Sprint("auth", i) }
	for i, sc := range all {
		for _, k := range []cache.Keys{named("s"), content("e")} {
			b, existed := r.bind(sc, k, name(i))
			r.check(!existed, "scope %d has found the session of another scope, bound to %q", i, b.Auth)
		}
		r.remember(sc, "n", name(i))
	}
	for i, sc := range all {
		r.at(sc, named("s"), name(i), "the session of the scope")
		r.at(sc, content("next", "e"), name(i), "the session of the scope, by content")
		r.noted(sc, "n", name(i), "the note of the scope")
	}
}

func longNames(r *run) {
	var all []cache.Scope
	var auths []string
	for i := range 3 {
		long := strings.Repeat("x", 1<<20) + fmt.Sprint(i) // they differ only at the end
		auths = append(auths, long)
		all = append(all, cache.Scope{Tenant: long}, cache.Scope{Pool: long}, cache.Scope{Model: long}, cache.Scope{Tenant: long}.Short())
	}
	r.apart(all)
	for i, auth := range auths {
		b, _ := r.bind(scope, named(fmt.Sprint("s", i)), auth)
		r.check(b.Auth == auth, "Bind with an auth's name of a megabyte returned %.20q…, %d bytes, want the same name", b.Auth, len(b.Auth))
		b, _ = r.move(b, auths[(i+1)%3])
		r.check(b.Auth == auths[(i+1)%3], "Move to an auth with a name of a megabyte returned %.20q…, want the same name", b.Auth)
		r.remember(scope, "n", auth)
		r.noted(scope, "n", auth, "an auth with a name of a megabyte")
		if r.admin != nil {
			n, err := r.admin.CountAuth(r.ctx, auths[(i+1)%3])
			r.noError("CountAuth", err)
			r.check(n == 1, "CountAuth of a name of a megabyte returned %d, want 1", n)
			all, err := r.admin.CountAuths(r.ctx)
			r.noError("CountAuths", err)
			r.check(all[auths[(i+1)%3]] == 1, "CountAuths returned %d for a name of a megabyte, want 1", all[auths[(i+1)%3]])
		}
	}
}

func closed(r *run) {
	b := r.bound(named("s"), "A")
	closer, ok := r.s.(io.Closer)
	if !ok {
		return
	}
	for range 3 {
		r.noError("Close", closer.Close())
	}
	is := func(what string, err error) {
		r.check(errors.Is(err, cache.ErrClosed), "%s after Close returned the error %v, want cache.ErrClosed", what, err)
	}
	_, _, err := r.s.Bind(r.ctx, scope, named("s"), "A")
	is("Bind", err)
	_, ok, err = r.s.Get(r.ctx, scope, named("s"))
	is("Get", err)
	r.check(!ok, "Get after Close has found a session")
	_, _, err = r.s.Peek(r.ctx, scope, named("s"))
	is("Peek", err)
	_, _, err = r.s.Move(r.ctx, b, "B")
	is("Move", err)
	_, _, err = r.s.Confirm(r.ctx, b)
	is("Confirm", err)
	_, err = r.s.Touch(r.ctx, b)
	is("Touch", err)
	_, _, err = r.s.Amend(r.ctx, b, "memo")
	is("Amend", err)
	_, err = r.s.Unbind(r.ctx, b)
	is("Unbind", err)
	_, err = r.s.Release(r.ctx, b, true)
	is("Release", err)
	is("Remember", r.s.Remember(r.ctx, scope, key("n"), "A"))
	_, _, err = r.s.Recall(r.ctx, scope, key("n"))
	is("Recall", err)
	if r.admin != nil {
		n, err := r.admin.InvalidateAuth(r.ctx, "A")
		is("InvalidateAuth", err)
		r.check(n == 0, "InvalidateAuth after Close returned %d, want 0", n)
		_, err = r.admin.CountAuth(r.ctx, "A")
		is("CountAuth", err)
		_, err = r.admin.CountAuths(r.ctx)
		is("CountAuths", err)
	}
}
