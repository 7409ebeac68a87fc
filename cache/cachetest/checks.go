package cachetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks are all that a store is asked for.
func Checks() []Check {
	return []Check{
		{"first-wins", firstWins},
		{"a-burst-ends-on-one-auth", burst},
		{"read-your-write", readYourWrite},
		{"aliases-lead-to-one-binding", aliases},
		{"aliases-are-learned", learned},
		{"aliases-live-and-die-together", together},
		{"a-weak-key-merges-nobody", weak},
		{"content-is-found-by-its-earlier-ends", earlierEnds},
		{"content-tells-a-retry-from-a-twin", twins},
		{"content-is-found-by-its-tail", tails},
		{"generations-are-new", generations},
		{"late-results-change-nothing", late},
		{"one-swap-wins", oneSwap},
		{"provisional-until-served", provisional},
		{"knows-when-it-was-served", sinceServed},
		{"touch-does-not-resurrect", resurrect},
		{"idle-expires-not-age", sliding},
		{"peek-changes-nothing", peek},
		{"tenants-never-meet", tenants},
		{"invalidate-session", invalidateSession},
		{"invalidate-auth", invalidateAuth},
		{"invalidate-tenant", invalidateTenant},
		{"a-stable-name", stableName},
		{"nothing-names-nothing", zero},
		{"closed", closed},
	}
}

func firstWins(r *run) {
	b := r.bound(named("s"), "A")
	again, existed := r.bind(scope, named("s"), "B")
	r.check(existed && again.Auth == "A" && again.Gen == b.Gen, "the second Bind got %q, generation %d, existed %v, want the first one's A, %d", again.Auth, again.Gen, existed, b.Gen)
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
			r.check(got[i] == got[0], "one of 16 first binds got %q, another one %q", got[i], got[0])
		}
	}
}

func readYourWrite(r *run) {
	for i := range 500 {
		k := named(fmt.Sprint("s", i))
		r.bound(k, "A")
		_, ok := r.get(scope, k)
		r.check(ok, "binding %d is not there for the next request", i)
	}
	for i := range 500 {
		r.at(scope, named(fmt.Sprint("s", i)), "A", "a store with room for a thousand")
	}
}

func aliases(r *run) {
	b := r.bound(named("header", "body", "third"), "A")
	for _, n := range []string{"header", "body", "third"} {
		got, ok := r.get(scope, named(n))
		r.check(ok && got.Gen == b.Gen, "the key %q does not lead to the session", n)
	}
	r.at(scope, named("unknown", "third"), "A", "the first name is new, another one known")
	moved, _ := r.swap(b, "B")
	r.at(scope, named("third"), "B", "after a move")
	r.does("Delete", r.s.Delete, moved, true, "the current binding")
	for _, n := range []string{"header", "body", "third"} {
		r.at(scope, named(n), "", "after Delete, under "+n)
	}
}

func learned(r *run) {
	r.bound(named("one"), "A")
	r.get(scope, named("one", "two"))
	r.at(scope, named("two"), "A", "a name that came with Get")
	r.bind(scope, named("two", "three"), "B")
	r.at(scope, named("three"), "A", "a name that came with Bind")
	r.bound(named("other"), "C")
	r.get(scope, named("one", "other"))
	r.at(scope, named("other"), "C", "a name that another session has")
	r.get(scope, cache.Keys{Names: named("one").Names, Weak: key("w")})
	r.at(scope, cache.Keys{Weak: key("w")}, "A", "a weak key that came with Get")
}

func together(r *run) {
	r.bound(cache.Keys{Names: named("one", "two").Names, Weak: key("w")}, "A")
	for range 5 {
		r.Sleep(TTL * 9 / 10)
		_, ok := r.get(scope, named("two"))
		r.check(ok, "used under one of its names, the session has expired")
	}
	r.at(scope, named("one"), "A", "the other name")
	r.at(scope, cache.Keys{Weak: key("w")}, "A", "the weak key")
	r.Sleep(TTL * 3 / 2)
	r.at(scope, named("one"), "", "idle")
	r.at(scope, named("two"), "", "idle, the other name")
	r.at(scope, cache.Keys{Weak: key("w")}, "", "idle, the weak key")
	r.bound(named("two"), "B")
	r.at(scope, named("one"), "", "a name that was not bound again")
}

