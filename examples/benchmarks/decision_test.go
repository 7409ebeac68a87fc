package benchmarks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/deciders"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
)

// answer is a ResponseWriter into which a decider can put a cookie.
type answer struct{ header http.Header }

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(p []byte) (int, error) { return len(p), nil }
func (a *answer) WriteHeader(int)             {}

func decider(b *testing.B, w deciders.Way, sessions int) deciders.Decider {
	d, err := w.Make(names[:8], sessions+sessions/4+16, ttl)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(d.Close)
	return d
}

// client is a client's request that can be changed to one of another session.
type client struct {
	r     *http.Request
	body  []byte
	begin func(id string) // makes it the first request of a session, with messages of its own
	set   func(id string) // replaces the id
}

func newClient(kind string, size int) *client {
	c := &client{r: httptest.NewRequest(http.MethodPost, "/v1/messages", nil)}
	body := requests.Plain("chat", "code", size)
	c.r.Header = requests.Header()
	switch kind {
	case "claude-code":
		body = requests.WithEnd("metadata.user_id", size)
		h, value := requests.WithID(requests.OwnHeader)
		c.r.Header = h
		c.set = func(id string) { value[0] = id }
	case "claude-code-proxied":
		body = requests.WithEnd("metadata.user_id", size)
		c.set = body.SetEnd
	}
	c.body, c.begin = body.Bytes, body.Set
	if c.set == nil { // without an id, only the messages tell sessions apart
		c.set = body.Set
	}
	return c
}

// BenchmarkDecision measures the choice of an auth for a request of a known session: one of 100,000
// sessions of claude-code, or of 1,000 conversations of sdk, which sends no id. The order is
// uniform, and there are 8 auths. caddy-cookie gets its cookie with each request. BenchmarkStay
// shows whose choices are wrong.
func BenchmarkDecision(b *testing.B) {
	for _, kind := range []struct {
		name     string
		sessions int
	}{{"claude-code", min(100_000, *most)}, {"claude-code-proxied", min(100_000, *most)}, {"sdk", 1000}} {
		order := requests.Order(kind.sessions, false)
		ids := requests.NewIDs(order)
		for _, w := range deciders.All {
			d := decider(b, w, kind.sessions)
			var cookies [][]string
			decide := func(c *client, out *answer) {
				auth, err := d.Decide(out, c.r, c.body)
				if err != nil || auth == "" {
					b.Fatal(auth, err)
				}
			}
			small, out := newClient(kind.name, 2<<10), &answer{http.Header{}}
			large := newClient(kind.name, 200<<10)
			for i := range kind.sessions {
				c := small
				if kind.name == "sdk" {
					c = large // not for sdk: a body of another size would be another conversation
				}
				c.begin(requests.SessionID(i))
				c.set(requests.SessionID(i))
				decide(c, out)
				if set := out.header.Get("Set-Cookie"); set != "" {
					cookie, err := http.ParseSetCookie(set)
					if err != nil {
						b.Fatal(err)
					}
					cookies = append(cookies, []string{cookie.Name + "=" + cookie.Value})
				}
				clear(out.header)
			}
			runtime.GC()
			for _, c := range []*client{small, large} {
				size := "2KB"
				if c == large {
					size = "200KB"
				} else if kind.name == "sdk" {
					continue
				}
				b.Run(fmt.Sprintf("client=%s/body=%s/who=%s", kind.name, size, w.Name), func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						c.set(ids.At(i))
						if cookies != nil {
							c.r.Header["Cookie"] = cookies[order[i&(len(order)-1)]]
						}
						decide(c, out)
					}
				})
			}
		}
	}
}

// BenchmarkHeld measures the memory for 100,000 sessions of claude-code.
func BenchmarkHeld(b *testing.B) {
	n := min(100_000, *most)
	for _, w := range deciders.All {
		b.Run(fmt.Sprintf("sessions=%d/who=%s", n, w.Name), func(b *testing.B) {
			weigh(b, n, func() any {
				d, c := decider(b, w, n), newClient("claude-code", 2<<10)
				for i := range n {
					c.begin(requests.SessionID(i))
					c.set(requests.SessionID(i))
					if _, err := d.Decide(&answer{http.Header{}}, c.r, c.body); err != nil {
						b.Fatal(err)
					}
				}
				return d
			})
		})
	}
}

// BenchmarkStay counts, for each client, how many of 40 conversations of 8 turns stay on one of 8
// auths, and how many of their requests the busiest auth gets. With auths=more, a ninth auth is
// added after half of the turns. Run it with -benchtime 1x.
func BenchmarkStay(b *testing.B) {
	for i := range requests.Clients {
		c := &requests.Clients[i]
		for _, auths := range []string{"same", "more"} {
			for _, w := range deciders.All {
				b.Run(fmt.Sprintf("client=%s/auths=%s/who=%s", c.Name, auths, w.Name), func(b *testing.B) {
					for b.Loop() {
						s, err := deciders.Hold(decider(b, w, 1000), c, 40, 8, auths == "more")
						if err != nil {
							b.Fatal(err)
						}
						b.ReportMetric(float64(s.Stayed), "stayed")
						b.ReportMetric(float64(s.Busiest)*100/float64(s.Requests), "busiest-%")
					}
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}
