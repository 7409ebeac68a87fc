package cachetest

import (
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks of what happens as time passes. The clock of the harness may be a real one, which
// runs on during a check.

func near(got, want time.Duration) bool {
	return got >= want-time.Second && got <= want+5*time.Second
}

func sinceServed(r *run) {
	b := r.bound(named("s"), "A")
	r.Sleep(TTL / 3)
	is := func(b cache.Binding, want time.Duration, why string) {
		r.check(near(b.SinceServed, want), "%s: served %v ago, want %v", why, b.SinceServed, want)
	}
	got, _ := r.get(scope, named("s"))
	r.check(got.SinceServed == 0 && !got.Served, "never served: SinceServed is %v, want 0s", got.SinceServed)
	r.confirm(b, true, "current")
	r.Sleep(TTL / 3)
	got, _ = r.get(scope, named("s"))
	is(got, TTL/3, "by Get")
	r.touch(b, true, "current")
	r.Sleep(TTL / 3)
	got, _ = r.get(scope, named("s"))
	is(got, 2*TTL/3, "used since, but not served")
	r.confirm(b, true, "current")
	got, _ = r.get(scope, named("s"))
	is(got, 0, "served again")
	now, _ := r.move(got, "B")
	r.check(now.SinceServed == 0, "after Move, SinceServed is %v, want 0s", now.SinceServed)
}

func age(r *run) {
	b := r.bound(named("s"), "A")
	is := func(what string, b cache.Binding, want time.Duration) {
		r.check(near(b.Age, want), "%s: its age is %v, want %v", what, b.Age, want)
	}
	is("a new binding", b, 0)
	r.Sleep(TTL / 3)
	r.confirm(b, true, "current")
	r.Sleep(TTL / 3)
	got, _ := r.get(scope, named("s"))
	is("a binding that was served and used", got, 2*TTL/3)
	got, _ = r.amend(got, "memo")
	is("by Amend", got, 2*TTL/3)
	moved, _ := r.move(got, "B")
	is("a binding that was moved", moved, 0)
	r.Sleep(TTL / 3)
	got, _ = r.peek(named("s"))
	is("by Peek", got, TTL/3)
}

func idle(r *run) {
	b := r.bound(named("s"), "A")
	r.check(near(b.Idle, 0), "a new session was idle for %v, want 0s", b.Idle)
	is := func(what string, b cache.Binding, want time.Duration) {
		r.check(near(b.Idle, want), "%s: the session was idle for %v before it, want %v", what, b.Idle, want)
	}
	r.Sleep(TTL / 3)
	got, _ := r.peek(named("s"))
	is("Peek", got, TTL/3)
	got, _ = r.get(scope, named("s"))
	is("Get", got, TTL/3)
	r.Sleep(TTL / 3)
	got, _ = r.bind(scope, named("s"), "B")
	is("Bind", got, TTL/3)
	r.Sleep(TTL / 3)
	got, _ = r.amend(got, "memo")
	is("Amend", got, TTL/3)
	got, _ = r.move(got, "B")
	is("Move", got, TTL/3)
	r.confirm(got, true, "current")
	got, _ = r.peek(named("s"))
	is("Confirm, then Peek", got, 0)
}

func sliding(r *run) {
	uses := []struct {
		name string
		use  func(k cache.Keys, b cache.Binding)
	}{
		{"Get", func(k cache.Keys, _ cache.Binding) { r.get(scope, k) }},
		{"Bind", func(k cache.Keys, _ cache.Binding) { r.bind(scope, k, "B") }},
		{"Confirm", func(_ cache.Keys, b cache.Binding) { r.confirm(b, true, "in use") }},
		{"Touch", func(_ cache.Keys, b cache.Binding) { r.touch(b, true, "in use") }},
	}
	bound := make([]cache.Binding, len(uses)) // a session each
	for i, use := range uses {
		bound[i] = r.bound(named(use.name), "A")
	}
	for n := range 5 {
		r.Sleep(TTL * 9 / 10)
		for i, use := range uses {
			r.at(scope, named(use.name), "A", fmt.Sprintf("used %d times by %s, each within the TTL", n, use.name))
			use.use(named(use.name), bound[i])
		}
	}
	r.Sleep(TTL * 11 / 10)
	for _, use := range uses {
		r.at(scope, named(use.name), "", "idle for more than the TTL")
		_, ok := r.get(scope, named(use.name))
		r.check(!ok, "Get has found an expired session")
	}
}

func together(r *run) {
	r.bound(with(named("one", "two"), "also"), "A")
	for range 5 {
		r.Sleep(TTL * 9 / 10)
		_, ok := r.get(scope, named("two"))
		r.check(ok, "the session has expired, although it was used under one of its names")
	}
	r.at(scope, named("one"), "A", "the other name")
	r.at(scope, content("x", "also"), "A", "the Also")
	r.Sleep(TTL * 3 / 2)
	r.at(scope, named("one"), "", "idle")
	r.at(scope, named("two"), "", "idle, the other name")
	r.at(scope, content("x", "also"), "", "idle, the Also")
	r.bound(named("two"), "B")
	r.at(scope, named("one"), "", "a name that was not bound again")
}

func peek(r *run) {
	r.bound(named("s"), "A")
	r.Sleep(TTL * 6 / 10)
	r.at(scope, named("s", "new"), "A", "in time")
	r.at(scope, named("new"), "", "a name that came with Peek")
	r.Sleep(TTL * 6 / 10)
	r.at(scope, named("s"), "", "Peek has started the TTL again")
}

func resurrect(r *run) {
	all := map[string]func(cache.Binding){
		"idleness": func(cache.Binding) { r.Sleep(TTL * 3 / 2) },
	}
	if r.admin != nil {
		all["InvalidateSession"] = func(cache.Binding) {
			_, err := r.admin.InvalidateSession(r.ctx, scope, named("s"))
			r.noError("InvalidateSession", err)
		}
		all["InvalidateTenant"] = func(cache.Binding) {
			_, err := r.admin.InvalidateTenant(r.ctx, scope.Tenant, "")
			r.noError("InvalidateTenant", err)
		}
	}
	for how, remove := range all {
		b := r.bound(named("s"), "A")
		remove(b)
		r.touch(b, false, "after "+how)
		r.confirm(b, false, "after "+how)
		r.unbind(b, false, "after "+how)
		r.release(b, true, false, "after "+how)
		now, moved := r.move(b, "B")
		r.check(!moved && now == cache.Binding{}, "Move has brought a session back after %s", how)
		now, amended := r.amend(b, "memo")
		r.check(!amended && now == cache.Binding{}, "Amend has brought a session back after %s", how)
		r.at(scope, named("s"), "", "calls with its binding after "+how)
		// Nor do they reach the session that comes after it.
		next := r.bound(named("s"), "C")
		r.check(next.Memo == "", "the next session has the memo of the session before, after %s", how)
		r.confirm(b, false, "the binding before, after "+how)
		r.unbind(b, false, "the binding before, after "+how)
		now, moved = r.move(b, "B")
		r.check(!moved && now == cache.Binding{}, "Move of the session before returned %v, %q after %s, want false and the zero Binding", moved, now.Auth, how)
		r.at(scope, named("s"), "C", "the next session after "+how)
		r.Sleep(TTL * 3 / 2)
	}
}
