//go:build !race

// The tests that measure with ../shared, and those of histories that lost their head in
// lost_test.go. The race detector makes them ten times slower, and cannot find anything in
// them: each sends its requests one after the other, on one goroutine. Under the race detector
// the made-up sessions take the same ways through the code.

package field

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// bothCaptures returns the requests of both captures.
func bothCaptures(t *testing.T) []Request {
	second := Captured2(t)
	require.Len(t, second, 359)
	return append(Captured(t), second...)
}

// ways are the ways to send the captured requests, with the least number of
// sessions that are exact one after another, and mixed.
func ways(t testing.TB) []way {
	return []way{
		{"as captured", whole(t), false, 53, 40},
		{"messages alone", bare(t), false, 43, 23.5},
		{"as captured, with answers", whole(t), true, 62, 62},
		{"messages alone, with answers", bare(t), true, 49, 50},
	}
}

// The sessions of both captures run one after another.
//
// With the answers all are, if the ids that clients send are there. Without the answers
// those of agents-compact, LangChain and Strands lose their sessions when they cut
// their history: what is left is the answer to the request before, or a summary that
// another request has made. By the messages alone nothing names a conversation that the
// server keeps (openai-conversations), and a compaction leaves a summary alone (Claude
// Code, OpenCode).
func TestBothCapturesOneAfterAnother(t *testing.T) { oneAfterAnother(t, bothCaptures(t), ways(t)) }

// The requests of both captures are sent in many orders. Two sessions of each client begin with
// the same words: only their answers tell them apart from the beginning.
func TestBothCapturesInManyOrders(t *testing.T) { inManyOrders(t, bothCaptures(t), ways(t)) }

// Each state that a request of the second capture names was created by a request
// before it, and the request goes to the auth that has it.
func TestCapturedStatesGoToTheirOwner(t *testing.T) {
	requests := inSessions(t, Captured2(t), way{change: func(r Request) Request { return r }})
	s := newSticky(t)
	created := map[string]int{}
	at := map[owned]string{}
	named := 0
	for _, r := range requests {
		p, err := s.Pick(t.Context(), affinity.Request{Header: headersOf(r.Request), Body: []byte(r.Body)}, auths)
		require.NoError(t, err)
		for _, o := range statesOf(t, r.Body) {
			require.Contains(t, at, o, "%s, turn %d", r.Session, r.Turn)
			require.Equal(t, affinity.OutcomeOwner, p.Decision.Outcome, "%s, turn %d", r.Session, r.Turn)
			require.Equal(t, at[o], p.Decision.Auth)
			named++
		}
		for _, o := range r.owns {
			created[o.name]++
			at[o] = p.Decision.Auth
			require.NoError(t, p.Owns(t.Context(), o.name, o.id))
		}
		p.Report(affinity.Served)
	}
	require.Equal(t, map[string]int{"previous_response_id": 12, "conversation": 3, "thread.previous_message_id": 3}, created)
	require.Equal(t, 12+15+3, named)
}

func served(t *testing.T, s *affinity.Selector[int], h http.Header, body []byte) affinity.Decision {
	t.Helper()
	p, err := s.Pick(t.Context(), affinity.Request{Header: h, Body: body}, auths)
	require.NoError(t, err)
	p.Report(affinity.Served)
	return p.Decision
}

// bySignals returns the requests with all of their signals and with some of them.
func bySignals(t *testing.T, all []Request) map[string][]Request {
	out := map[string][]Request{"as captured": all}
	for _, r := range all {
		bare := r.WithoutIDs(t)
		out["messages alone"] = append(out["messages alone"], bare)
		inBody := r
		inBody.Headers = bare.Headers
		out["body only"] = append(out["body only"], inBody)
		r.Body = ""
		if id := sessionid.Extract(headersOf(r), nil); !id.IsZero() {
			out["headers only"] = append(out["headers only"], r)
		}
	}
	return out
}

// isTwin reports whether another session begins with the same prompt: sessions 0
// and 4 of each client do.
func isTwin(session string) bool {
	return strings.HasSuffix(session, "/0") || strings.HasSuffix(session, "/4")
}

