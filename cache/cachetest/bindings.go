package cachetest

import (
	"fmt"
	"sync"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks of generations, of bindings, and of what a session keeps without its binding.

func generations(r *run) {
	seen := map[uint64]bool{0: true}
	fresh := func(what string, b cache.Binding) {
		r.check(!seen[b.Gen], "%s has generation %d, which is 0 or was used before", what, b.Gen)
		seen[b.Gen] = true
	}
	b := r.bound(named("s"), "A")
	fresh("a new binding", b)
	for range 300 {
		b, _ = r.move(b, "A")
		fresh("a move", b)
		fresh("a session that begins meanwhile", r.bound(named(fmt.Sprint("other", len(seen))), "A"))
	}
	r.unbind(b, true, "the current binding")
	got, _ := r.get(scope, named("s"))
	fresh("a session that has lost its auth", got)
	fresh("a binding after Unbind", r.bound(named("s"), "A"))
	r.bind(scope, named("s"), "B")
	got, _ = r.get(scope, named("s"))
	r.check(seen[got.Gen], "Get or Bind has changed the generation of a bound session")
	got, _ = r.amend(got, "memo")
	r.check(seen[got.Gen], "Amend has changed the generation")
	r.confirm(got, true, "current")
	got, _ = r.get(scope, named("s"))
	r.check(seen[got.Gen], "Confirm has changed the generation")
}

func stableName(r *run) {
	b := r.bound(named("s"), "A")
	r.check(b.Session != cache.Key{}, "the name of a new session is zero")
	moved, _ := r.move(b, "B")
	got, _ := r.get(scope, named("s", "more"))
	r.check(moved.Session == b.Session && got.Session == b.Session, "Move has changed the name of the session")
	other := r.bound(named("other"), "A")
	r.check(other.Session != b.Session, "two sessions have the same name")
	r.Sleep(TTL * 3 / 2)
	again := r.bound(named("s"), "A")
	r.check(again.Session != b.Session, "a session that is new after its TTL has its old name")
}

func late(r *run) {
	old := r.bound(named("s"), "A")
	now, moved := r.move(old, "B")
	r.check(moved && now.Auth == "B" && now.Bound(), "Move of the current binding returned %v, %q, want true, \"B\"", moved, now.Auth)
	got, moved := r.move(old, "C")
	r.check(!moved && got.Auth == "B" && got.Gen == now.Gen, "Move of an old binding returned %v, %q, want false and the current binding", moved, got.Auth)
	r.release(now, false, false, "Release of the use that the late Move has opened")
	r.confirm(old, false, "a late success")
	r.touch(old, false, "a late touch")
	r.release(old, true, false, "a late failure")
	r.unbind(old, false, "a late failure")
	got, amended := r.amend(old, "late")
	r.check(!amended && got.Gen == now.Gen && got.Memo == "", "Amend of an old binding returned %v, memo %q, want false and the current binding", amended, got.Memo)
	got, ok := r.get(scope, named("s"))
	r.check(ok && got.Auth == "B" && got.Gen == now.Gen && !got.Served, "after late results the session is bound to %q, served %v, want \"B\", false", got.Auth, got.Served)
	// Nor do they start another binding's TTL again.
	r.Sleep(TTL * 6 / 10)
	r.confirm(old, false, "a late success")
	r.Sleep(TTL * 6 / 10)
	r.at(scope, named("s"), "", "the session was idle, and a late success has started its TTL again")
}

func oneMove(r *run) {
	for round := range 20 {
		b := r.bound(named(fmt.Sprint("s", round)), "A")
		won := make([]bool, 16)
		now := make([]cache.Binding, len(won))
		errs := make([]error, len(won))
		var wg sync.WaitGroup
		for i := range won {
			wg.Go(func() { now[i], won[i], errs[i] = r.s.Move(r.ctx, b, fmt.Sprint("auth", i)) })
		}
		wg.Wait()
		winners := 0
		for i := range won {
			r.noError("Move", errs[i])
			r.check(now[i].Auth == now[0].Auth, "concurrent moves returned different auths: %q and %q", now[i].Auth, now[0].Auth)
			if won[i] {
				winners++
			}
		}
		r.check(winners == 1, "%d of 16 concurrent moves of one binding have succeeded, want 1", winners)
	}
}

func provisional(r *run) {
	b := r.bound(named("s"), "A")
	r.check(!b.Served, "a new binding counts as served")
	r.release(b, true, true, "never served")
	got, ok := r.get(scope, named("s"))
	r.check(ok && got.Lost == cache.Released && !got.Bound(), "never served and failed: found %v, lost %v, want true, Released", ok, got.Lost)
	b = r.bound(named("s"), "A")
	r.check(!b.Served, "a session that was bound again counts as served")
	r.confirm(b, true, "the current binding")
	got, _ = r.get(scope, named("s"))
	r.check(got.Served && got.Gen == b.Gen, "a confirmed binding is not served, or has another generation")
	r.release(b, true, false, "served")
	r.at(scope, named("s"), "A", "served, then released")
	b, _ = r.move(got, "B")
	r.check(!b.Served, "a move counts as served")
	r.release(b, true, true, "moved and never served")
}

func uses(r *run) {
	b := r.bound(named("s"), "A")     // one use
	r.get(scope, named("s"))          // two
	r.bind(scope, named("s"), "B")    // three
	r.get(scope, named("s", "alias")) // four
	r.peek(named("s"))                // none
	r.touch(b, true, "current")       // none
	for i := range 3 {
		r.release(b, i != 1, false, fmt.Sprintf("use %d of 4 has ended", i+1))
		r.at(scope, named("s"), "A", "a failed use has unbound a session with other open uses")
	}
	r.release(b, true, true, "the last of 4 uses has failed")
	r.release(b, true, false, "the auth is lost already")

	b = r.bound(named("s"), "A")
	r.release(b, false, false, "its only use has ended without a failure")
	r.at(scope, named("s"), "A", "its only use has not failed")
	r.release(b, true, false, "no use is open")
	r.at(scope, named("s"), "A", "a Release without a use")
	r.get(scope, named("s"))
	r.release(b, true, true, "the use that Get has opened has failed")

	b = r.bound(named("s"), "A")
	r.get(scope, named("s"))
	r.confirm(b, true, "one of two uses has served")
	r.release(b, true, false, "the other one has failed")
	r.at(scope, named("s"), "A", "served")
}

// losses are the ways in which a session can lose its auth.
func (r *run) losses() map[cache.Cause]func(cache.Binding) {
	all := map[cache.Cause]func(cache.Binding){
		cache.Unbound:  func(b cache.Binding) { r.unbind(b, true, "current") },
		cache.Released: func(b cache.Binding) { r.release(b, true, true, "the only use") },
	}
	if r.admin != nil {
		all[cache.AuthInvalidated] = func(b cache.Binding) {
			n, err := r.admin.InvalidateAuth(r.ctx, b.Auth)
			r.noError("InvalidateAuth", err)
			r.check(n == 1, "InvalidateAuth returned %d, want 1", n)
		}
	}
	return all
}

func lostAuth(r *run) {
	for why, lose := range r.losses() {
		name := "s " + why.String()
		first := r.bound(with(named(name, name+" alias"), name+" also"), "A")
		r.amend(first, "memo")
		lose(first)
		b, ok := r.get(scope, named(name+" alias"))
		r.check(ok, "%v: the session is gone with its auth", why)
		r.check(b.Session == first.Session, "%v: the session has another name", why)
		r.check(b.Lost == why && !b.Bound() && b.Auth == "A", "%v: lost %v, auth %q, want the last one it had", why, b.Lost, b.Auth)
		r.check(!b.Served && b.SinceServed == 0 && b.Memo == "memo", "%v: served %v, %v ago, memo %q, want false, 0s ago, \"memo\"", why, b.Served, b.SinceServed, b.Memo)
		r.check(b.Gen != first.Gen && b.Gen != 0, "%v: the generation has not changed", why)
		again, existed := r.bind(scope, named(name), "B")
		r.check(!existed && again.Auth == "B" && again.Bound(), "%v: Bind returned %q, existed %v, want \"B\", false", why, again.Auth, existed)
		r.check(again.Session == first.Session && again.Memo == "memo", "%v: after the second Bind it has another name, or no memo", why)
		r.at(scope, content("unknown", name+" also"), "B", "the keys stay")
		r.unbind(again, true, "current")
		lost, moved := r.move(again, "C")
		r.check(!moved && lost.Lost == cache.Unbound, "%v: Move of an old binding returned %v, lost %v, want false, Unbound", why, moved, lost.Lost)
		now, moved := r.move(lost, "C")
		r.check(moved && now.Bound() && now.Auth == "C" && now.Session == first.Session, "%v: Move does not bind the session again: it returned %v, %q", why, moved, now.Auth)
		r.confirm(now, true, "bound again")
	}
}

func lostServes(r *run) {
	for why, lose := range r.losses() {
		name := "s " + why.String()
		first := r.bound(named(name), "A")
		lose(first)
		r.confirm(first, false, "a result of the auth that was lost")
		b, _ := r.get(scope, named(name))
		r.confirm(b, false, "a session without an auth")
		r.unbind(b, false, "a session without an auth")
		r.release(b, true, false, "a session without an auth")
		r.touch(b, true, "current, without an auth")
		r.Sleep(TTL * 6 / 10)
		_, ok := r.peek(named(name))
		r.check(ok, "%v: the session has expired, although Touch was called", why)
		r.Sleep(TTL * 6 / 10)
		_, ok = r.peek(named(name))
		r.check(!ok, "%v: a session without an auth does not expire", why)
	}
}

func memo(r *run) {
	b := r.bound(named("s"), "A")
	r.check(b.Memo == "", "a new session has the memo %q", b.Memo)
	one, amended := r.amend(b, "one")
	r.check(amended && one.Memo == "one" && one.Gen == b.Gen, "Amend returned %v, memo %q, want true, \"one\" and the same generation", amended, one.Memo)
	now, amended := r.amend(b, "two")
	r.check(!amended && now.Memo == "one", "Amend of a memo that has changed returned %v, memo %q, want false, \"one\"", amended, now.Memo)
	now, amended = r.amend(now, "two")
	r.check(amended && now.Memo == "two", "Amend of the current memo returned %v, memo %q, want true, \"two\"", amended, now.Memo)
	r.release(b, true, true, "Amend opens no use")
	lost, _ := r.get(scope, named("s"))
	lost, amended = r.amend(lost, "three")
	r.check(amended && lost.Memo == "three" && lost.Lost == cache.Released, "Amend of a session without an auth returned %v, memo %q, want true, \"three\"", amended, lost.Memo)

	won := make([]bool, 16)
	errs := make([]error, len(won))
	var wg sync.WaitGroup
	for i := range won {
		wg.Go(func() { _, won[i], errs[i] = r.s.Amend(r.ctx, lost, fmt.Sprint("of ", i)) })
	}
	wg.Wait()
	winners := 0
	for i := range won {
		r.noError("Amend", errs[i])
		if won[i] {
			winners++
		}
	}
	r.check(winners == 1, "%d of 16 concurrent Amends of one memo have succeeded, want 1", winners)

	r.Sleep(TTL * 6 / 10)
	lost, _ = r.peek(named("s"))
	r.amend(lost, "in time")
	r.Sleep(TTL * 6 / 10)
	_, ok := r.peek(named("s"))
	r.check(!ok, "Amend has started the TTL again")
	gone, amended := r.amend(lost, "too late")
	r.check(!amended && gone == cache.Binding{}, "Amend of a session that has expired returned %v, memo %q, want false and the zero Binding", amended, gone.Memo)
}

func memoSurvives(r *run) {
	b := r.bound(named("s"), "A")
	b, _ = r.amend(b, "memo")
	b, _ = r.move(b, "B")
	r.check(b.Memo == "memo", "after Move the memo is %q, want \"memo\"", b.Memo)
	r.check(r.confirm(b, true, "current") == "memo", "Confirm does not return the memo")
	r.unbind(b, true, "current")
	b, _ = r.get(scope, named("s"))
	r.check(b.Memo == "memo", "after Unbind the memo is %q, want \"memo\"", b.Memo)
	b, _ = r.bind(scope, named("s", "other name"), "C")
	r.check(b.Memo == "memo", "after the second Bind the memo is %q, want \"memo\"", b.Memo)
	b, _ = r.peek(named("other name"))
	r.check(b.Memo == "memo", "under another name the memo is %q, want \"memo\"", b.Memo)
	b, amended := r.amend(b, "")
	r.check(amended && b.Memo == "", "Amend with an empty memo does not remove the memo")
}
