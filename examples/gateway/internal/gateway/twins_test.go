package gateway

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// together holds a provider's requests until so many have arrived. After that it holds none.
func together(many int, h http.Handler) http.HandlerFunc {
	var here atomic.Int64
	open := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		if here.Add(1) == int64(many) {
			close(open)
		}
		select {
		case <-open:
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// 200 users of an application begin at the same time with the same word, so only the answers
// distinguish them. From the second turn on each user stays on one auth, and the users are spread
// evenly over the auths.
func TestUsersWhoBeginAlikeAreToldApartByTheirAnswers(t *testing.T) {
	const users, turns, auths, most = 200, 6, 8, 1.25
	for _, api := range []struct{ name, path, answer, delta string }{
		{"chat completions", "/v1/chat/completions", "choices.0.message.content", "choices.0.delta.content"},
		{"messages", "/v1/messages", "content.0.text", "delta.text"},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, streamed %v", api.name, stream), func(t *testing.T) {
				sim, err := simulator.New(simulator.Options{})
				require.NoError(t, err)
				gw := startGatewayOn(t, GatewayOptions{Affinity: true, DecisionHeader: true, Pool: upstream(t, auths, together(users, sim))})
				gw.client.Transport.(*http.Transport).MaxIdleConnsPerHost = users
				var talks [users][]any
				var homes [users]string
				moved, first := 0, map[string]int{}
				for turn := range turns {
					var replies [users]reply
					var all sync.WaitGroup
					for i := range users {
						talks[i] = append(talks[i], object{"role": "user", "content": []string{"hi", "go on"}[min(turn, 1)]})
						body := written(object{"model": "m", "stream": stream, "max_tokens": 9, "messages": talks[i]})
						all.Go(func() { replies[i] = gw.send("POST", api.path, body, "Authorization", "Bearer application") })
					}
					all.Wait()
					for i, r := range replies {
						require.NoError(t, r.err)
						require.Equal(t, http.StatusOK, r.status, r.text)
						said := joined(r.text, api.answer, api.delta)
						require.Contains(t, said, "Answer ")
						talks[i] = append(talks[i], object{"role": "assistant", "content": said})
						switch {
						case turn == 0:
							first[r.auth()]++
						case homes[i] == "":
							homes[i] = r.auth()
						case homes[i] != r.auth():
							moved++
						}
					}
				}
				perAuth := map[string]int{}
				for _, home := range homes {
					perAuth[home]++
				}
				largest := 0
				for _, n := range perAuth {
					largest = max(largest, n)
				}
				ratio := float64(largest) * auths / users
				t.Logf("users per auth: at the first turn %v, from the second %v, max/mean %.2f; %d turns went elsewhere", first, perAuth, ratio, moved)
				require.Zero(t, moved)
				require.LessOrEqual(t, ratio, most)
			})
		}
	}
}
