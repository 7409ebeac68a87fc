package affinity_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
)

func headed(pairs ...string) affinity.Request {
	r := session("")
	r.Header = http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	return r
}

// A client's own header and a generic one name the same session, which is found by either of
// them.
func TestNativeAndGenericHeadersAreNamesOfOneSession(t *testing.T) {
	s := wrap(t, nil)
	home := served(t, s, headed("X-Claude-Code-Session-Id", "c-1", "X-Session-Id", "s-1"), eight)
	for range 5 {
		served(t, s, session("another"), eight)
		require.Equal(t, home, served(t, s, headed("X-Session-Id", "s-1"), eight))
		require.Equal(t, home, served(t, s, headed("X-Claude-Code-Session-Id", "c-1"), eight))
		require.Equal(t, home, served(t, s, headed("X-Claude-Code-Session-Id", "c-1", "X-Session-Id", "s-1"), eight))
	}
}

// If a proxy sets one generic id in all requests, sessions with different ids of the client's
// own are not merged.
func TestAStampOnEveryRequestJoinsNoSessions(t *testing.T) {
	s, on := wrap(t, nil), map[string]int{}
	for i := range 96 {
		r := headed("X-Claude-Code-Session-Id", fmt.Sprint("c-", i), "X-Session-Id", "the-proxy")
		p := pick(t, s, r, eight)
		require.Equal(t, affinity.OutcomeNew, p.Decision.Outcome, i)
		p.Report(affinity.Served)
		on[p.Auth]++
		require.Equal(t, p.Auth, served(t, s, r, eight))
	}
	require.LessOrEqual(t, uneven(on), 1.1)
}