func weak(r *run) {
	with := func(name string) cache.Keys { return cache.Keys{Names: named(name).Names, Weak: key("app")} }
	r.bound(with("one"), "A")
	r.at(scope, with("two"), "", "another name beside the same weak key")
	r.bound(with("two"), "B")
	for range 3 {
		for n, auth := range map[string]string{"one": "A", "two": "B"} {
			b, ok := r.get(scope, with(n))
			r.check(ok && b.Auth == auth, "%q beside the shared weak key is on %q, want %q", n, b.Auth, auth)
		}
	}
	r.at(scope, cache.Keys{Weak: key("app")}, "A", "the weak key alone finds who had it first")
}

func earlierEnds(r *run) {
	b := r.bound(content("e1"), "A")
	all := []string{"e1"}
	for i := 2; i < 40; i++ {
		end := fmt.Sprint("e", i)
		got, ok := r.get(scope, content(end, all...))
		r.check(ok && got.Session == b.Session, "turn %d does not find its conversation by its earlier ends", i)
		all = append([]string{end}, all...)
	}
	r.at(scope, content("fork", "x", "e1"), "A", "a history that was cut back to its beginning")
	r.at(scope, content("new", "y", "z"), "", "another conversation")
}

func twins(r *run) {
	a := r.bound(content("hi"), "A")
	got, ok := r.get(scope, content("hi"))
	r.check(ok && got.Session == a.Session, "a retry is another session")
	_, ok = r.get(scope, content("a2", "hi"))
	r.check(ok, "the next turn is not found")
	r.at(scope, content("hi"), "", "the same words, after the first has moved on")
	b := r.bound(content("hi"), "B")
	r.check(b.Session != a.Session, "two conversations have one name")
	r.at(scope, content("a3", "a2", "hi"), "A", "the first one goes on")
	r.at(scope, content("b2", "hi"), "B", "the second one goes on")
}

func tails(r *run) {
	b := r.bound(cache.Keys{End: key("e1"), Tail: key("t1")}, "A")
	r.at(scope, cache.Keys{End: key("x"), Tail: key("t1")}, "", "a tail is not looked up in the request that ends with it")
	got, ok := r.get(scope, cache.Keys{End: key("compacted"), Earlier: []cache.Key{key("summary")}, Tail: key("t2"), EarlierTails: []cache.Key{key("none"), key("t1")}})
	r.check(ok && got.Session == b.Session, "a history that lost its head is not found by its tail")
	r.at(scope, cache.Keys{End: key("y"), EarlierTails: []cache.Key{key("t2")}}, "A", "the tail after that")
	r.bound(content("other"), "B")
	r.at(scope, cache.Keys{End: key("z"), Earlier: []cache.Key{key("other")}, EarlierTails: []cache.Key{key("t2")}}, "B", "ends come before tails")
}

func generations(r *run) {
	seen := map[uint64]bool{0: true}
	fresh := func(what string, b cache.Binding) {
		r.check(!seen[b.Gen], "%s has generation %d, which is 0 or was there before", what, b.Gen)
		seen[b.Gen] = true
	}
	b := r.bound(named("s"), "A")
	fresh("a new binding", b)
	for range 5 {
		b, _ = r.swap(b, "A")
		fresh("a move", b)
	}
	r.does("Delete", r.s.Delete, b, true, "the current binding")
	fresh("a binding after Delete", r.bound(named("s"), "A"))
	r.bind(scope, named("s"), "B")
	got, _ := r.get(scope, named("s"))
	r.check(seen[got.Gen], "looking has changed the generation")
}

func late(r *run) {
	old := r.bound(named("s"), "A")
	now, swapped := r.swap(old, "B")
	r.check(swapped && now.Auth == "B", "Swap of the current binding says %v, %q", swapped, now.Auth)
	got, swapped := r.swap(old, "C")
	r.check(!swapped && got.Auth == "B" && got.Gen == now.Gen, "Swap of an old binding says %v and %q, want the current one", swapped, got.Auth)
	r.does("Confirm", r.s.Confirm, old, false, "a late success")
	r.does("Touch", r.s.Touch, old, false, "a late touch")
	r.does("Release", r.s.Release, old, false, "a late failure")
	r.does("Delete", r.s.Delete, old, false, "a late failure")
	got, ok := r.get(scope, named("s"))
	r.check(ok && got.Auth == "B" && got.Gen == now.Gen && !got.Served, "after late results the session is on %q, served %v", got.Auth, got.Served)
	// Nor is another's TTL renewed by them.
	r.Sleep(TTL * 6 / 10)
	r.does("Confirm", r.s.Confirm, old, false, "a late success")
	r.Sleep(TTL * 6 / 10)
	r.at(scope, named("s"), "", "idle but for a late success")
}

