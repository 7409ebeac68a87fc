package cachetest

import (
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks of what the keys of a session do.

func aliases(r *run) {
	b := r.bound(named("header", "body", "third"), "A")
	for _, n := range []string{"header", "body", "third"} {
		got, ok := r.get(scope, named(n))
		r.check(ok && got.Gen == b.Gen, "the key %q does not find the session", n)
	}
	r.at(scope, named("unknown", "third"), "A", "the first name is new, another one known")
	moved, _ := r.move(b, "B")
	r.at(scope, named("third"), "B", "after a move")
	r.unbind(moved, true, "the current binding")
	for _, n := range []string{"header", "body", "third"} {
		got, ok := r.peek(named(n))
		r.check(ok && got.Lost == cache.Unbound && got.Session == b.Session, "under %q: found %v, lost %v, want true, Unbound under each name", n, ok, got.Lost)
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
	r.get(scope, with(named("one"), "also"))
	r.at(scope, named("also"), "A", "an Also that came with Get")
	k := named("one")
	k.End = key("end")
	r.get(scope, k)
	r.at(scope, content("next", "end"), "A", "an End that came with a name")
}

func also(r *run) {
	r.bound(with(named("one"), "app"), "A")
	r.at(scope, with(named("two"), "app"), "", "another name with the same Also")
	r.bound(with(named("two"), "app"), "B")
	r.at(scope, named("app"), "B", "the latest session that came with an Also has it")
	for range 3 {
		for _, n := range []string{"one", "two"} {
			auth := map[string]string{"one": "A", "two": "B"}[n]
			b, ok := r.get(scope, with(named(n), "app"))
			r.check(ok && b.Auth == auth, "the name %q with the shared Also finds %q, want %q", n, b.Auth, auth)
			r.at(scope, content("unknown", "app"), auth, "the latest session that came with an Also has it")
		}
	}
}

func notTaken(r *run) {
	r.bound(named("app", "app2"), "A")
	r.bound(with(named("thief"), "app", "app2"), "B")
	r.at(scope, named("app"), "A", "another session came with its name as Also")
	r.at(scope, named("app2"), "A", "another session came with its second name as Also")
	k := named("thief")
	k.End = key("app2")
	r.get(scope, k)
	r.at(scope, named("app2"), "A", "another session came with its second name as End")
	r.get(scope, named("thief", "app2"))
	r.at(scope, named("app2"), "A", "another session came with its second name as a name")
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
	r.check(ok && got.Session == a.Session, "a retry does not find its session")
	_, ok = r.get(scope, content("a2", "hi"))
	r.check(ok, "the next turn is not found")
	r.at(scope, content("hi"), "", "the same first request, after the first conversation has continued")
	b := r.bound(content("hi"), "B")
	r.check(b.Session != a.Session, "two conversations have the same session name")
	r.at(scope, content("a3", "a2", "hi"), "A", "the first conversation continues")
	r.at(scope, content("b2", "hi"), "B", "the second conversation continues")
}

func byAlso(r *run) {
	b := r.bound(with(content("e1"), "t1"), "A")
	r.at(scope, with(content("x"), "t1"), "", "an Also does not find the session of its own request")
	got, ok := r.get(scope, with(content("compacted", "summary", "none", "t1"), "t2"))
	r.check(ok && got.Session == b.Session, "a history that lost its head is not found by the Also of an earlier request")
	r.at(scope, content("y", "t2"), "A", "the Also of that request")
	r.bound(content("other"), "B")
	r.at(scope, content("z", "other", "t2"), "B", "the first of the Fallbacks that finds a session counts")
	k := with(named("unknown"), "t2")
	k.Fallbacks = []cache.Key{key("t2")}
	r.at(scope, k, "", "a request with Names is found by nothing else")
}

func fallbacksAreNotBound(r *run) {
	r.bound(content("e1", "stranger"), "A")
	r.at(scope, content("x", "stranger"), "", "one of the Fallbacks, after Bind")
	r.get(scope, content("e2", "stranger", "e1"))
	r.at(scope, content("x", "stranger"), "", "one of the Fallbacks, after Get")
}

func bounded(r *run) {
	r.bound(named("n0", "n1", "n2", "n3"), "A")
	k := named("n0")
	const n = 200
	for i := range n {
		k.End, k.Also[0], k.Also[1] = key(fmt.Sprint("e", i)), key(fmt.Sprint("t", i)), key("constant")
		r.get(scope, k)
		r.get(scope, named("n0", fmt.Sprint("more", i)))
	}
	found := 0
	is := func(name string, must bool) {
		_, ok := r.peek(content("unknown", name))
		if ok {
			found++
		}
		r.check(ok || !must, "after %d turns the session is not found by %q", n, name)
	}
	for i := range n {
		is(fmt.Sprint("e", i), i < 2 || i >= n-6)
		is(fmt.Sprint("t", i), i >= n-3) // and the constant one
		is(fmt.Sprint("more", i), false)
	}
	is("constant", true)
	for i := range 4 {
		r.at(scope, named(fmt.Sprint("n", i)), "A", "the first four names")
	}
	r.check(found < n, "a session of %d turns holds %d keys: their number is not bounded", n, found)
}
