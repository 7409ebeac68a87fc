package field

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

func newSticky(t *testing.T) *affinity.Selector[int] {
	t.Helper()
	s, err := affinity.Wrap(selector.RoundRobin[int](), func(i int) string { return string(rune('A' + i)) }, nil)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

var auths = []int{0, 1, 2, 3, 4, 5, 6, 7}

func headersOf(r Request) http.Header {
	h := http.Header{}
	for _, p := range r.Headers {
		h.Add(p[0], p[1])
	}
	return h
}
