package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// driven returns the recorded requests of two sessions of two turns. Both sessions stay on their
// auth.
func driven() []*request {
	var all []*request
	add := func(q request) {
		q.Number, q.Status, q.Model, q.Signal = len(all)+1, 200, "m", "content"
		all = append(all, &q)
	}
	for _, turn := range []int{1, 2} {
		for session, auth := range map[int]string{1: "a", 2: "b"} {
			add(request{Session: session, Turn: turn, Tools: 3, Opened: true, Auth: auth})
			add(request{Session: session, Turn: turn, Tools: 3, Opened: true, Result: true, Auth: auth})
			add(request{Session: session, Turn: turn, Auth: "c"}) // a title
		}
	}
	return all
}

// Each fault in the requests makes judge write "no" (or "own") in the right column of the table.
func TestTheJudge(t *testing.T) {
	last := func(all []*request, of func(*request)) []*request {
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].Tools > 0 && all[i].Session == 1 {
				of(all[i])
				break
			}
		}
		return all
	}
	helped := func(auths ...string) []*request {
		all := driven()
		for i, auth := range auths {
			all = append(all, &request{Number: len(all) + 1, Session: i%2 + 1, Turn: 2, Tools: 2, Helper: true, Status: 200, Model: "m", Auth: auth, Signal: "content"})
		}
		return all
	}
	named := helped("a", "c")
	named[len(named)-1].Signal = "native-header"
	lost := driven()
	for _, q := range lost {
		q.Opened = q.Opened && q.Turn == 1
	}
	noTools := driven()
	for _, q := range noTools {
		q.Result = false
	}
	one := driven()
	for _, q := range one {
		q.Auth = "a"
	}
	for name, c := range map[string]struct {
		all   []*request
		helps int
		want  [4]string
	}{
		"all is well":              {driven(), 0, [4]string{"yes", "yes", "yes", "yes"}},
		"a resumed turn elsewhere": {last(driven(), func(q *request) { q.Auth = "b" }), 0, [4]string{"no", "yes", "no", "yes"}},
		"a first turn elsewhere":   {last(driven(), func(q *request) { q.Auth, q.Turn = "b", 1 }), 0, [4]string{"no", "yes", "yes", "yes"}},
		"no auth is known":         {last(driven(), func(q *request) { q.Auth = "" }), 0, [4]string{"no", "yes", "yes", "yes"}},
		"another session":          {lost, 0, [4]string{"no", "yes", "no", "yes"}},
		"no tool was called":       {noTools, 0, [4]string{"no", "yes", "yes", "yes"}},
		"one auth":                 {one, 0, [4]string{"yes", "no", "yes", "yes"}},
		"nothing":                  {nil, 0, [4]string{"no", "no", "no", "yes"}},
		"helpers":                  {helped("a", "b"), 2, [4]string{"yes", "yes", "yes", "yes"}},
		"helpers of their own":     {helped("c", "d", "c", "d"), 2, [4]string{"yes", "yes", "yes", "own"}},
		"helpers that do not stay": {helped("c", "d", "c", "a"), 2, [4]string{"yes", "yes", "yes", "no"}},
		"a helper with a name":     {named, 2, [4]string{"yes", "yes", "yes", "no"}},
		"no helper of the second":  {helped("a"), 2, [4]string{"yes", "yes", "yes", "no"}},
	} {
		v := expected{sessions: 2, turns: 2, helps: c.helps}.of(c.all)
		require.Equal(t, c.want, [4]string{v.stays, v.spreads, v.resumes, v.helpers}, "%s: %q", name, v.why)
	}
}