// No main line is split and no two sessions are merged, however they are mixed.
// By content alone, two sessions that are equal word for word so far share a
// binding. Every other session must be exact.
func TestCapturedSessionsAreNeitherSplitNorMerged(t *testing.T) {
	const orders = 40
	for name, requests := range bySignals(t, Captured(t)) {
		t.Run(name, func(t *testing.T) {
			changed, shared := 0, 0
			for seed := range uint64(orders) {
				s := newSticky(t)
				of := map[string]sessionid.Key{}    // session -> binding
				bound := map[sessionid.Key]string{} // binding -> session
				for _, r := range Interleave(requests, func(r Request) string { return r.Session }, rand.New(rand.NewPCG(seed, 9))) {
					d := served(t, s, headersOf(r), []byte(r.Body))
					if !r.Main {
						continue
					}
					require.NotEqual(t, affinity.OutcomeNone, d.Outcome)
					// A session that has an id, or no twin, must be exact.
					exact := d.Signal.Kind != sessionid.KindContent || !isTwin(r.Session)
					if before, ok := of[r.Session]; ok && before != d.Session {
						require.False(t, exact, "order %d: %s was split in turn %d", seed, r.Session, r.Turn)
						changed++
					}
					of[r.Session] = d.Session
					if other, ok := bound[d.Session]; ok && other != r.Session {
						require.False(t, exact, "order %d: %s and %s were merged", seed, r.Session, other)
						shared++
					}
					bound[d.Session] = r.Session
				}
			}
			t.Logf("%d requests in %d orders: twins changed their binding %d times and met in %d requests", len(requests), orders, changed, shared)
		})
	}
}

// If one session runs after the other, twins are exact too.
func TestCapturedSessionsOneAfterAnotherAreExact(t *testing.T) {
	for name, requests := range bySignals(t, Captured(t)) {
		t.Run(name, func(t *testing.T) {
			s := newSticky(t)
			of, bound := map[string]sessionid.Key{}, map[sessionid.Key]string{}
			for _, r := range requests {
				d := served(t, s, headersOf(r), []byte(r.Body))
				if !r.Main {
					continue
				}
				if before, ok := of[r.Session]; ok {
					require.Equal(t, before, d.Session, "%s was split in turn %d", r.Session, r.Turn)
				}
				if other, ok := bound[d.Session]; ok {
					require.Equal(t, other, r.Session, "merged")
				}
				of[r.Session], bound[d.Session] = d.Session, r.Session
			}
			if name != "headers only" {
				require.Len(t, of, 18)
			}
		})
	}
}

// followUp is one request of an airline conversation.
type followUp struct {
	session string
	turn    int
	body    []byte
}

func airline(t *testing.T) (out []followUp) {
	for _, c := range Airline(t) {
		turn := 0
		body := []byte(`{"model":"m","messages":[`)
		for i, m := range c.Messages {
			var role struct{ Role string }
			require.NoError(t, json.Unmarshal(m, &role))
			if role.Role == "assistant" {
				out = append(out, followUp{c.Session, turn, append(bytes.Clone(body), `]}`...)})
				turn++
			}
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, m...)
		}
	}
	return out
}

// Each request of a conversation has the opening of the first one, and few conversations
// share theirs.
func TestAirlineConversationsKeepTheirOpenings(t *testing.T) {
	first, openings := map[string]sessionid.Key{}, map[sessionid.Key]bool{}
	followUps := 0
	for _, f := range airline(t) {
		id := sessionid.Extract(nil, f.body)
		if f.turn == 0 {
			first[f.session] = id.Opening()
			openings[id.Opening()] = true
			continue
		}
		followUps++
		require.Equal(t, first[f.session], id.Opening(), "%s, turn %d", f.session, f.turn)
	}
	require.Equal(t, 2254, followUps)
	t.Logf("%d openings of %d conversations", len(openings), len(first))
	require.GreaterOrEqual(t, len(openings), 193)
}

