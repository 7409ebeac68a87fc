package cachetest

import (
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Checks of what the content of a conversation contains besides its ends: marks and answers.

// marked returns the keys of a request with marks.
func marked(k cache.Keys, marks ...string) cache.Keys {
	for i, m := range marks {
		k.Marks[i] = key(m)
	}
	return k
}

func (r *run) answer(b cache.Binding, end string, want bool, why string, keys ...string) {
	var all []cache.Key
	for _, k := range keys {
		all = append(all, key(k))
	}
	done, err := r.s.BindAnswer(r.ctx, b, cache.Answer{End: key(end), Keys: all})
	r.noError("BindAnswer", err)
	r.check(done.Accepted == want, "%s: BindAnswer returned Accepted %v, want %v", why, done.Accepted, want)
}

func marks(r *run) {
	a := r.bound(marked(content("a1"), "boilerplate"), "A")
	r.at(scope, content("x", "boilerplate"), "", "a mark of a session's first request, which other sessions may have, too")
	r.get(scope, marked(content("a1"), "boilerplate"))
	r.at(scope, content("x", "boilerplate"), "", "a mark of its first request, sent again")
	old := marked(content("a2", "none", "a1"), "m1", "m2", "m3", "m4")
	old.MarksFrom = [cache.MaxMarks]uint16{0, 1, 2, 1}
	r.get(scope, old)
	for m, auth := range map[string]string{"m1": "A", "m2": "A", "m3": "", "m4": "A"} {
		r.at(scope, content("x", m), auth, "the mark "+m+" of a request that goes on from the second of its Fallbacks")
	}
	r.at(scope, marked(content("x"), "m1"), "", "a mark does not find the session of its own request")
	ongoing := marked(content("b1"), "m5")
	ongoing.Ongoing, ongoing.MarksFrom[0] = true, 9
	r.bound(ongoing, "B")
	r.at(scope, content("x", "m5"), "B", "a mark of a new session that is ongoing")
	for i := range 9 {
		r.get(scope, marked(content(fmt.Sprint("a", i+3), fmt.Sprint("a", i+2)), fmt.Sprint("n", i)))
	}
	for i := 1; i < 9; i++ {
		got, ok := r.peek(content("x", fmt.Sprint("n", i)))
		r.check(ok && got.Session == a.Session, "after nine requests with a mark each, the mark of request %d does not find the session", i)
	}
}

func sharedMarks(r *run) {
	r.bound(content("a1"), "A")
	r.get(scope, marked(content("a2", "a1"), "m"))
	b := r.bound(content("b1"), "B")
	got, _ := r.get(scope, marked(content("b2", "b1"), "own", "m"))
	r.check(got.Session == b.Session, "the second session is not found by its end")
	r.check(got.Shared == 1<<1, "the second of two marks belongs to another session: Shared is %b, want 10", got.Shared)
	r.at(scope, content("x", "m"), "", "a mark that two sessions came with")
	r.at(scope, content("x", "own"), "B", "the other mark of that request")
	for _, again := range []cache.Keys{content("a3", "a2"), content("b3", "b2")} {
		got, _ = r.get(scope, marked(again, "m"))
		r.check(got.Shared == 0, "a mark that finds no session any more is shared again")
		r.at(scope, content("x", "m"), "", "a mark that two sessions came with, later")
	}
}

func answers(r *run) {
	a := r.bound(content("hi"), "A")
	r.check(a.Opening, "a new session of content is not Opening")
	r.answer(a, "hi", true, "the first answer", "answer", "id", "")
	for _, k := range []string{"answer", "id"} {
		r.at(scope, content("x", k), "A", "a key of the answer")
	}
	r.at(scope, content("hi"), "", "the same first request, after its answer")
	b := r.bound(content("hi"), "B")
	r.check(b.Session != a.Session, "two conversations have the same session name")
	r.at(scope, content("a2", "answer", "hi"), "A", "the first conversation continues")
	r.answer(b, "hi", true, "the answer to the second", "other")
	r.at(scope, content("b2", "other", "hi"), "B", "the second conversation continues")
	got, _ := r.get(scope, content("a2", "answer", "hi"))
	r.check(!got.Opening, "a session that Fallbacks lead to is Opening")
	r.answer(got, "a2", true, "an answer later on", "answer2")
	got, ok := r.get(scope, content("a2", "answer", "hi"))
	r.check(ok && got.Session == a.Session && !got.Opening, "a later request that is sent again after its answer does not find its session")
	r.answer(got, "a2", true, "another answer to it", "answer3")
	r.at(scope, content("a3", "answer3"), "A", "that answer")
	for i := range 12 {
		r.answer(got, "none", true, "an answer to a request of before", fmt.Sprint("k", i))
	}
	for i := 4; i < 12; i++ {
		r.at(scope, content("x", fmt.Sprint("k", i)), "A", "one of the latest eight keys of answers")
	}
	r.answer(got, "none", true, "an answer of eight keys", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9")
	r.at(scope, content("x", "e8"), "A", "the eighth key of an answer")
	r.at(scope, content("x", "e9"), "", "the ninth key of an answer")
	c := r.bound(content("c1"), "C")
	peeked, ok := r.peek(content("c1"))
	r.check(ok && peeked.Session == c.Session && peeked.Opening, "Peek of an opening, found by its end alone: Opening is false")
	done, err := r.s.BindAnswer(r.ctx, c, cache.Answer{End: key("c1"), Marks: []cache.Key{key("i1")}})
	r.noError("BindAnswer", err)
	r.check(done == cache.Answered{Accepted: true}, "an answer's id that no session has: BindAnswer returned %+v, want Accepted and nothing Shared", done)
	r.at(scope, content("x", "i1"), "C", "an id of an answer")
	done, err = r.s.BindAnswer(r.ctx, got, cache.Answer{End: key("none"), Marks: []cache.Key{key("i2"), key("i1")}})
	r.noError("BindAnswer", err)
	r.check(done.Shared == 1<<1, "the second of two ids belongs to another session: Shared is %b, want 10", done.Shared)
	r.at(scope, content("x", "i1"), "", "an id that two answers have given")
	r.answer(cache.Binding{}, "hi", false, "the zero Binding", "k")
	moved, _ := r.move(b, "D")
	r.answer(b, "none", false, "an opening that is not the latest end", "k")
	b.Opening = false
	r.answer(b, "none", true, "a binding of an older generation", "late")
	r.at(scope, content("x", "late"), "D", "an answer that comes after a move")
	r.unbind(moved, true, "the current binding")
}

func twinAnswers(r *run) {
	a := r.bound(content("hi"), "A")
	b, ok := r.get(scope, content("hi"))
	r.check(ok && b.Session == a.Session && b.Opening, "the same first request, before its answer, is not taken for a retry")
	r.check(a.Asked == 1 && b.Asked == 2, "the first two requests with the same end: Asked is %d and %d, want 1 and 2", a.Asked, b.Asked)
	r.answer(a, "hi", true, "the first answer", "one")
	r.answer(b, "hi", false, "a second answer to an opening", "two")
	r.at(scope, content("x", "two"), "", "the second answer")
	r.at(scope, content("x", "one"), "A", "the first answer")
	c := r.bound(content("ho"), "C")
	d, _ := r.get(scope, content("ho"))
	r.get(scope, content("c2", "ho"))
	r.answer(d, "ho", false, "an answer to an opening after the session has gone on", "three")
	r.answer(c, "ho", false, "the other one", "four")
}

func third(r *run) {
	a := r.bound(content("hi"), "A")
	r.confirm(a, true, "the first")
	b, _ := r.get(scope, content("hi"))
	r.confirm(b, true, "the second, in the session of the first")
	r.get(scope, content("a2", "hi"))
	c := r.bound(content("hi"), "C")
	r.check(c.Session != a.Session, "after the first conversation has gone on, the third has its session name")
	got, ok := r.get(scope, content("b2", "hi"))
	r.check(ok && got.Auth == "A", "the second conversation continues at %q, want A, which has served it", got.Auth)
	r.at(scope, content("c2", "hi"), "C", "the third conversation continues")

	// Answers are known, but the clients write them in other words.
	d := r.bound(content("ho"), "D")
	r.answer(d, "ho", true, "the answer to the fourth", "answer")
	r.bound(content("ho"), "E")
	got, ok = r.get(scope, content("d2", "ho"))
	r.check(ok && got.Auth == "D", "the conversation that has waited longest continues at %q, want D", got.Auth)
	r.at(scope, content("e2", "ho"), "E", "the next conversation that continues")
}