func oneSwap(r *run) {
	for round := range 20 {
		b := r.bound(named(fmt.Sprint("s", round)), "A")
		won := make([]bool, 16)
		now := make([]cache.Binding, len(won))
		errs := make([]error, len(won))
		var wg sync.WaitGroup
		for i := range won {
			wg.Go(func() { now[i], won[i], errs[i] = r.s.Swap(r.ctx, b, fmt.Sprint("auth", i)) })
		}
		wg.Wait()
		winners := 0
		for i := range won {
			r.noError("Swap", errs[i])
			r.check(now[i].Auth == now[0].Auth, "after concurrent swaps one is told %q, another one %q", now[i].Auth, now[0].Auth)
			if won[i] {
				winners++
			}
		}
		r.check(winners == 1, "%d of 16 swaps of one binding have won", winners)
	}
}

func provisional(r *run) {
	b := r.bound(named("s"), "A")
	r.check(!b.Served, "a new binding counts as served")
	r.does("Release", r.s.Release, b, true, "never served")
	r.at(scope, named("s"), "", "released")
	b = r.bound(named("s"), "A")
	r.does("Confirm", r.s.Confirm, b, true, "the current binding")
	got, _ := r.get(scope, named("s"))
	r.check(got.Served && got.Gen == b.Gen, "a confirmed binding is not served, or another one")
	r.does("Release", r.s.Release, b, false, "served")
	r.at(scope, named("s"), "A", "served, then released")
	b, _ = r.swap(got, "B")
	r.check(!b.Served, "a move counts as served")
	r.does("Release", r.s.Release, b, true, "moved and never served")
}

func sinceServed(r *run) {
	b := r.bound(named("s"), "A")
	r.Sleep(TTL / 3)
	is := func(b cache.Binding, want time.Duration, why string) {
		// The harness's clock may be a real one, and go on while this looks.
		r.check(b.SinceServed >= want-time.Second && b.SinceServed <= want+5*time.Second, "%s: not served for %v, want %v", why, b.SinceServed, want)
	}
	got, _ := r.get(scope, named("s"))
	r.check(got.SinceServed == 0 && !got.Served, "never served, and not served for %v", got.SinceServed)
	r.does("Confirm", r.s.Confirm, b, true, "current")
	r.Sleep(TTL / 3)
	got, _ = r.get(scope, named("s"))
	is(got, TTL/3, "by Get")
	r.does("Touch", r.s.Touch, b, true, "current")
	r.Sleep(TTL / 3)
	got, _ = r.get(scope, named("s"))
	is(got, 2*TTL/3, "used since, but not served")
	r.does("Confirm", r.s.Confirm, b, true, "current")
	got, _ = r.get(scope, named("s"))
	is(got, 0, "served again")
	now, _ := r.swap(got, "B")
	r.check(now.SinceServed == 0, "the auth that it was moved to has not served for %v", now.SinceServed)
}

func resurrect(r *run) {
	all := map[string]func(cache.Binding){
		"Delete":            func(b cache.Binding) { r.does("Delete", r.s.Delete, b, true, "current") },
		"Release":           func(b cache.Binding) { r.does("Release", r.s.Release, b, true, "current") },
		"InvalidateSession": func(cache.Binding) { _, err := r.s.InvalidateSession(r.ctx, scope, named("s")); r.noError("it", err) },
		"InvalidateAuth":    func(cache.Binding) { _, err := r.s.InvalidateAuth(r.ctx, "A"); r.noError("it", err) },
		"InvalidateTenant": func(cache.Binding) {
			_, err := r.s.InvalidateTenant(r.ctx, scope.Tenant, "")
			r.noError("it", err)
		},
		"idleness": func(cache.Binding) { r.Sleep(TTL * 3 / 2) },
	}
	for how, remove := range all {
		b := r.bound(named("s"), "A")
		remove(b)
		r.does("Touch", r.s.Touch, b, false, "after "+how)
		r.does("Confirm", r.s.Confirm, b, false, "after "+how)
		r.does("Delete", r.s.Delete, b, false, "after "+how)
		_, swapped := r.swap(b, "B")
		r.check(!swapped, "Swap brings a session back after %s", how)
		r.at(scope, named("s"), "", "touched after "+how)
		// Nor does it reach who comes after it.
		next := r.bound(named("s"), "C")
		r.does("Confirm", r.s.Confirm, b, false, "the binding before, after "+how)
		r.does("Delete", r.s.Delete, b, false, "the binding before, after "+how)
		r.at(scope, named("s"), "C", "the next session after "+how)
		r.does("Delete", r.s.Delete, next, true, "current")
	}
}

