package field

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// owned is state that the answer to a request has created, as a later request
// names it.
type owned struct{ name, id string }

// statesOf returns the state that a body names.
func statesOf(t testing.TB, body string) (out []owned) {
	if body == "" {
		return nil
	}
	var b struct {
		Previous     string          `json:"previous_response_id"`
		Conversation json.RawMessage `json:"conversation"`
		Thread       struct {
			Previous string `json:"previous_message_id"`
		} `json:"thread"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &b))
	var conversation struct {
		ID string `json:"id"`
	}
	if len(b.Conversation) > 0 && json.Unmarshal(b.Conversation, &conversation.ID) != nil {
		require.NoError(t, json.Unmarshal(b.Conversation, &conversation))
	}
	for _, o := range []owned{
		{"previous_response_id", b.Previous},
		{"conversation", conversation.ID},
		{"thread.previous_message_id", b.Thread.Previous},
	} {
		if o.id != "" {
			out = append(out, o)
		}
	}
	return out
}

// ownsOf returns, for each request of one session, the state that its answer has
// created. The answers were not captured. But a later request names the state, and
// the request before that one has created it. A conversation comes from the request
// that asked for one.
func ownsOf(t testing.TB, session []Request) [][]owned {
	out := make([][]owned, len(session))
	seen := map[owned]bool{}
	for i, r := range session {
		for _, o := range statesOf(t, r.Body) {
			if seen[o] {
				continue
			}
			seen[o] = true
			for j := i - 1; j >= 0; j-- {
				made := session[j].Lane == r.Lane && !session[j].Side
				if o.name == "conversation" {
					made = session[j].Path == "/v1/conversations"
				}
				if made {
					out[j] = append(out[j], o)
					break
				}
			}
		}
	}
	return out
}

// sent is a request with the state that its answer creates, and the answer, zero if
// the gateway does not read answers.
type sent struct {
	Request
	owns   []owned
	answer sessionid.Answer
}

// way is a way to send the requests.
type way struct {
	name    string
	change  func(Request) Request
	answers bool // the gateway hands the answers back

	sequence int     // the least number of exact sessions, if they run one after another
	mixed    float64 // the least mean of exact sessions in random orders
}

// inSessions returns the requests session by session, in the order of the file, with
// what their answers create.
func inSessions(t testing.TB, all []Request, w way) (out []sent) {
	sessions := map[string][]Request{}
	var names []string
	for _, r := range all {
		if sessions[r.Session] == nil {
			names = append(names, r.Session)
		}
		sessions[r.Session] = append(sessions[r.Session], w.change(r))
	}
	for _, name := range names {
		owns := ownsOf(t, sessions[name])
		var answers []sessionid.Answer
		if w.answers {
			answers = readAnswers(t, sessions[name])
		}
		for i, r := range sessions[name] {
			s := sent{Request: r, owns: owns[i]}
			if w.answers {
				s.answer = answers[i]
			}
			out = append(out, s)
		}
	}
	return out
}

// fate is how a session was recognised.
type fate struct {
	client, session, parent string

	keys    []sessionid.Key // that its main requests had, without repetitions in a row
	splits  []string        // the turns in which it got another key
	unnamed int             // main requests without a key
	merged  []string        // other sessions that had one of its keys
	asFork  bool            // it is a fork and stayed in its parent's session
	homes   map[string]bool // auths that its main requests went to
}

func (f *fate) exact() bool { return f.whole() && len(f.merged) == 0 }

func (f *fate) whole() bool { return len(f.keys) == 1 && f.unnamed == 0 }

// exactInClient is exact as if the other clients had not been there. The setups of
// the second capture ask the same questions, which real clients' users do not.
func (f *fate) exactInClient() bool {
	return f.whole() && !slices.ContainsFunc(f.merged, func(other string) bool { return strings.HasPrefix(other, f.client+"/") })
}

// replay sends the requests through one Selector and returns the fate of each
// session. A fork may have its parent's key.
func replay(t *testing.T, requests []sent) []*fate {
	s := newSticky(t)
	of := map[string]*fate{}
	var fates []*fate
	has := map[sessionid.Key]map[string]bool{} // key -> sessions that had it in their main line
	for _, r := range requests {
		p, err := s.Pick(t.Context(), affinity.Request{Header: headersOf(r.Request), Body: []byte(r.Body)}, auths)
		require.NoError(t, err)
		for _, o := range r.owns {
			require.NoError(t, p.Owns(t.Context(), o.name, o.id))
		}
		require.NoError(t, p.Answered(t.Context(), r.answer))
		p.Report(affinity.Served)
		if !r.Main {
			continue
		}
		f := of[r.Session]
		if f == nil {
			f = &fate{client: r.Client, session: r.Session, parent: r.Parent, homes: map[string]bool{}}
			of[r.Session] = f
			fates = append(fates, f)
		}
		d := p.Decision
		f.homes[d.Auth] = true
		if d.Session == (sessionid.Key{}) {
			f.unnamed++
			f.splits = append(f.splits, fmt.Sprintf("%d (%s)", r.Turn, d.Outcome))
			continue
		}
		if n := len(f.keys); n == 0 || f.keys[n-1] != d.Session {
			if n > 0 {
				f.splits = append(f.splits, fmt.Sprint(r.Turn))
			}
			f.keys = append(f.keys, d.Session)
		}
		if has[d.Session] == nil {
			has[d.Session] = map[string]bool{}
		}
		has[d.Session][r.Session] = true
	}
	for _, f := range fates {
		others := map[string]bool{}
		for _, key := range f.keys {
			maps.Copy(others, has[key])
		}
		delete(others, f.session)
		for _, other := range slices.Sorted(maps.Keys(others)) {
			switch {
			case other == f.parent:
				f.asFork = true
			case of[other].parent == f.session:
			default:
				f.merged = append(f.merged, other)
			}
		}
	}
	return fates
}

// report logs how the sessions of each client were recognised, and returns how many are exact.
func report(t *testing.T, fates []*fate) (exact int) {
	inClient, oneAuth := 0, 0
	clients := map[string][]*fate{}
	for _, f := range fates {
		clients[f.client] = append(clients[f.client], f)
	}
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		good, split, merged, forks, stayed := 0, 0, 0, 0, 0
		var notes []string
		for _, f := range clients[client] {
			if f.exact() {
				good++
			}
			_, short, _ := strings.Cut(f.session, "/")
			if len(f.splits) > 0 {
				split++
				notes = append(notes, fmt.Sprintf("%s split in turn %s", short, strings.Join(f.splits, ", ")))
			}
			if len(f.merged) > 0 {
				merged++
				notes = append(notes, fmt.Sprintf("%s met %s", short, strings.Join(f.merged, ", ")))
			}
			if f.asFork {
				forks++
			}
			if f.exactInClient() {
				inClient++
			}
			if len(f.homes) == 1 {
				stayed++
			}
		}
		t.Logf("%-31s %d of %d exact, %d split, %d merged, %d with one auth, %d forks with their parent; %s", client, good, len(clients[client]), split, merged, stayed, forks, strings.Join(notes, "; "))
		exact, oneAuth = exact+good, oneAuth+stayed
	}
	t.Logf("%d of %d sessions are exact, %d if those that met another client's are, %d had one auth", exact, len(fates), inClient, oneAuth)
	return exact
}

// whole and bare are a request as it was sent, and with only the messages to name its session.
func whole(testing.TB) func(Request) Request { return func(r Request) Request { return r } }

func bare(t testing.TB) func(Request) Request {
	return func(r Request) Request { return r.WithoutIDs(t) }
}

// generatedWays are the ways to send the made-up requests, with the least number of sessions
// that are exact one after another, and mixed.
func generatedWays(t testing.TB) []way {
	return []way{
		{"as sent", whole(t), false, 42, 35.5},
		{"messages alone", bare(t), false, 36, 25},
		{"as sent, with answers", whole(t), true, 45, 45},
		{"messages alone, with answers", bare(t), true, 36, 36.5},
	}
}

// The sessions of the made-up requests run one after another.
func TestGeneratedSessionsOneAfterAnother(t *testing.T) {
	oneAfterAnother(t, GeneratedRequests(), generatedWays(t))
}

// oneAfterAnother sends the requests session by session, in each of the ways. A session is exact
// if all requests of its main line have one key, and no other session's main line has it. A fork
// may have its own key or its parent's.
func oneAfterAnother(t *testing.T, all []Request, ways []way) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			fates := replay(t, inSessions(t, all, w))
			require.Len(t, fates, sessionsOf(all))
			require.GreaterOrEqual(t, report(t, fates), w.sequence)
		})
	}
}

// sessionsOf returns how many sessions there are.
func sessionsOf(all []Request) int {
	names := map[string]bool{}
	for _, r := range all {
		names[r.Session] = true
	}
	return len(names)
}

// The made-up requests are sent in many orders.
func TestGeneratedSessionsInManyOrders(t *testing.T) {
	inManyOrders(t, GeneratedRequests(), generatedWays(t))
}

// inManyOrders mixes the sessions at random, as if they ran at the same time. A fork begins when
// its parent has ended, as it really did.
func inManyOrders(t *testing.T, all []Request, ways []way) {
	const orders = 40
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			requests := inSessions(t, all, w)
			good := map[string]int{} // client -> exact sessions in all orders
			total := map[string]int{}
			exact, inClient, least, sessions := 0, 0, len(requests), 0
			for seed := range uint64(orders) {
				mixed := Interleave(requests, func(r sent) string {
					if r.Parent != "" {
						return r.Parent
					}
					return r.Session
				}, rand.New(rand.NewPCG(seed, 9)))
				fates, now := replay(t, mixed), 0
				for _, f := range fates {
					total[f.client]++
					if f.exact() {
						good[f.client]++
						now++
					}
					if f.exactInClient() {
						inClient++
					}
				}
				exact, least, sessions = exact+now, min(least, now), len(fates)
			}
			for _, client := range slices.Sorted(maps.Keys(total)) {
				t.Logf("%-31s %.2f of %d exact", client, float64(good[client])/orders, total[client]/orders)
			}
			t.Logf("in %d orders, %.2f of %d sessions are exact in the mean, %d at least; %.2f if those that met another client's are", orders, float64(exact)/orders, sessions, least, float64(inClient)/orders)
			require.GreaterOrEqual(t, float64(exact)/orders, w.mixed)
		})
	}
}
