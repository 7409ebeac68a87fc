package deciders

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
)

// Stay is the result of Hold.
type Stay struct {
	Conversations int
	Stayed        int // conversations whose turns all went to one auth
	Requests      int
	Busiest       int // requests of the auth that has got the most
}

// Hold has conversations of a client with 8 auths, all at the same time, turn by turn. With grow, a
// ninth auth is added after half of the turns.
func Hold(d Decider, c *requests.Client, conversations, turns int, grow bool) (s Stay, err error) {
	next := c.Turns(turns, 8<<10)
	was, moved, load := make([]string, conversations), make([]bool, conversations), map[string]int{}
	rng := rand.New(rand.NewPCG(1, 2))
	for turn := range turns {
		if grow && turn == turns/2 {
			d.Grow(fmt.Sprint("auth-", 8))
		}
		for _, i := range rng.Perm(conversations) { // in a fixed order, round robin alone would keep some
			r := httptest.NewRequest("POST", "/v1/messages", nil)
			header, body := next(i, turn)
			r.Header = header
			// No captured client keeps cookies.
			auth, err := d.Decide(httptest.NewRecorder(), r, body)
			if err != nil {
				return s, err
			}
			moved[i] = moved[i] || turn > 0 && auth != was[i]
			was[i] = auth
			load[auth]++
			s.Requests++
		}
	}
	s.Conversations = conversations
	for i := range moved {
		if !moved[i] {
			s.Stayed++
		}
	}
	for _, n := range load {
		s.Busiest = max(s.Busiest, n)
	}
	return s, nil
}