func sliding(r *run) {
	for _, use := range []struct {
		name string
		use  func(cache.Binding)
	}{
		{"Get", func(cache.Binding) { r.get(scope, named("s")) }},
		{"Bind", func(cache.Binding) { r.bind(scope, named("s"), "B") }},
		{"Confirm", func(b cache.Binding) { r.does("Confirm", r.s.Confirm, b, true, "in use") }},
		{"Touch", func(b cache.Binding) { r.does("Touch", r.s.Touch, b, true, "in use") }},
	} {
		b := r.bound(named("s"), "A")
		for i := range 5 {
			r.Sleep(TTL * 9 / 10)
			r.at(scope, named("s"), "A", fmt.Sprintf("used %d times by %s, each within the TTL", i, use.name))
			use.use(b)
		}
		r.Sleep(TTL * 11 / 10)
		r.at(scope, named("s"), "", "idle for more than the TTL")
		_, ok := r.get(scope, named("s"))
		r.check(!ok, "Get returns what has expired")
	}
}

func peek(r *run) {
	r.bound(named("s"), "A")
	r.Sleep(TTL * 6 / 10)
	r.at(scope, named("s", "new"), "A", "in time")
	r.at(scope, named("new"), "", "a name that came with Peek")
	r.Sleep(TTL * 6 / 10)
	r.at(scope, named("s"), "", "Peek has renewed it")
}

func tenants(r *run) {
	scopes := []cache.Scope{
		{Tenant: "tenant", Pool: "pool", Model: "model"},
		{Tenant: "other", Pool: "pool", Model: "model"},
		{Tenant: "tenant", Pool: "other", Model: "model"},
		{Tenant: "tenant", Pool: "pool", Model: "other"},
		{Tenant: "tenantpool", Model: "model"},
		{Tenant: "tenant", Pool: "poolmodel"},
		{Tenant: "pool", Pool: "tenant", Model: "model"},
		{},
	}
	name := func(i int) string { return fmt.Sprint("auth", i) }
	for i, sc := range scopes {
		for _, k := range []cache.Keys{named("s"), {Weak: key("w")}, content("e")} {
			b, existed := r.bind(sc, k, name(i))
			r.check(!existed, "%+v has found %q, another scope's", sc, b.Auth)
		}
	}
	for i, sc := range scopes {
		r.at(sc, named("s"), name(i), "its own")
		r.at(sc, cache.Keys{Weak: key("w")}, name(i), "its own weak key")
		r.at(sc, content("next", "e"), name(i), "its own content")
	}
	removed, err := r.s.InvalidateSession(r.ctx, scopes[0], named("s"))
	r.noError("InvalidateSession", err)
	r.check(removed, "the session was not there")
	for i, sc := range scopes[1:] {
		r.at(sc, named("s"), name(i+1), "another scope's was invalidated")
	}
}

func invalidateSession(r *run) {
	b := r.bound(named("one", "two"), "A")
	r.does("Confirm", r.s.Confirm, b, true, "current")
	removed, err := r.s.InvalidateSession(r.ctx, scope, named("two"))
	r.noError("InvalidateSession", err)
	r.check(removed, "InvalidateSession says that nothing was there")
	r.at(scope, named("one"), "", "invalidated by its other name")
	removed, err = r.s.InvalidateSession(r.ctx, scope, named("two"))
	r.noError("InvalidateSession", err)
	r.check(!removed, "InvalidateSession says twice that something was there")
}

