package cachetest

import (
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks of notes.

func notes(r *run) {
	r.noted(scope, "n", "", "nothing was noted")
	r.remember(scope, "n", "A")
	r.noted(scope, "n", "A", "noted")
	r.remember(scope, "n", "B")
	r.noted(scope, "n", "B", "after two Remembers the last one counts")
	r.noted(scope, "other", "", "another key")
	r.noted(cache.Scope{Tenant: "other", Pool: scope.Pool, Model: scope.Model}, "n", "", "another tenant with the same key")
	r.remember(scope, "n", "")
	r.noted(scope, "n", "B", "an empty auth is not noted")
	r.remember(scope, "", "A")
	r.noted(scope, "", "", "the zero key has no note")
	if r.admin == nil {
		return
	}
	for _, auth := range []string{"A", "B", "C"} {
		r.remember(scope, auth, auth)
	}
	_, err := r.admin.RenameAuth(r.ctx, "A", "D")
	r.noError("RenameAuth", err)
	r.noted(scope, "A", "D", "renamed")
	_, err = r.admin.InvalidateAuth(r.ctx, "D")
	r.noError("InvalidateAuth", err)
	r.noted(scope, "A", "", "a note of an auth that was invalidated")
	_, err = r.admin.InvalidateTenant(r.ctx, scope.Tenant, "B")
	r.noError("InvalidateTenant", err)
	r.noted(scope, "B", "", "a note of an auth that was invalidated for its tenant")
	r.noted(scope, "C", "C", "a note of another auth")
	_, err = r.admin.InvalidateTenant(r.ctx, scope.Tenant, "")
	r.noError("InvalidateTenant", err)
	r.noted(scope, "C", "", "a note of a tenant that was invalidated")
}

func notesApart(r *run) {
	odd := []cache.Scope{scope, {}, {Model: "\x00owner"}, {Model: "\x00"}, {Tenant: "\x00note"}, {Model: "note"}, {Model: "owner"}}
	for i, sc := range odd {
		r.remember(sc, "k", "noted")
		_, ok := r.get(sc, named("k"))
		r.check(!ok, "scope %d: a request whose name is the key of a note has found a session", i)
		_, ok = r.get(sc, content("e", "k"))
		r.check(!ok, "scope %d: a request that has the key of a note among its Fallbacks has found a session", i)
		r.bind(sc, with(named("s"), "also"), "A")
		r.noted(sc, "s", "", "the key of a session has found a note")
		r.noted(sc, "also", "", "the key of a session has found a note")
	}
	for i := range 900 { // nearly as many sessions as the store has room for
		r.bound(named(fmt.Sprint("s", i)), "A")
	}
	for i := range 2000 {
		r.remember(scope, fmt.Sprint("n", i), "A")
	}
	for i := range 900 {
		r.at(scope, named(fmt.Sprint("s", i)), "A", "2000 notes have evicted a session")
	}
	r.noted(scope, "n1999", "A", "the latest note")
	if r.admin == nil {
		return
	}
	n, err := r.admin.CountAuth(r.ctx, "noted")
	r.noError("CountAuth", err)
	r.check(n == 0, "CountAuth counts %d notes, want 0", n)
	n, err = r.admin.InvalidateAuth(r.ctx, "noted")
	r.noError("InvalidateAuth", err)
	r.check(n == 0, "InvalidateAuth counts %d notes, want 0", n)
}

func notesExpire(r *run) {
	r.remember(scope, "n", "A")
	for range 4 {
		r.Sleep(TTL * 9 / 10)
		r.noted(scope, "n", "A", "recalled within the TTL")
	}
	r.Sleep(TTL * 11 / 10)
	r.noted(scope, "n", "", "idle for more than the TTL")
}
