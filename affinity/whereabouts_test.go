package affinity_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// A session goes to its auth, whatever the order and the number of the candidates.
func TestASessionsAuthIsFoundWhereverItStands(t *testing.T) {
	var auths []string
	for i := range 300 { // more than there are places to remember
		auths = append(auths, fmt.Sprint("account-", i))
	}
	s, err := affinity.Wrap(selector.Random[string](), func(a string) string { return a }, nil)
	require.NoError(t, err)
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	at := map[string]string{}
	for range 5000 {
		rng.Shuffle(len(auths), func(i, j int) { auths[i], auths[j] = auths[j], auths[i] })
		session := fmt.Sprint("s", rng.IntN(200))
		want, some := at[session], auths[:1+rng.IntN(len(auths))]
		there := want == ""
		for _, a := range some {
			there = there || a == want
		}
		if !there {
			some = append([]string{want}, some...)
		}
		p, err := s.Pick(t.Context(), affinity.Request{Header: http.Header{"X-Session-Id": {session}}}, some)
		require.NoError(t, err)
		p.Report(affinity.Served)
		if want != "" {
			require.Equal(t, want, p.Auth)
			require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
		}
		at[session] = p.Auth
	}
}