// 200 conversations run at the same time and are known by content only. No
// follow-up is lost.
func TestAirlineConversationsLoseNoFollowUp(t *testing.T) {
	all := airline(t)
	followUps, lost := 0, 0
	s := newSticky(t)
	home := map[string]string{}
	moved := 0
	for _, f := range Interleave(all, func(f followUp) string { return f.session }, rand.New(rand.NewPCG(1, 1))) {
		d := served(t, s, nil, f.body)
		if f.turn > 0 {
			followUps++
			if d.Outcome != affinity.OutcomeHit {
				lost++
			}
			if home[f.session] != d.Auth {
				moved++
			}
		}
		home[f.session] = d.Auth
	}
	perAuth := map[string]int{}
	for _, auth := range home {
		perAuth[auth]++
	}
	t.Logf("%d requests, %d follow-ups, %d lost, %d on another auth than the one before; conversations per auth %v", len(all), followUps, lost, moved, perAuth)
	require.Equal(t, 2254, followUps)
	require.Zero(t, lost)
	require.LessOrEqual(t, moved, 13, "only a conversation with the same beginning as another one may go to that one's auth")
	for auth, n := range perAuth {
		require.LessOrEqual(t, n, 2*200/len(auths), auth)
	}
}

// A follow-up of a real conversation finds its session, although its client rewrites the history.
func TestHistoriesThatLostTheirHeadFindTheirSession(t *testing.T) {
	measureLost(t, Airline(t), func(c lostCase) float64 { return c.real })
}

// A request with an edited last turn and a fork both find their session by what
// came before.
func TestAnEditedTurnAndAForkKeepTheirSession(t *testing.T) {
	for _, conv := range Airline(t) {
		s := newSticky(t)
		request := func(messages ...json.RawMessage) affinity.Decision {
			body, err := json.Marshal(map[string]any{"messages": messages})
			require.NoError(t, err)
			return served(t, s, nil, body)
		}
		var first affinity.Decision
		var ends []int
		for i, m := range conv.Messages {
			if roleOf(m) == "assistant" {
				d := request(conv.Messages[:i]...)
				if len(ends) == 0 {
					first = d
				}
				ends = append(ends, i)
			}
		}
		if len(ends) < 4 {
			continue
		}
		say := func(text string) json.RawMessage {
			return json.RawMessage(`{"role":"user","content":"` + text + `"}`)
		}
		last := ends[len(ends)-1]
		edited := append(conv.Messages[:last-1:last-1], say("No, wait. I meant something else."))
		require.Equal(t, first.Auth, request(edited...).Auth, "edited")
		fork := append(conv.Messages[:ends[1]:ends[1]], conv.Messages[ends[1]], say("Let us try it the other way round."))
		require.Equal(t, first.Auth, request(fork...).Auth, "fork")
	}
}

// The answer to most requests is found in the next. Clients that name the answer
// (previous_response_id, conversation) do not repeat it.
func TestMostAnswersAreInTheNextRequest(t *testing.T) {
	type count struct{ pairs, found, rewritten int }
	clients := map[string]*count{}
	var names []string
	sessions := map[string][]Request{}
	for _, r := range bothCaptures(t) {
		if sessions[r.Session] == nil {
			names = append(names, r.Session)
		}
		sessions[r.Session] = append(sessions[r.Session], r)
	}
	seen := map[string]bool{} // session and answer
	for _, name := range names {
		session := sessions[name]
		c := clients[session[0].Client]
		if c == nil {
			c = &count{}
			clients[session[0].Client] = c
		}
		answers := answersOf(t, session)
		_, continued := findAnswers(t, session)
		main := 0
		for i, r := range session {
			if r.Main {
				main++
			} else {
				require.Empty(t, answers[i], "%s: a request beside the main line", name)
			}
			if len(answers[i]) == 0 {
				continue
			}
			c.found++
			if !continued[i] {
				c.rewritten++
			}
			var all string
			for _, item := range answers[i] {
				require.True(t, fromModel(t, item), "%s", item)
				all += plainly(t, item)
			}
			key := name + all
			require.NotContains(t, seen, key, "two requests of a session must not have the same answer")
			seen[key] = true
		}
		c.pairs += main - 1
	}
	pairs, found := 0, 0
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		c := clients[client]
		t.Logf("%-21s %d of %d answers found, %d of them in a history that was rewritten", client, c.found, c.pairs, c.rewritten)
		pairs, found = pairs+c.pairs, found+c.found
	}
	t.Logf("%d of %d answers found", found, pairs)
	require.Greater(t, 10*found, 8*pairs)
}
