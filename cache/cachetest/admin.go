package cachetest

import (
	"fmt"
	"maps"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks of a store that is a cache.Admin. A store that is not passes them.

func invalidateSession(r *run) {
	if r.admin == nil {
		return
	}
	invalidate := func(sc cache.Scope, k cache.Keys, want bool, why string) {
		removed, err := r.admin.InvalidateSession(r.ctx, sc, k)
		r.noError("InvalidateSession", err)
		r.check(removed == want, "%s: InvalidateSession returned %v, want %v", why, removed, want)
	}
	b := r.bound(named("one", "two"), "A")
	r.confirm(b, true, "current")
	invalidate(cache.Scope{Tenant: "other"}, named("two"), false, "another tenant")
	invalidate(scope, cache.Keys{}, false, "zero keys")
	invalidate(scope, named("two"), true, "its other name")
	r.at(scope, named("one"), "", "invalidated by its other name")
	invalidate(scope, named("two"), false, "the second time")
	b = r.bound(named("s"), "A")
	r.unbind(b, true, "current")
	invalidate(scope, named("s"), true, "a session without an auth")
	_, ok := r.peek(named("s"))
	r.check(!ok, "a session without an auth still exists after InvalidateSession")
	again := r.bound(named("s"), "A")
	r.check(again.Session != b.Session, "a session that was invalidated has kept its name")
}

// lost demands that sessions exist and have lost their auth.
func (r *run) lost(sc cache.Scope, k cache.Keys, auth, why string) {
	b, ok, err := r.s.Peek(r.ctx, sc, k)
	r.noError("Peek", err)
	r.check(ok && b.Lost == cache.AuthInvalidated && b.Auth == auth, "%s: found %v, lost %v, auth %q, want true, AuthInvalidated and its last auth", why, ok, b.Lost, b.Auth)
}

func invalidateAuth(r *run) {
	if r.admin == nil {
		return
	}
	for i := range 30 {
		r.bound(named(fmt.Sprint("s", i), fmt.Sprint("alias", i)), string("ABC"[i%3]))
	}
	b, _ := r.get(scope, named("s0"))
	r.move(b, "B") // has left A before the operation
	b, _ = r.get(scope, named("s3"))
	r.unbind(b, true, "current") // has lost A before the operation
	invalidate := func(want int) {
		n, err := r.admin.InvalidateAuth(r.ctx, "A")
		r.noError("InvalidateAuth", err)
		r.check(n == want, "InvalidateAuth returned %d, want %d, the sessions that are bound to it", n, want)
	}
	invalidate(8)
	for i := range 30 {
		for _, name := range []string{"s", "alias"} {
			k := named(fmt.Sprint(name, i))
			switch {
			case i == 0:
				r.at(scope, k, "B", "moved before A was invalidated")
			case i == 3:
				b, _ := r.peek(k)
				r.check(b.Lost == cache.Unbound, "a session that had lost its auth before: lost %v, want Unbound", b.Lost)
			case i%3 == 0:
				r.lost(scope, k, "A", "A was invalidated")
			default:
				r.at(scope, k, string("ABC"[i%3]), "after A was invalidated")
			}
		}
	}
	invalidate(0)
	r.bound(named("s6"), "A")
	r.at(scope, named("s6"), "A", "bound to it again")
}

func invalidateTenant(r *run) {
	if r.admin == nil {
		return
	}
	other := cache.Scope{Tenant: "other"}
	for i := range 10 {
		r.bound(named(fmt.Sprint("s", i)), string("AB"[i%2]))
		r.bind(other, named(fmt.Sprint("s", i)), string("AB"[i%2]))
	}
	invalidate := func(auth string, want int) {
		n, err := r.admin.InvalidateTenant(r.ctx, scope.Tenant, auth)
		r.noError("InvalidateTenant", err)
		r.check(n == want, "InvalidateTenant with the auth %q returned %d, want %d", auth, n, want)
	}
	invalidate("A", 5)
	r.lost(scope, named("s0"), "A", "a session of the tenant on A")
	r.at(scope, named("s1"), "B", "a session of the tenant on B")
	r.at(other, named("s0"), "A", "a session of another tenant on A")
	invalidate("A", 0)
	invalidate("", 10)
	for i := range 10 {
		_, ok := r.peek(named(fmt.Sprint("s", i)))
		r.check(!ok, "a session of the tenant is left")
		r.at(other, named(fmt.Sprint("s", i)), string("AB"[i%2]), "a session of another tenant")
	}
}

func renameAuth(r *run) {
	if r.admin == nil {
		return
	}
	b := r.bound(named("s"), "old")
	r.bound(named("other"), "new")
	lost := r.bound(named("lost"), "old")
	r.unbind(lost, true, "current")
	rename := func(from, to string, want int) {
		n, err := r.admin.RenameAuth(r.ctx, from, to)
		r.noError("RenameAuth", err)
		r.check(n == want, "RenameAuth of %q returned %d, want %d", from, n, want)
	}
	rename("old", "", 0)
	rename("old", "old", 0)
	r.Sleep(TTL * 6 / 10)
	rename("old", "new", 1)
	r.at(scope, named("s"), "new", "renamed")
	got, _ := r.peek(named("s"))
	r.check(got.Gen == b.Gen && got.Session == b.Session, "RenameAuth has changed the generation")
	r.release(b, false, false, "its use")
	r.Sleep(TTL * 6 / 10)
	_, ok := r.peek(named("s"))
	r.check(!ok, "RenameAuth has started the TTL again")
	rename("old", "new", 0)
}

func countAuth(r *run) {
	if r.admin == nil {
		return
	}
	is := func(auth string, want int, why string) {
		n, err := r.admin.CountAuth(r.ctx, auth)
		r.noError("CountAuth", err)
		r.check(n == want, "%s: CountAuth of %q returned %d, want %d", why, auth, n, want)
	}
	is("A", 0, "nothing is bound")
	var all []cache.Binding
	for i := range 6 {
		all = append(all, r.bound(named(fmt.Sprint("s", i)), "A"))
	}
	r.bind(cache.Scope{Tenant: "other"}, named("s"), "A")
	is("A", 7, "of all tenants")
	r.move(all[0], "B")
	r.unbind(all[1], true, "current")
	r.release(all[2], true, true, "the only use")
	is("A", 4, "one has moved, two have lost it")
	is("B", 1, "one has moved to it")
	r.bound(named("s1"), "B")
	is("B", 2, "one was bound again")
}

func countAuths(r *run) {
	if r.admin == nil {
		return
	}
	is := func(want map[string]int, why string) {
		got, err := r.admin.CountAuths(r.ctx)
		r.noError("CountAuths", err)
		r.check(maps.Equal(got, want), "%s: CountAuths returned %v, want %v", why, got, want)
	}
	is(map[string]int{}, "nothing is bound")
	var all []cache.Binding
	for i := range 6 {
		all = append(all, r.bound(named(fmt.Sprint("s", i)), "A"))
	}
	for i := range 20 { // wherever a store keeps a tenant
		r.bind(cache.Scope{Tenant: fmt.Sprint("tenant", i)}, named("s"), "C")
	}
	r.remember(scope, "n", "noted")
	is(map[string]int{"A": 6, "C": 20}, "of all tenants")
	r.move(all[0], "B")
	r.unbind(all[1], true, "current")
	r.release(all[2], true, true, "the only use")
	is(map[string]int{"A": 3, "B": 1, "C": 20}, "one has moved, two have lost their auth")
	r.bound(named("s1"), "B")
	r.move(all[3], "A")
	is(map[string]int{"A": 3, "B": 2, "C": 20}, "one was bound again, one was bound anew to the same auth")
	_, err := r.admin.RenameAuth(r.ctx, "B", "D")
	r.noError("RenameAuth", err)
	_, err = r.admin.InvalidateAuth(r.ctx, "C")
	r.noError("InvalidateAuth", err)
	is(map[string]int{"A": 3, "D": 2}, "B is D now, and C was invalidated")
	_, err = r.admin.InvalidateSession(r.ctx, scope, named("s5"))
	r.noError("InvalidateSession", err)
	is(map[string]int{"A": 2, "D": 2}, "a session was removed")
	_, err = r.admin.InvalidateTenant(r.ctx, scope.Tenant, "")
	r.noError("InvalidateTenant", err)
	is(map[string]int{}, "their tenant was invalidated")

	// Sessions that are used stay in the number. Expired ones may.
	used, idle := r.bound(named("used"), "E"), r.bound(named("idle"), "E")
	r.confirm(used, true, "current")
	r.confirm(idle, true, "current")
	for range 4 {
		r.Sleep(TTL * 8 / 10)
		r.touch(used, true, "used within the TTL")
	}
	got, err := r.admin.CountAuths(r.ctx)
	r.noError("CountAuths", err)
	r.check(len(got) == 1 && got["E"] >= 1 && got["E"] <= 2, "after one of two sessions has expired CountAuths returned %v, want 1, or 2 if the other was not freed yet", got)
}

func editMemos(r *run) {
	if r.admin == nil {
		return
	}
	for i := range 10 {
		b := r.bound(named(fmt.Sprint("s", i)), "A")
		if i%2 == 0 {
			r.amend(b, fmt.Sprint("memo ", i))
		}
		if i%4 == 0 {
			r.unbind(b, true, "current")
		}
	}
	seen := map[string]bool{}
	r.noError("EditMemos", r.admin.EditMemos(r.ctx, func(b cache.Binding) string {
		memo := b.Memo
		seen[memo] = true
		if memo == "memo 2" {
			return ""
		}
		return "edited " + memo
	}))
	want := map[string]bool{"memo 0": true, "memo 2": true, "memo 4": true, "memo 6": true, "memo 8": true}
	r.check(maps.Equal(seen, want), "EditMemos has passed on the memos %v, want %v", seen, want)
	for i := range 10 {
		want := ""
		if i%2 == 0 && i != 2 {
			want = fmt.Sprint("edited memo ", i)
		}
		b, _ := r.peek(named(fmt.Sprint("s", i)))
		r.check(b.Memo == want, "after EditMemos the memo of session %d is %q, want %q", i, b.Memo, want)
	}
}