func invalidateAuth(r *run) {
	for i := range 30 {
		r.bound(named(fmt.Sprint("s", i), fmt.Sprint("alias", i)), string("ABC"[i%3]))
	}
	b, _ := r.get(scope, named("s0"))
	r.swap(b, "B") // has left A in time
	n, err := r.s.InvalidateAuth(r.ctx, "A")
	r.noError("InvalidateAuth", err)
	r.check(n == 9, "InvalidateAuth says %d, want the 9 that are bound to it", n)
	for i := 1; i < 30; i++ {
		want := string("ABC"[i%3])
		if want == "A" {
			want = ""
		}
		r.at(scope, named(fmt.Sprint("s", i)), want, "after A was invalidated")
		r.at(scope, named(fmt.Sprint("alias", i)), want, "after A was invalidated")
	}
	r.at(scope, named("s0"), "B", "moved before")
	n, err = r.s.InvalidateAuth(r.ctx, "A")
	r.noError("InvalidateAuth", err)
	r.check(n == 0, "InvalidateAuth says %d the second time", n)
	r.bound(named("s3"), "A")
	r.at(scope, named("s3"), "A", "bound to it again")
}

func invalidateTenant(r *run) {
	other := cache.Scope{Tenant: "other"}
	for i := range 10 {
		r.bound(named(fmt.Sprint("s", i)), string("AB"[i%2]))
		r.bind(other, named(fmt.Sprint("s", i)), string("AB"[i%2]))
	}
	n, err := r.s.InvalidateTenant(r.ctx, scope.Tenant, "A")
	r.noError("InvalidateTenant", err)
	r.check(n == 5, "InvalidateTenant with an auth says %d, want 5", n)
	r.at(scope, named("s0"), "", "the tenant's on A")
	r.at(scope, named("s1"), "B", "the tenant's on B")
	r.at(other, named("s0"), "A", "another tenant's on A")
	n, err = r.s.InvalidateTenant(r.ctx, scope.Tenant, "")
	r.noError("InvalidateTenant", err)
	r.check(n == 5, "InvalidateTenant of all says %d, want 5", n)
	r.at(scope, named("s1"), "", "all of the tenant's")
	r.at(other, named("s1"), "B", "another tenant's")
}

func stableName(r *run) {
	b := r.bound(named("s"), "A")
	r.check(b.Session != cache.Key{}, "a session without a name")
	moved, _ := r.swap(b, "B")
	got, _ := r.get(scope, named("s", "more"))
	r.check(moved.Session == b.Session && got.Session == b.Session, "the name changes with a move")
	other := r.bound(named("other"), "A")
	r.check(other.Session != b.Session, "two sessions have one name")
	r.does("Delete", r.s.Delete, got, true, "current")
	again := r.bound(named("s"), "A")
	r.check(again.Session != b.Session, "a session that begins anew has its old name")
}

func zero(r *run) {
	b, existed := r.bind(scope, cache.Keys{}, "A")
	r.check(!existed && b == cache.Binding{}, "zero keys were bound")
	b, existed = r.bind(scope, named("s"), "")
	r.check(!existed && b == cache.Binding{}, "an empty auth was bound")
	_, ok := r.get(scope, cache.Keys{})
	r.check(!ok, "zero keys name a session")
	r.at(scope, named("s"), "", "bound to an empty auth")
	r.bound(named("s"), "A")
	var none cache.Binding
	r.does("Confirm", r.s.Confirm, none, false, "the zero Binding")
	r.does("Touch", r.s.Touch, none, false, "the zero Binding")
	r.does("Delete", r.s.Delete, none, false, "the zero Binding")
	r.does("Release", r.s.Release, none, false, "the zero Binding")
	now, swapped := r.swap(none, "B")
	r.check(!swapped && now == none, "the zero Binding was swapped")
	now, swapped = r.swap(mustGet(r), "")
	r.check(!swapped && now.Auth == "A", "swapped to an empty auth")
	r.at(scope, named("s"), "A", "after all that")
}

func mustGet(r *run) cache.Binding {
	b, ok := r.get(scope, named("s"))
	r.check(ok, "the session is gone")
	return b
}

func closed(r *run) {
	b := r.bound(named("s"), "A")
	for range 3 {
		r.noError("Close", r.s.Close())
	}
	_, _, err := r.s.Bind(r.ctx, scope, named("s"), "A")
	r.check(errors.Is(err, cache.ErrClosed), "Bind after Close says %v", err)
	_, ok, err := r.s.Get(r.ctx, scope, named("s"))
	r.check(errors.Is(err, cache.ErrClosed) && !ok, "Get after Close says %v, %v", ok, err)
	_, err = r.s.Confirm(r.ctx, b)
	r.check(errors.Is(err, cache.ErrClosed), "Confirm after Close says %v", err)
	n, err := r.s.InvalidateAuth(r.ctx, "A")
	r.check(errors.Is(err, cache.ErrClosed) && n == 0, "InvalidateAuth after Close says %d, %v", n, err)
}
