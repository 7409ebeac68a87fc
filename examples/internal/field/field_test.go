package field

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

func newSticky(t *testing.T) *affinity.Selector[int] {
	t.Helper()
	s, err := affinity.Wrap(selector.RoundRobin[int](), func(i int) string { return string(rune('A' + i)) }, nil)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

var auths = []int{0, 1, 2, 3, 4, 5, 6, 7}

func served(t *testing.T, s *affinity.Selector[int], h http.Header, body []byte) affinity.Decision {
	t.Helper()
	p, err := s.Pick(t.Context(), affinity.Request{Header: h, Body: body}, auths)
	require.NoError(t, err)
	p.Report(affinity.Served)
	return p.Decision
}

func headersOf(r Request) http.Header {
	h := http.Header{}
	for _, p := range r.Headers {
		h.Add(p[0], p[1])
	}
	return h
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

// isTwin reports whether another session begins with the same prompt: sessions 0
// and 4 of each client do.
func isTwin(session string) bool {
	return strings.HasSuffix(session, "/0") || strings.HasSuffix(session, "/4")
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
	require.LessOrEqual(t, moved, 13, "only conversations that begin as another one did can meet somebody else's auth")
	for auth, n := range perAuth {
		require.LessOrEqual(t, n, 2*200/len(auths), auth)
	}
}
